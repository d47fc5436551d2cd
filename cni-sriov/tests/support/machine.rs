//! A machine for tests: a constructed sysfs with one PF and one VF, and a kernel in memory behind the real encoder.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sriov_cni::{Environment, Failure, OpenHost, Setup, Verb};
use sriov_host::netlink::fake::{FakeKernel, Request};
use sriov_host::netlink::{Link, Netlink};
use sriov_host::vf::{VfChange, VfLinkState, VfRate, VfSettings};
use sriov_host::vlan::Vlan;
use sriov_host::{HostRoot, VfIndex};

pub const PF: u32 = 3;
pub const VF: VfIndex = VfIndex::new(0);

/// A machine with one PF and one VF, which is bound to vfio-pci.
pub struct Machine {
    pub root: tempfile::TempDir,
    pub kernel: FakeKernel,
    pub setup: Setup,
}

pub fn before() -> VfSettings {
    VfSettings {
        mac: Some("02:00:00:00:00:07".parse().unwrap()),
        vlan: Some(Vlan::default()),
        spoofchk: Some(true),
        trust: Some(false),
        rate: Some(VfRate { min: 0, max: 50 }),
        link_state: Some(VfLinkState::Auto),
        ..VfSettings::default()
    }
}

impl Machine {
    /// `link_type` is the PF's `ARPHRD_*` number.
    pub fn new(link_type: u16, settings: VfSettings) -> Self {
        let root = tempfile::tempdir().unwrap();
        let devices = root.path().join("sys/bus/pci/devices");
        let write = |file: &str, text: &str| {
            let path = devices.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        };
        write("0000:01:00.0/sriov_totalvfs", "8");
        write("0000:01:00.0/sriov_offset", "128");
        write("0000:01:00.0/sriov_stride", "2");
        write("0000:01:00.0/net/pf0/ifindex", &PF.to_string());
        write("0000:01:00.0/net/pf0/type", &link_type.to_string());
        write("0000:01:10.0/vendor", "0x15b3");
        for (from, to) in [
            ("0000:01:00.0/driver", "../../drivers/mlx5_core"),
            ("0000:01:00.0/virtfn0", "../0000:01:10.0"),
            ("0000:01:10.0/physfn", "../0000:01:00.0"),
            ("0000:01:10.0/driver", "../../drivers/vfio-pci"),
        ] {
            symlink(to, devices.join(from)).unwrap();
        }
        let boot_id = root.path().join("proc/sys/kernel/random/boot_id");
        fs::create_dir_all(boot_id.parent().unwrap()).unwrap();
        fs::write(boot_id, "boot\n").unwrap();

        let kernel = FakeKernel::default();
        kernel.add_link(Link {
            index: PF,
            name: "pf0".into(),
            mac: (link_type == 1).then(|| "02:00:00:00:00:10".parse().unwrap()),
            mtu: 1500,
            is_up: true,
            has_carrier: true,
            device: Some("0000:01:00.0".parse().unwrap()),
            ..Link::default()
        });
        kernel.add_vf(PF, VF, settings);
        let of = kernel.clone();
        let setup = Setup {
            host: HostRoot::new(root.path()),
            state_dir: root.path().join("state"),
            device_info_dir: root.path().join("devinfo"),
            request_deadline: Duration::from_millis(200),
            lock_deadline: Duration::from_millis(200),
            open_host: OpenHost(Arc::new(move |deadline| Netlink::fake(&of, deadline))),
        };
        Self {
            root,
            kernel,
            setup,
        }
    }

    pub fn call(&self, verb: Verb, fields: &Value) -> Result<Option<Value>, Failure> {
        self.call_for("c", verb, fields)
    }

    pub fn call_for(
        &self,
        container: &str,
        verb: Verb,
        fields: &Value,
    ) -> Result<Option<Value>, Failure> {
        let mut conf = json!({ "cniVersion": "1.1.0", "name": "n", "type": "sriov", "deviceID": "0000:01:10.0" });
        conf.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        self.call_by(container, "net1", verb, &conf, "")
    }

    /// A call with this configuration and `CNI_ARGS`.
    pub fn call_by(
        &self,
        container: &str,
        ifname: &str,
        verb: Verb,
        conf: &Value,
        args: &str,
    ) -> Result<Option<Value>, Failure> {
        // Any other namespace does: the VF has no network device that could move.
        let path = self.root.path().join("bin");
        let environment = Environment::new([
            ("CNI_CONTAINERID", container),
            ("CNI_IFNAME", ifname),
            ("CNI_ARGS", args),
            ("CNI_NETNS", "/proc/self/ns/net"),
            ("CNI_NETNS_OVERRIDE", "1"),
            ("CNI_PATH", path.to_str().unwrap()),
        ]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(sriov_cni::run(
            &self.setup,
            verb,
            &environment,
            &conf.to_string(),
        ))
    }

    /// Adds an IPAM plugin, which is a shell script.
    pub fn add_ipam(&self, name: &str, script: &str) {
        let dir = self.root.path().join("bin");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Creates the VF again, as a new value of `sriov_numvfs` does.
    pub fn recreation(&self) -> impl FnOnce() + Send + 'static {
        let devices = self.root.path().join("sys/bus/pci/devices");
        move || {
            let (vf, new) = (devices.join("0000:01:10.0"), devices.join("new"));
            fs::create_dir(&new).unwrap();
            fs::copy(vf.join("vendor"), new.join("vendor")).unwrap();
            for link in ["physfn", "driver"] {
                symlink(fs::read_link(vf.join(link)).unwrap(), new.join(link)).unwrap();
            }
            fs::rename(&vf, devices.join("old")).unwrap();
            fs::rename(&new, &vf).unwrap();
        }
    }

    pub fn settings(&self) -> VfSettings {
        self.kernel.vf(PF, VF).unwrap()
    }

    /// Names in the state directory, the locks aside.
    pub fn state(&self) -> Vec<String> {
        let names = |dir: &Path| {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.file_name().into_string().unwrap())
                .collect::<Vec<_>>()
        };
        let dir = self.root.path().join("state");
        let mut all = [names(&dir), names(&dir.join("pci"))].concat();
        all.retain(|name| name != "pci" && name != "vf_lock");
        all
    }

    /// The settings that were changed, in order.
    pub fn changes(&self) -> Vec<VfChange> {
        let requests = self.kernel.requests().into_iter();
        requests
            .filter_map(|request| {
                if let Request::SetVf { change, .. } = request {
                    Some(change)
                } else {
                    None
                }
            })
            .collect()
    }
}
