//! The device plugin on a changing machine: VFs, drivers, cables, cards and configuration, with every list that the kubelet got.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sriov_testkit::kubelet::{Kubelet, Resources};
use sriov_testkit::node::{Driver, Pf, ip};
use sriov_testkit::plugin::{self, Plugin};
use sriov_testkit::scrape::Scrape;

/// Shorter than the plugin's slow timer: a change within this time came from a notice of the kernel.
const HEARD: Duration = Duration::from_secs(30);

/// A kubelet double and a plugin; the configuration is in a directory like the volume of a ConfigMap.
struct Stack {
    dir: tempfile::TempDir,
    kubelet: Kubelet,
    plugin: Plugin,
    scrape: Scrape,
}

impl Stack {
    fn start(resources: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        std::fs::create_dir(&config).unwrap();
        swap(
            &config,
            "first",
            &json!({ "resourceList": resources }).to_string(),
        );
        symlink("..data/config.json", config.join("config.json")).unwrap();
        let kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
        let mut flags = plugin::flags(dir.path(), "config/config.json", &[]);
        flags.push("--metrics-address=0".to_owned());
        let plugin = Plugin::start(
            Path::new("/opt/virtfn/sriov-device-plugin"),
            &flags,
            &dir.path().join("log"),
        )
        .unwrap();
        Self {
            scrape: Scrape::of_log(&dir.path().join("log")).unwrap(),
            dir,
            kubelet,
            plugin,
        }
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    /// Waits until the newest list of a resource has these devices, and returns the elapsed time.
    fn wait_for(&self, resource: &str, expected: &[String]) -> Duration {
        let start = Instant::now();
        let has = |known: &Resources| newest(known, resource).as_deref() == Some(expected);
        let what = format!("{resource} is {expected:?}");
        if let Err(error) = self.kubelet.wait_for(&what, has) {
            let log = std::fs::read_to_string(self.dir.path().join("log"));
            panic!("{error:#}\n{}", log.unwrap_or_default());
        }
        let elapsed = start.elapsed();
        assert!(elapsed < HEARD, "{what}: {elapsed:?}");
        elapsed
    }

    /// Starts a pod with the device, and waits until the plugin has the holder.
    fn hold(&self, resource: &str, id: &str) {
        self.kubelet.pods(|pods| pods.run("p", resource, &[id]));
        self.kubelet.allocate(resource, &[id]).unwrap();
        let line = format!(r#"sriov_device_plugin_devices_held{{resource="{resource}"}} 1"#);
        self.scrape.wait_for_line(&line, true).unwrap();
    }

    /// Removes all pods, and causes a change, after which the plugin queries the kubelet.
    fn release(&self, resource: &str, other: &str) {
        self.kubelet.pods(|pods| pods.pods.clear());
        self.kubelet.allocate(resource, &[other]).unwrap();
    }

    /// All lists of a resource that the kubelet got, oldest first.
    fn lists(&self, resource: &str) -> Vec<Vec<String>> {
        let known = self.kubelet.known();
        let lists = known[resource].lists.iter();
        lists.map(|list| shown(list)).collect()
    }
}

/// Writes the next version of the configuration, as the kubelet's `AtomicWriter` does.
fn swap(dir: &Path, version: &str, text: &str) {
    std::fs::create_dir(dir.join(version)).unwrap();
    std::fs::write(dir.join(version).join("config.json"), text).unwrap();
    symlink(version, dir.join("..data_tmp")).unwrap();
    std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
}

/// Ids, with a mark on unhealthy devices.
fn shown(list: &[sriov_device_plugin::proto::v1beta1::Device]) -> Vec<String> {
    let mark = |health: &str| if health == "Healthy" { "" } else { "!" };
    list.iter()
        .map(|device| format!("{}{}", mark(&device.health), device.id))
        .collect()
}

fn newest(known: &Resources, resource: &str) -> Option<Vec<String>> {
    Some(shown(known.get(resource)?.lists.last()?))
}

fn ids(list: &[String]) -> Vec<String> {
    list.iter().map(|id| id.replace('!', "")).collect()
}

fn vfs(pf: &Pf, count: usize) -> Vec<String> {
    (0..count).map(|index| pf.vf(index).unwrap()).collect()
}

#[test]
fn added_and_removed_vfs_give_whole_lists() {
    let pf = Pf::with_vfs(0, 7).unwrap();
    let stack = Stack::start(&json!([
        { "resourceName": "vf", "resourcePrefix": "x.y", "pfHealth": "ignore", "selectors": { "pfNames": ["pf0"], "drivers": ["igbvf"] } },
    ]));
    let seven = vfs(&pf, 7);
    stack.wait_for("x.y/vf", &seven);
    // Without a wait for the carrier of the PF, which is off for seconds after VFs are created.
    let make = |count: &str| std::fs::write(pf_attribute(&pf, "sriov_numvfs"), count).unwrap();
    for count in [7, 3] {
        make("0");
        println!(
            "a list with 0 VFs arrived {:?} after their removal",
            stack.wait_for("x.y/vf", &[])
        );
        make(&count.to_string());
        println!(
            "a list with {count} VFs arrived {:?} after their creation",
            stack.wait_for("x.y/vf", &seven[..count])
        );
    }
    for list in stack.lists("x.y/vf") {
        assert!([0, 3, 7].contains(&list.len()), "{list:?}");
        assert_eq!(list, seven[..list.len()]);
    }
    stack.plugin.stop().unwrap();
    pf.set_carrier(true).unwrap();
}

#[test]
fn vf_follows_its_driver_from_pool_to_pool() {
    let pf = Pf::with_vfs(0, 3).unwrap();
    let stack = Stack::start(&json!([
        { "resourceName": "net", "resourcePrefix": "x.y", "selectors": { "pfNames": ["pf0"], "drivers": ["igbvf"] } },
        { "resourceName": "user", "resourcePrefix": "x.y", "selectors": { "pfNames": ["pf0"], "drivers": ["vfio-pci"] } },
    ]));
    let all = vfs(&pf, 3);
    let others = [all[0].clone(), all[2].clone()];
    stack.wait_for("x.y/net", &all);
    let bound = Driver::bind(&all[1], "vfio-pci").unwrap();
    stack.wait_for("x.y/user", &all[1..2]);
    stack.wait_for("x.y/net", &others);
    drop(bound);
    stack.wait_for("x.y/net", &all);
    stack.wait_for("x.y/user", &[]);

    // A VF that a pod holds is listed as unhealthy, and is in no other list.
    stack.hold("x.y/net", &all[0]);
    let ill = [format!("!{}", all[0]), all[1].clone(), all[2].clone()];
    for driver in ["vfio-pci", ""] {
        let bound = match driver {
            "" => Driver::unbind(&all[0]).unwrap(),
            driver => Driver::bind(&all[0], driver).unwrap(),
        };
        stack.wait_for("x.y/net", &ill);
        drop(bound);
        stack.wait_for("x.y/net", &all);
    }
    assert!(stack.lists("x.y/user")[2..].is_empty());
    stack.plugin.stop().unwrap();
}

#[test]
fn pulled_cable_and_pf_down_follow_pf_health() {
    let pf = Pf::with_vfs(0, 3).unwrap();
    let resource = |name: &str, index: u16| json!({ "resourceName": name, "resourcePrefix": "x.y", "pfHealth": name, "selectors": { "pfNames": [format!("pf0#{index}")] } });
    let names = ["carrier", "up", "ignore"];
    let resources: Vec<Value> = names
        .iter()
        .zip(0..)
        .map(|(name, index)| resource(name, index))
        .collect();
    let stack = Stack::start(&json!(resources));
    let all = vfs(&pf, 3);
    let are_ill = |ill: usize| {
        for (index, (name, vf)) in names.iter().zip(&all).enumerate() {
            let mark = if index < ill { "!" } else { "" };
            let elapsed = stack.wait_for(&format!("x.y/{name}"), &[format!("{mark}{vf}")]);
            println!("a list with {mark}{name} arrived after {elapsed:?}");
        }
    };
    are_ill(0);
    pf.set_carrier(false).unwrap();
    are_ill(1);
    pf.set_carrier(true).unwrap();
    are_ill(0);
    ip(&["link", "set", "pf0", "down"]).unwrap();
    are_ill(2);
    // The PF is selected by its name.
    ip(&["link", "set", "pf0", "name", "other"]).unwrap();
    stack.wait_for("x.y/ignore", &[]);
    ip(&["link", "set", "other", "name", "pf0"]).unwrap();
    are_ill(2);
    ip(&["link", "set", "pf0", "up"]).unwrap();
    pf.set_carrier(true).unwrap();
    are_ill(0);
    let there = vec![all[2].clone()];
    assert_eq!(stack.lists("x.y/ignore"), [there.clone(), vec![], there]);
    stack.plugin.stop().unwrap();
}

#[test]
fn pulled_card_is_removed_with_its_pool() {
    let (first, second) = (Pf::with_vfs(0, 3).unwrap(), Pf::with_vfs(1, 7).unwrap());
    let stack = Stack::start(&json!([
        { "resourceName": "a", "resourcePrefix": "x.y", "selectors": { "pfNames": ["pf0"] } },
        { "resourceName": "b", "resourcePrefix": "x.y", "selectors": { "pfNames": ["pf1"], "drivers": ["igbvf"] } },
    ]));
    let (others, all) = (vfs(&first, 3), vfs(&second, 7));
    stack.wait_for("x.y/a", &others);
    stack.wait_for("x.y/b", &all);
    stack.hold("x.y/b", &all[0]);
    second.unplug().unwrap();
    // The pod has lost the VF, even if another VF gets its address later.
    let lost = format!("!{}", all[0]);
    stack.wait_for("x.y/b", std::slice::from_ref(&lost));
    second.plug().unwrap();
    second.set_vfs(7).unwrap();
    stack.wait_for("x.y/b", &[std::slice::from_ref(&lost), &all[1..]].concat());
    stack.release("x.y/b", &all[1]);
    stack.wait_for("x.y/b", &all);
    // The kernel removes the VFs of a pulled card one by one, the last one first.
    for list in stack.lists("x.y/b") {
        assert!(list == [lost.clone()] || ids(&list) == all, "{list:?}");
    }
    stack.plugin.stop().unwrap();
    second.set_vfs(0).unwrap();
}

#[test]
fn changed_configmap_is_applied_if_it_is_valid() {
    let pf = Pf::with_vfs(0, 3).unwrap();
    let all = vfs(&pf, 3);
    let resource = |range: &str| json!([{ "resourceName": "vf", "resourcePrefix": "x.y", "selectors": { "pfNames": [format!("pf0#{range}")] } }]);
    let text = |range: &str| json!({ "resourceList": resource(range) }).to_string();
    let stack = Stack::start(&resource("0"));
    stack.wait_for("x.y/vf", &all[..1]);
    swap(&stack.config(), "wrong", "{ \"resourceList\": [");
    swap(&stack.config(), "wrong-too", &text("9-3"));
    swap(&stack.config(), "good", &text("0-1"));
    stack.wait_for("x.y/vf", &all[..2]);
    for (version, range) in [("third", "0-2"), ("fourth", "0"), ("fifth", "0-2")] {
        swap(&stack.config(), version, &text(range));
    }
    stack.wait_for("x.y/vf", &all);
    stack.plugin.stop().unwrap();
}

#[test]
fn new_uplink_leaves_its_pool() {
    let pf = Pf::with_vfs(0, 3).unwrap();
    let device = vfs(&pf, 1);
    let netdev = sriov_testkit::node::netdev_of(&device[0]).unwrap();
    let stack = Stack::start(
        &json!([{ "resourceName": "vf", "resourcePrefix": "x.y", "selectors": { "pfNames": ["pf0#0"] } }]),
    );
    stack.wait_for("x.y/vf", &device);
    for family in ["-4", "-6"] {
        ip(&["link", "set", &netdev, "up"]).unwrap();
        ip(&[family, "route", "add", "default", "dev", &netdev]).unwrap();
        stack.wait_for("x.y/vf", &[]);
        ip(&["link", "set", &netdev, "down"]).unwrap();
        stack.wait_for("x.y/vf", &device);
    }
    stack.plugin.stop().unwrap();
}

fn pf_attribute(pf: &Pf, name: &str) -> PathBuf {
    Path::new("/sys/bus/pci/devices")
        .join(&pf.address)
        .join(name)
}
