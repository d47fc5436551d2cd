//! Health in the kubelet's lists, in commands and in metrics, on a constructed machine; `guest::live` tests real links and cards.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;
use sriov_device_plugin::proto::v1beta1::Device;
use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::node::wait_for;
use sriov_testkit::plugin::{self, Plugin};
use sriov_testkit::scrape::Scrape;
use sriov_testkit::tree::Tree;

const PF: &str = "0000:01:00.0";
const VFS: [&str; 3] = ["0000:01:10.0", "0000:01:10.1", "0000:01:10.2"];

struct Node {
    dir: tempfile::TempDir,
    tree: Tree,
    kubelet: Kubelet,
    plugin: Option<Plugin>,
    flags: Vec<String>,
    scrape: Option<Scrape>,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path());
        tree.pf(PF, "igb", 7).unwrap();
        tree.netdev(PF, "pf0", "1").unwrap();
        for vf in VFS {
            tree.vf(PF, vf, "igbvf").unwrap();
        }
        let config = json!({ "resourceList": [
            { "resourceName": "net", "resourcePrefix": "x.y", "selectors": { "drivers": ["igbvf"] } },
            { "resourceName": "user", "resourcePrefix": "x.y", "selectors": { "drivers": ["vfio-pci"] } },
        ] });
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        fs::create_dir(dir.path().join("cni")).unwrap();
        let kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
        let mut node = Self {
            flags: plugin::flags(
                dir.path(),
                "config.json",
                &[("cni-dir", "cni"), ("host-root", "")],
            ),
            dir,
            tree,
            kubelet,
            plugin: None,
            scrape: None,
        };
        node.restart();
        node
    }

    /// Restarts the plugin, with a kubelet double without pods.
    fn restart(&mut self) {
        if let Some(plugin) = self.plugin.take() {
            plugin.stop().unwrap();
            self.kubelet.restart().unwrap();
        }
        let log = self.dir.path().join("log");
        let flags = self.flags.iter().map(String::as_str);
        let flags: Vec<&str> = flags.chain(["--metrics-address=0"]).collect();
        self.plugin = Some(Plugin::start(plugin::binary().unwrap(), &flags, &log).unwrap());
        self.scrape = Some(Scrape::of_log(&log).unwrap());
    }

    /// Sends SIGHUP, since no kernel notifies about changes of a constructed machine.
    fn rescan(&self) {
        self.plugin
            .as_ref()
            .unwrap()
            .signal(Signal::SIGHUP)
            .unwrap();
    }

    fn wait_for(&self, resource: &str, expected: &[&str]) {
        self.kubelet
            .wait_for(&format!("{resource} is {expected:?}"), |known| {
                let newest = known.get(resource).and_then(|known| known.lists.last());
                newest.is_some_and(|list| {
                    let shown = list.iter().map(|device| {
                        let mark = if device.health == "Healthy" { "" } else { "!" };
                        format!("{mark}{}", device.id)
                    });
                    shown.collect::<Vec<_>>() == expected
                })
            })
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.log()));
    }

    fn see(&self, resource: &str, device: &str, reason: &str, is_there: bool) {
        let line = format!(
            r#"sriov_device_plugin_device_unhealthy{{resource="{resource}",device="{device}",reason="{reason}"}} 1"#
        );
        let scrape = self.scrape.as_ref().unwrap();
        scrape.wait_for_line(&line, is_there).unwrap();
    }

    fn tell(&self, words: &[&str]) -> String {
        let mut command = Command::new(plugin::binary().unwrap());
        let output = command.args(&self.flags).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

#[test]
fn pf_without_carrier_is_reported_and_not_allocated() {
    let node = Node::new();
    node.wait_for("x.y/net", &VFS);
    node.tree
        .file(&format!("{PF}/net/pf0/carrier"), "0")
        .unwrap();
    node.rescan();
    let ill = VFS.map(|vf| format!("!{vf}"));
    node.wait_for("x.y/net", &ill.each_ref().map(String::as_str));
    node.see("x.y/net", VFS[2], "pf_without_carrier", true);
    let why = "its PF `pf0` has no carrier";
    let refusal = node.kubelet.allocate("x.y/net", &[VFS[0]]).unwrap_err();
    assert!(format!("{refusal:#}").contains(why), "{refusal:#}");
    let all = VFS.join(", ");
    let line = format!("devices are unhealthy pool=x.y/net devices={all} reason={why}");
    assert!(node.log().contains(&line), "{}", node.log());
    for words in [["explain", VFS[0]], ["explain", "x.y/net"]] {
        let told = node.tell(&words);
        assert!(told.contains(&format!("unhealthy: {why}")), "{told}");
    }
    let told = node.tell(&["inventory"]);
    let row = told.lines().find(|line| line.starts_with(VFS[1])).unwrap();
    assert!(row.contains("unhealthy") && row.ends_with(why), "{row}");

    node.tree
        .file(&format!("{PF}/net/pf0/carrier"), "1")
        .unwrap();
    node.rescan();
    node.wait_for("x.y/net", &VFS);
    node.see("x.y/net", VFS[2], "pf_without_carrier", false);
    let line = format!("devices are healthy again pool=x.y/net devices={all}");
    assert!(node.log().contains(&line), "{}", node.log());
    node.kubelet.allocate("x.y/net", &[VFS[0]]).unwrap();
}

#[test]
fn other_pfs_are_reported_while_vfs_are_created() {
    let node = Node::new();
    let (pf, vf) = ("0000:02:00.0", "0000:02:10.0");
    node.tree.pf(pf, "igb", 7).unwrap();
    node.tree.netdev(pf, "pf1", "1").unwrap();
    node.tree.vf(pf, vf, "igbvf").unwrap();
    node.rescan();
    let all = [VFS[0], VFS[1], VFS[2], vf];
    node.wait_for("x.y/net", &all);

    // The kernel creates VFs of one PF, and the cable of the other PF is pulled.
    node.tree.remove(VFS[2]).unwrap();
    fs::remove_file(node.tree.device(PF).join("virtfn2")).unwrap();
    node.tree
        .file(&format!("{pf}/net/pf1/carrier"), "0")
        .unwrap();
    node.rescan();
    let ill = format!("!{vf}");
    node.wait_for("x.y/net", &[VFS[0], VFS[1], VFS[2], &ill]);
    // The kernel has finished.
    node.tree.file(&format!("{PF}/sriov_numvfs"), "2").unwrap();
    node.wait_for("x.y/net", &[VFS[0], VFS[1], &ill]);
    let known = node.kubelet.known();
    let sizes: Vec<usize> = known["x.y/net"].lists.iter().map(Vec::len).collect();
    assert!(sizes.ends_with(&[4, 4, 3]), "{sizes:?}");
}

#[test]
fn unreadable_device_stays_listed_as_unhealthy() {
    let node = Node::new();
    node.wait_for("x.y/net", &VFS);
    node.tree.file(&format!("{}/vendor", VFS[1]), "0x").unwrap();
    node.rescan();
    let ill = format!("!{}", VFS[1]);
    node.wait_for("x.y/net", &[VFS[0], &ill, VFS[2]]);
    node.see("x.y/net", VFS[1], "unreadable", true);
    let refusal = node.kubelet.allocate("x.y/net", &[VFS[1]]).unwrap_err();
    assert!(
        format!("{refusal:#}").contains("vendor` holds `0x`"),
        "{refusal:#}"
    );
    let told = node.tell(&["explain", VFS[1]]);
    assert!(
        told.contains(&format!("{}: it cannot be read: ", VFS[1])),
        "{told}"
    );
    // The VFs stay in the list too if their PF cannot be read.
    node.tree.file(&format!("{PF}/vendor"), "0x").unwrap();
    node.rescan();
    let line = format!("cannot read the device device={PF} ");
    wait_for("it is logged", || node.log().contains(&line)).unwrap();
    for device in [VFS[1], PF] {
        node.tree
            .file(&format!("{device}/vendor"), "0x8086")
            .unwrap();
    }
    node.rescan();
    node.wait_for("x.y/net", &VFS);
    node.see("x.y/net", VFS[1], "unreadable", false);
    let known = node.kubelet.known();
    for list in &known["x.y/net"].lists {
        assert_eq!(list.len(), VFS.len(), "{list:?}");
    }
}

#[test]
fn held_device_stays_in_its_pool_until_its_release() {
    let mut node = Node::new();
    node.wait_for("x.y/net", &VFS);
    for vf in &VFS[..2] {
        node.kubelet.pods(|pods| pods.run("p", "x.y/net", &[vf]));
    }
    node.kubelet.allocate("x.y/net", &VFS[..2]).unwrap();
    let held = r#"sriov_device_plugin_devices_held{resource="x.y/net"} 2"#;
    let scrape = node.scrape.clone().unwrap();
    scrape.wait_for_line(held, true).unwrap();

    // One held VF is removed, another gets the driver of another resource, and so does a VF without a holder.
    node.tree.remove(VFS[0]).unwrap();
    node.tree.bind(VFS[1], "vfio-pci").unwrap();
    node.tree.bind(VFS[2], "vfio-pci").unwrap();
    node.rescan();
    let ill = [format!("!{}", VFS[0]), format!("!{}", VFS[1])];
    node.wait_for("x.y/net", &ill.each_ref().map(String::as_str));
    node.wait_for("x.y/user", &VFS[2..]);
    node.see("x.y/net", VFS[0], "gone", true);
    node.see("x.y/net", VFS[1], "driver_changed", true);
    let refusal = node.kubelet.allocate("x.y/net", &[VFS[0]]).unwrap_err();
    assert!(format!("{refusal:#}").contains("it is gone"), "{refusal:#}");
    let told = node.tell(&["inventory"]);
    let line = format!("gone: {} of x.y/net, held by default/p/app", VFS[0]);
    assert!(told.lines().any(|told| told == line), "{told}");

    // A plugin that starts after the change has the same result in its first list.
    node.restart();
    node.wait_for("x.y/net", &ill.each_ref().map(String::as_str));
    node.wait_for("x.y/user", &VFS[2..]);
    let known = node.kubelet.known();
    for list in &known["x.y/user"].lists {
        assert_eq!(list.len(), 1, "{list:?}");
    }

    node.kubelet.pods(|pods| pods.pods.clear());
    node.kubelet.restart().unwrap();
    node.wait_for("x.y/net", &[]);
    node.wait_for("x.y/user", &VFS[1..]);
    node.see("x.y/net", VFS[0], "gone", false);
}

#[test]
fn device_held_back_by_the_cni_plugin_is_not_offered() {
    let mut node = Node::new();
    node.wait_for("x.y/net", &VFS);
    let attachment = node.tree.attachment(PF, VFS[1], "dirty").unwrap();
    let file = node.dir.path().join(format!("cni/{}.json", VFS[1]));
    fs::write(&file, attachment.to_string()).unwrap();
    let ill = format!("!{}", VFS[1]);
    let mixed = [VFS[0], &ill, VFS[2]];
    node.wait_for("x.y/net", &mixed);
    node.see("x.y/net", VFS[1], "dirty", true);
    node.restart();
    node.wait_for("x.y/net", &mixed);
    let known = node.kubelet.known();
    let lists = known["x.y/net"].lists.iter();
    let is_kept_back = |list: &Vec<_>| {
        list.iter()
            .any(|device: &Device| device.health == "Unhealthy")
    };
    assert!(lists.clone().all(is_kept_back), "{:?}", lists.last());
    fs::remove_file(&file).unwrap();
    node.wait_for("x.y/net", &VFS);
}

#[test]
fn journal_of_a_removed_vf_has_no_effect() {
    let node = Node::new();
    node.wait_for("x.y/net", &VFS);
    let file = node.dir.path().join(format!("cni/{}.json", VFS[1]));
    let mixed = [VFS[0], &format!("!{}", VFS[1]), VFS[2]];
    for (key, another) in [("boot_id", json!("another")), ("incarnation", json!(4711))] {
        let mut attachment = node.tree.attachment(PF, VFS[1], "dirty").unwrap();
        fs::write(&file, attachment.to_string()).unwrap();
        node.wait_for("x.y/net", &mixed);
        attachment[key] = another;
        fs::write(&file, attachment.to_string()).unwrap();
        node.wait_for("x.y/net", &VFS);
    }
}

#[test]
fn journal_that_is_made_again_is_watched() {
    let node = Node::new();
    node.wait_for("x.y/net", &VFS);
    let dir = node.dir.path().join("cni");
    let file = dir.join(format!("{}.json", VFS[1]));
    let dirty = [VFS[0], &format!("!{}", VFS[1]), VFS[2]];
    let attachment = node.tree.attachment(PF, VFS[1], "dirty").unwrap();
    for _ in 0..2 {
        fs::remove_dir_all(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
        fs::write(&file, attachment.to_string()).unwrap();
        node.wait_for("x.y/net", &dirty);
        fs::remove_file(&file).unwrap();
        node.wait_for("x.y/net", &VFS);
    }
}

#[test]
fn granted_device_is_held_before_its_pod_is_listed() {
    let node = Node::new();
    node.wait_for("x.y/net", &VFS);
    node.kubelet.allocate("x.y/net", &[VFS[0]]).unwrap();
    // The device changes its pool at once; the kubelet lists no pod.
    node.tree.bind(VFS[0], "vfio-pci").unwrap();
    node.rescan();
    let held = format!("!{}", VFS[0]);
    node.wait_for("x.y/net", &[&held, VFS[1], VFS[2]]);
    node.see("x.y/net", VFS[0], "driver_changed", true);
    let known = node.kubelet.known();
    assert!(!known.contains_key("x.y/user"), "{known:?}");
    // The pod was not admitted: the device is free.
    node.wait_for("x.y/user", &VFS[..1]);
    node.wait_for("x.y/net", &VFS[1..]);
}

#[test]
fn pf_that_creates_vfs_at_the_start_delays_no_other_pf() {
    let mut node = Node::new();
    node.wait_for("x.y/net", &VFS);
    let (pf, vf) = ("0000:02:00.0", "0000:02:10.0");
    node.tree.pf(pf, "igb", 7).unwrap();
    node.tree.vf(pf, vf, "igbvf").unwrap();
    // The kernel sets the number after the last VF.
    node.tree.file(&format!("{pf}/sriov_numvfs"), "0").unwrap();
    node.restart();
    node.wait_for("x.y/net", &VFS);
    node.tree.file(&format!("{pf}/sriov_numvfs"), "1").unwrap();
    node.wait_for("x.y/net", &[VFS[0], VFS[1], VFS[2], vf]);
}

#[test]
fn unreadable_journal_is_logged_once() {
    let node = Node::new();
    node.wait_for("x.y/net", &VFS);
    let first = node.log().lines().next().unwrap_or_default().to_owned();
    assert!(first.contains("sriov-device-plugin starts") && first.contains("version"));
    let path = node.dir.path().join("cni");
    let count = |text: &str| node.log().matches(text).count();
    // A file instead of the directory; each allocation leads to another try.
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "").unwrap();
    let queries = || {
        let mut queries = 0;
        node.kubelet.pods(|pods| queries = pods.questions);
        queries
    };
    for vf in VFS {
        let before = queries();
        node.kubelet.allocate("x.y/net", &[vf]).unwrap();
        wait_for("the owners are refreshed", || queries() > before).unwrap();
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    node.kubelet.allocate("x.y/net", &[VFS[0]]).unwrap();
    wait_for("the journal can be read again", || {
        count("the CNI plugin's journal can be read again") > 0
    })
    .unwrap();
    assert_eq!(count("cannot read the CNI plugin's journal"), 1);
}
