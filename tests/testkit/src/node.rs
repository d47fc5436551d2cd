//! The node as its tests use it: PFs, VFs, namespaces, `ip`; only in the guest, as root.

pub mod monitor;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use sriov_lab::qemu::POWER_CUT;
pub use sriov_lab::wait::{wait_for, wait_within};

/// A VF that its PF has not heard of by then never told it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A PF of the node, brought to a number of VFs, which stay for the next test.
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
        // Making VFs costs seconds of carrier: those of the test before do as well, if it left them as they should be.
        if vfs == 0 || !pf.is_ready(vfs) {
            pf.set_vfs(vfs)?;
        }
        Ok(pf)
    }

    /// Makes `count` VFs of whatever there was, and waits until all is there.
    pub fn set_vfs(&self, count: usize) -> Result<()> {
        let file = self.sysfs("sriov_numvfs");
        if std::fs::read_to_string(&file)?.trim() != "0" {
            std::fs::write(&file, "0").context("cannot remove the VFs")?;
        }
        if count > 0 {
            std::fs::write(&file, count.to_string()).context("cannot make VFs")?;
        }
        // Creating VFs resets the PF: its carrier drops for a second.
        let mut patience = Instant::now() + PATIENCE;
        wait_for(
            "all VFs have network devices, the PF has carrier and knows their addresses",
            || {
                if Instant::now() > patience {
                    patience += PATIENCE;
                    self.reset_vfs(count);
                }
                self.is_ready(count)
            },
        )
    }

    /// igbvf tells its address when it resets a VF, and does not notice when a PF that is being reset did not hear it.
    fn reset_vfs(&self, count: usize) {
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

    /// Whether each VF told the PF its address, which it does again after a reset of the PF.
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

    /// Pulls the PF's cable or plugs it in, and waits until the PF saw it.
    pub fn set_carrier(&self, on: bool) -> Result<()> {
        monitor::command("set_link", &json!({ "name": self.netdev, "up": on }))?;
        let wanted = if on { "1" } else { "0" };
        wait_for(&format!("{} has carrier {wanted}", self.netdev), || {
            self.carrier() == wanted
        })
    }

    /// Pulls the card without a word to its driver's users, as a broken one goes, and waits until the kernel saw it.
    pub fn unplug(&self) -> Result<()> {
        monitor::command("device_del", &json!({ "id": self.netdev }))?;
        let device = self.sysfs("");
        // The monitor has it a little longer than the kernel.
        let card = json!({ "path": format!("/machine/peripheral/{}", self.netdev) });
        wait_for(&format!("{} is gone", device.display()), || {
            !device.exists() && monitor::command("qom-list", &card).is_err()
        })
    }

    /// Puts the card back where it was, under its old name, up and with carrier.
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
            .context("a link to nothing")?
            .to_string_lossy()
            .into_owned())
    }

    /// What `ip -d link` shows of the PF and its VFs, and of the VFs' network devices: the baseline that a test must restore.
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
        // What a failing test left of its VFs must not let the next one fail.
        if std::thread::panicking() {
            let _ = std::fs::write(self.sysfs("sriov_numvfs"), "0");
        }
    }
}

/// A named network namespace that goes with its owner.
#[derive(Debug)]
pub struct Netns {
    /// Its name.
    pub name: String,
}

impl Netns {
    /// Makes the namespace.
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

/// A PCI function that is bound to another driver than its own, or to none, for as long as this lives.
#[derive(Debug)]
pub struct Driver {
    address: String,
    is_netdev: bool,
}

impl Driver {
    /// Binds `driver` in the place of the present one.
    pub fn bind(address: &str, driver: &str) -> Result<Self> {
        let bound = Self::unbind(address)?;
        std::fs::write(bound.attribute("driver_override"), driver)?;
        std::fs::write("/sys/bus/pci/drivers_probe", address)
            .with_context(|| format!("cannot bind {driver}"))?;
        let link = std::fs::read_link(bound.attribute("driver"))
            .with_context(|| format!("{driver} did not take {address}"))?;
        if !link.ends_with(driver) {
            bail!("{address} has {} instead of {driver}", link.display());
        }
        Ok(bound)
    }

    /// Takes the present driver away.
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
        let _ = wait_for("the network device is back", || {
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

/// Runs the real `ip -json -details`, in a named namespace when one is given.
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
    serde_json::from_slice(text).with_context(|| format!("ip {} printed no JSON", args.join(" ")))
}

/// Name of the network device of a PCI device, when it is on the host.
pub fn netdev_of(address: &str) -> Result<String> {
    let net = Path::new("/sys/bus/pci/devices").join(address).join("net");
    let entry = std::fs::read_dir(&net)
        .with_context(|| format!("no {}", net.display()))?
        .next()
        .context("no network device")??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// Whether something answers, at `address`, to who asks so many times from a network namespace and waits so many seconds each time.
pub fn ping(netns: &str, address: &str, times: u8, seconds: u8) -> Result<bool> {
    let (times, seconds) = (times.to_string(), seconds.to_string());
    let ping = Command::new("/usr/sbin/ip")
        .args(["netns", "exec", netns, "/bin/ping"])
        .args(["-c", &times, "-W", &seconds, address])
        .output()?;
    Ok(ping.status.success())
}

/// Has the lab cut the node's power; the job starts anew when the node has booted again.
///
/// # Errors
/// When the power is still on after a minute.
pub fn cut_power() -> Result<()> {
    // Not by `println!`, which the test's harness keeps to itself.
    writeln!(std::io::stdout(), "\n{POWER_CUT}")?;
    wait_for("the power is cut", || false)
}

/// Takes out what changes by itself: the operational state follows the carrier, and igbvf's `permaddr` is whatever it last read from its PF.
pub fn without_noise(value: &mut Value) {
    match value {
        Value::Array(items) => {
            // Carrier comes and goes when it likes; whether a link is up is `UP`.
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
