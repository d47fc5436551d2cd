//! Access to the node: PFs, VFs, drivers, network namespaces, `ip`. Only in the guest, as root.

mod far;
pub mod modules;
pub mod monitor;
pub mod openvswitch;
mod tap;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

pub use self::far::Far;
pub use self::tap::{Tap, tcpdump};
use sriov_lab::qemu::POWER_CUT;
pub use sriov_lab::wait::{wait_for, wait_within};

/// Limit for the message of a VF to its PF; a later one was lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// A PF of the node with a number of VFs, which stay for the next test.
#[derive(Debug)]
pub struct Pf {
    /// PCI address.
    pub address: String,
    /// Name of its network device.
    pub netdev: String,
}

impl Pf {
    /// The PF `port` (0 or 1) with `vfs` VFs, each with its network device.
    pub fn with_vfs(port: u8, vfs: usize) -> Result<Self> {
        let address = std::env::var(format!("VIRTFN_PF{port}"))
            .context("this test runs on the lab's node: `cargo lab test`")?;
        let pf = Self {
            address,
            netdev: format!("pf{port}"),
        };
        // Creating VFs costs seconds of carrier: the VFs of the previous test are used again if they are in order.
        if vfs == 0 || !pf.is_ready(vfs) {
            pf.set_vfs(vfs)?;
        }
        Ok(pf)
    }

    /// Creates `count` VFs instead of the existing ones, and waits until they are ready.
    pub fn set_vfs(&self, count: usize) -> Result<()> {
        let file = self.sysfs("sriov_numvfs");
        if std::fs::read_to_string(&file)?.trim() != "0" {
            std::fs::write(&file, "0").context("cannot remove the VFs")?;
        }
        if count > 0 {
            std::fs::write(&file, count.to_string()).context("cannot create VFs")?;
        }
        // Creating VFs resets the PF: its carrier drops for a second.
        let mut patience = Instant::now() + PATIENCE;
        wait_for(
            "all VFs have network devices, the PF has carrier and the addresses of its VFs",
            || {
                if Instant::now() > patience {
                    patience += PATIENCE;
                    self.reset_vfs(count);
                }
                self.is_ready(count)
            },
        )
    }

    /// Lets the VFs send their addresses to their PF again.
    ///
    /// igbvf sends its address when it resets a VF, and does not notice if the PF is in reset and misses the message.
    pub fn reset_vfs(&self, count: usize) {
        for index in 0..count {
            if let Ok(netdev) = self.vf(index).and_then(|vf| netdev_of(&vf)) {
                let _ = ip(&["link", "set", &netdev, "up"]);
                let _ = ip(&["link", "set", &netdev, "down"]);
            }
        }
    }

    fn is_ready(&self, count: usize) -> bool {
        let present = (0..count).all(|index| self.vf(index).is_ok_and(|vf| netdev_of(&vf).is_ok()));
        present && self.vf(count).is_err() && self.carrier() == "1" && self.knows_addresses()
    }

    /// Whether the PF has the address of each VF, which the VF sends again after a reset of the PF.
    fn knows_addresses(&self) -> bool {
        let link = ip_json(None, &["link", "show", "dev", &self.netdev]).unwrap_or_default();
        let vfs = link.pointer("/0/vfinfo_list").and_then(Value::as_array);
        vfs.is_none_or(|vfs| {
            vfs.iter()
                .all(|vf| vf.get("address") != Some(&json!("00:00:00:00:00:00")))
        })
    }

    /// Sets the PF down and up, and waits for its carrier.
    pub fn bounce(&self) -> Result<()> {
        ip(&["link", "set", &self.netdev, "down"])?;
        ip(&["link", "set", &self.netdev, "up"])?;
        wait_for("the PF has carrier again", || self.carrier() == "1")
    }

    /// Pulls the PF's cable or plugs it in, and waits until the carrier of the PF has changed.
    pub fn set_carrier(&self, on: bool) -> Result<()> {
        monitor::command("set_link", &json!({ "name": self.netdev, "up": on }))?;
        let wanted = if on { "1" } else { "0" };
        wait_for(&format!("{} has carrier {wanted}", self.netdev), || {
            self.carrier() == wanted
        })
    }

    /// Pulls the card without notice, like a broken card, and waits until the kernel has removed the device.
    pub fn unplug(&self) -> Result<()> {
        monitor::command("device_del", &json!({ "id": self.netdev }))?;
        let device = self.sysfs("");
        // The monitor removes the card a little later than the kernel.
        let card = json!({ "path": format!("/machine/peripheral/{}", self.netdev) });
        wait_for(&format!("{} is gone", device.display()), || {
            !device.exists() && monitor::command("qom-list", &card).is_err()
        })
    }

    /// Puts the card back into its slot, and waits until it has its old name and carrier.
    pub fn plug(&self) -> Result<()> {
        let port = self.netdev.trim_start_matches("pf");
        monitor::plug(port)?;
        wait_for("the PF has a network device", || {
            netdev_of(&self.address).is_ok()
        })?;
        let name = netdev_of(&self.address)?;
        ip(&["link", "set", &name, "down"])?;
        ip(&["link", "set", &name, "name", &self.netdev])?;
        ip(&["link", "set", &self.netdev, "up"])?;
        wait_for("the PF has carrier", || self.carrier() == "1")
    }

    fn carrier(&self) -> String {
        let carrier = std::fs::read_to_string(format!("/sys/class/net/{}/carrier", self.netdev));
        carrier.unwrap_or_default().trim().to_owned()
    }

    /// PCI address of a VF.
    pub fn vf(&self, index: usize) -> Result<String> {
        let link = self.sysfs(&format!("virtfn{index}"));
        let target = std::fs::read_link(&link).with_context(|| format!("no {}", link.display()))?;
        Ok(target
            .file_name()
            .context("the link has no target")?
            .to_string_lossy()
            .into_owned())
    }

    /// The output of `ip -d link` for the PF, its VFs, and their network devices: the baseline that a test must restore.
    pub fn baseline(&self) -> Result<Value> {
        let mut parts = vec![ip_json(None, &["link", "show", "dev", &self.netdev])?];
        let mut index = 0;
        while let Ok(vf) = self.vf(index) {
            parts.push(
                netdev_of(&vf)
                    .and_then(|name| ip_json(None, &["link", "show", "dev", &name]))
                    .unwrap_or(Value::Null),
            );
            index += 1;
        }
        let mut all = Value::Array(parts);
        without_noise(&mut all);
        Ok(all)
    }

    fn sysfs(&self, attribute: &str) -> PathBuf {
        Path::new("/sys/bus/pci/devices")
            .join(&self.address)
            .join(attribute)
    }
}

impl Drop for Pf {
    fn drop(&mut self) {
        // VFs that a failed test left behind must not make the next test fail.
        if std::thread::panicking() {
            let _ = std::fs::write(self.sysfs("sriov_numvfs"), "0");
        }
    }
}

/// A named network namespace; it is removed when this is dropped.
#[derive(Debug)]
pub struct Netns {
    /// Its name.
    pub name: String,
}

impl Netns {
    /// Creates the namespace.
    pub fn new(name: &str) -> Result<Self> {
        ip(&["netns", "add", name])?;
        Ok(Self {
            name: name.to_owned(),
        })
    }

    /// Its path.
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Removes it now.
    pub fn delete(&self) -> Result<()> {
        ip(&["netns", "del", &self.name])
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// A PCI function with another driver, or without a driver, until this is dropped.
#[derive(Debug)]
pub struct Driver {
    address: String,
    is_netdev: bool,
}

impl Driver {
    /// Binds `driver` instead of the present driver.
    pub fn bind(address: &str, driver: &str) -> Result<Self> {
        let bound = Self::unbind(address)?;
        std::fs::write(bound.attribute("driver_override"), driver)?;
        std::fs::write("/sys/bus/pci/drivers_probe", address)
            .with_context(|| format!("cannot bind {driver}"))?;
        let link = std::fs::read_link(bound.attribute("driver"))
            .with_context(|| format!("{driver} did not bind {address}"))?;
        if !link.ends_with(driver) {
            bail!("{address} has {} instead of {driver}", link.display());
        }
        Ok(bound)
    }

    /// Unbinds the present driver.
    pub fn unbind(address: &str) -> Result<Self> {
        let bound = Self {
            address: address.to_owned(),
            is_netdev: netdev_of(address).is_ok(),
        };
        std::fs::write(bound.attribute("driver/unbind"), address).context("cannot unbind")?;
        Ok(bound)
    }

    fn attribute(&self, name: &str) -> PathBuf {
        Path::new("/sys/bus/pci/devices")
            .join(&self.address)
            .join(name)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = std::fs::write(self.attribute("driver/unbind"), &self.address);
        let _ = std::fs::write(self.attribute("driver_override"), "\n");
        let _ = std::fs::write("/sys/bus/pci/drivers_probe", &self.address);
        let _ = wait_for("the network device exists again", || {
            !self.is_netdev || netdev_of(&self.address).is_ok()
        });
    }
}

/// Runs the real `ip`.
pub fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("/usr/sbin/ip")
        .args(args)
        .output()
        .context("cannot start /usr/sbin/ip")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Runs the real `ip -json -details`, optionally in a named namespace.
pub fn ip_json(netns: Option<&str>, args: &[&str]) -> Result<Value> {
    let mut command = Command::new("/usr/sbin/ip");
    command.args(netns.into_iter().flat_map(|netns| ["-netns", netns]));
    let output = command
        .args(["-json", "-details"])
        .args(args)
        .output()
        .context("cannot start /usr/sbin/ip")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = if output.stdout.trim_ascii().is_empty() {
        b"[]".as_slice()
    } else {
        &output.stdout
    };
    serde_json::from_slice(text)
        .with_context(|| format!("the output of ip {} is not JSON", args.join(" ")))
}

/// Name of the network device of a PCI device, if it is in the host's namespace.
pub fn netdev_of(address: &str) -> Result<String> {
    let net = Path::new("/sys/bus/pci/devices").join(address).join("net");
    let entry = std::fs::read_dir(&net)
        .with_context(|| format!("no {}", net.display()))?
        .next()
        .context("no network device")??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// Pings `address` from a network namespace, `times` times with a limit of `seconds` each; true if there was an answer.
pub fn ping(netns: &str, address: &str, times: u8, seconds: u8) -> Result<bool> {
    let (times, seconds) = (times.to_string(), seconds.to_string());
    let ping = Command::new("/usr/sbin/ip")
        .args(["netns", "exec", netns, "/bin/ping"])
        .args(["-c", &times, "-W", &seconds, address])
        .output()?;
    Ok(ping.status.success())
}

/// Requests a power cut of the node; the job starts again after the next boot.
///
/// # Errors
/// If the power is still on after a minute.
pub fn cut_power() -> Result<()> {
    // Not by `println!`: the test harness captures its output.
    writeln!(std::io::stdout(), "\n{POWER_CUT}")?;
    wait_for("the power is cut", || false)
}

/// Removes fields that change by themselves: the operational state follows the carrier, and igbvf's `permaddr` is the last address that it read from its PF.
pub fn without_noise(value: &mut Value) {
    match value {
        Value::Array(items) => {
            // The carrier changes at any time; `UP` is the administrative state.
            items.retain(|item| !matches!(item.as_str(), Some("NO-CARRIER" | "LOWER_UP")));
            items.iter_mut().for_each(without_noise);
        }
        Value::Object(fields) => {
            fields.retain(|key, _| {
                !matches!(
                    key.as_str(),
                    "operstate" | "permaddr" | "ifindex" | "qdisc" | "min_mtu" | "max_mtu"
                )
            });
            fields.values_mut().for_each(without_noise);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
