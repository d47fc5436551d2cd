//! The device plugin with the kubelet double, on a constructed machine: registration, lists, allocations, restarts.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use sriov_testkit::kubelet::Kubelet;

use sriov_testkit::plugin::{self, Plugin};

const CONFIG: &str = r#"{"resourceList": [{"resourceName": "vf", "resourcePrefix": "x.y", "selectors": {"drivers": ["igbvf"]}}]}"#;
const RESOURCE: &str = "x.y/vf";

/// A machine with one PF, its kubelet, and the plugin.
struct Node {
    dir: tempfile::TempDir,
    kubelet: Kubelet,
    plugin: Plugin,
}

impl Node {
    fn start(vfs: usize, is_watching: bool) -> Self {
        Self::start_limited(vfs, is_watching, "")
    }

    /// `limits` is a shell command that runs before the plugin, in the same process.
    fn start_limited(vfs: usize, is_watching: bool, limits: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let device = |address: &str| {
            let device = dir.path().join("sys/bus/pci/devices").join(address);
            fs::create_dir_all(&device).unwrap();
            for (attribute, text) in [
                ("vendor", "0x8086"),
                ("device", "0x10ca"),
                ("class", "0x020000"),
                ("numa_node", "1"),
            ] {
                fs::write(device.join(attribute), text).unwrap();
            }
            device
        };
        let pf = device("0000:01:00.0");
        fs::write(pf.join("sriov_totalvfs"), "7").unwrap();
        symlink("../../drivers/igb", pf.join("driver")).unwrap();
        for index in 0..vfs {
            add_vf(dir.path(), index);
        }
        fs::write(dir.path().join("config.json"), CONFIG).unwrap();
        let kubelet = Kubelet::start(&dir.path().join("kubelet"), is_watching).unwrap();
        let mut flags = plugin::flags(dir.path(), "config.json", &[("host-root", "")]);
        let mode = if is_watching { "watcher" } else { "auto" };
        flags.push(format!("--registration={mode}"));
        let command = format!(
            "{limits} exec {} {}",
            plugin::binary().unwrap().display(),
            flags.join(" ")
        );
        let log = dir.path().join("log");
        let plugin = Plugin::start(Path::new("/bin/sh"), &["-c", &command], &log).unwrap();
        Self {
            dir,
            kubelet,
            plugin,
        }
    }
}

fn add_vf(root: &Path, index: usize) {
    let devices = root.join("sys/bus/pci/devices");
    let address = format!("0000:01:10.{index}");
    let vf = devices.join(&address);
    fs::create_dir_all(&vf).unwrap();
    for (attribute, text) in [
        ("vendor", "0x8086"),
        ("device", "0x10ca"),
        ("class", "0x020000"),
        ("numa_node", "1"),
    ] {
        fs::write(vf.join(attribute), text).unwrap();
    }
    symlink("../0000:01:00.0", vf.join("physfn")).unwrap();
    symlink("../../drivers/igbvf", vf.join("driver")).unwrap();
    symlink(
        format!("../{address}"),
        devices.join(format!("0000:01:00.0/virtfn{index}")),
    )
    .unwrap();
    fs::write(
        devices.join("0000:01:00.0/sriov_numvfs"),
        (index + 1).to_string(),
    )
    .unwrap();
}

#[test]
fn pool_is_registered_and_listed_in_both_modes() {
    for is_watching in [false, true] {
        let node = Node::start(2, is_watching);
        if is_watching {
            let registry = node.dir.path().join("kubelet/plugins_registry/x.y_vf.sock");
            // The file appears before the plugin listens on it.
            let is_served = || UnixStream::connect(&registry).is_ok();
            sriov_testkit::node::wait_for("the socket is served", is_served).unwrap();
            assert_eq!(node.kubelet.look_for_plugins().unwrap(), 1);
        }
        let known = node
            .kubelet
            .wait_for("a list has arrived", |known| {
                known
                    .get(RESOURCE)
                    .is_some_and(|resource| !resource.lists.is_empty())
            })
            .unwrap();
        assert_eq!(known[RESOURCE].ids(), ["0000:01:10.0", "0000:01:10.1"]);
        let device = &known[RESOURCE].lists[0][0];
        assert_eq!(
            (
                device.health.as_str(),
                device.topology.as_ref().unwrap().nodes[0].id
            ),
            ("Healthy", 1)
        );
        node.plugin.stop().unwrap();
        let dir = node.dir.path().join("kubelet").join(if is_watching {
            "plugins_registry"
        } else {
            "device-plugins"
        });
        assert!(!dir.join("x.y_vf.sock").exists());
    }
}

#[test]
fn allocation_gives_environment_and_device_info() {
    let node = Node::start(2, false);
    node.kubelet
        .wait_for("a list has arrived", |known| {
            known
                .get(RESOURCE)
                .is_some_and(|resource| resource.ids().len() == 2)
        })
        .unwrap();
    let answer = node.kubelet.allocate(RESOURCE, &["0000:01:10.1"]).unwrap();
    assert_eq!(answer.envs["PCIDEVICE_X_Y_VF"], "0000:01:10.1");
    assert_eq!(
        answer.envs["PCIDEVICE_X_Y_VF_INFO"],
        r#"{"0000:01:10.1":{"generic":{"deviceID":"0000:01:10.1"}}}"#
    );
    let file = node
        .dir
        .path()
        .join("devinfo/x.y-vf-0000:01:10.1-device.json");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        r#"{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:01:10.1","pf-pci-address":"0000:01:00.0"}}"#
    );
    for (ids, words) in [
        (vec!["0000:09:00.0"], "not a device of"),
        (vec!["0000:01:10.0", "0000:01:10.0"], "twice"),
        (vec![], "no device ids"),
    ] {
        let error = format!("{:#}", node.kubelet.allocate(RESOURCE, &ids).unwrap_err());
        assert!(error.contains(words), "{error}");
    }
    let driver = node
        .dir
        .path()
        .join("sys/bus/pci/devices/0000:01:10.0/driver");
    fs::remove_file(&driver).unwrap();
    symlink("../../drivers/vfio-pci", &driver).unwrap();
    let error = format!(
        "{:#}",
        node.kubelet
            .allocate(RESOURCE, &["0000:01:10.0"])
            .unwrap_err()
    );
    assert!(error.contains("vfio-pci"), "{error}");
    fs::remove_dir_all(driver.parent().unwrap()).unwrap();
    let error = format!(
        "{:#}",
        node.kubelet
            .allocate(RESOURCE, &["0000:01:10.0"])
            .unwrap_err()
    );
    assert!(error.contains("gone"), "{error}");
    assert_eq!(
        node.kubelet
            .prefer(RESOURCE, &["0000:01:10.1".into(), "0000:01:10.0".into()], 1)
            .unwrap(),
        ["0000:01:10.0"]
    );
    node.plugin.stop().unwrap();
    assert!(
        file.exists(),
        "the file of a running pod went with the plugin"
    );
}

#[test]
fn restarted_kubelet_gets_the_pool_again() {
    let mut node = Node::start(1, false);
    for _ in 0..3 {
        node.kubelet
            .wait_for("a list has arrived", |known| {
                known
                    .get(RESOURCE)
                    .is_some_and(|resource| !resource.lists.is_empty())
            })
            .unwrap();
        node.kubelet.restart().unwrap();
    }
    node.kubelet
        .wait_for("a list has arrived", |known| {
            known
                .get(RESOURCE)
                .is_some_and(|resource| !resource.lists.is_empty())
        })
        .unwrap();
}

/// The Go plugin registers by a socket that the kubelet finds. When this socket is removed, the kubelet deregisters the resource, even if another plugin has registered it since.
#[test]
fn deregistered_pool_is_registered_again() {
    let node = Node::start(1, false);
    for round in 1..3 {
        node.kubelet
            .wait_for("a list has arrived after a second registration", |known| {
                let resource = known.get(RESOURCE);
                resource.is_some_and(|now| now.registrations == round && now.lists.len() == round)
            })
            .unwrap();
        node.kubelet.let_go();
    }
    node.plugin.stop().unwrap();
}

#[test]
fn sighup_applies_new_vfs_and_a_valid_configuration() {
    let node = Node::start(1, false);
    let has = |count: usize| {
        node.kubelet
            .wait_for("the list has the expected devices", |known| {
                known
                    .get(RESOURCE)
                    .is_some_and(|resource| resource.ids().len() == count)
            })
    };
    has(1).unwrap();
    add_vf(node.dir.path(), 1);
    fs::write(node.dir.path().join("config.json"), "{").unwrap();
    node.plugin.signal(Signal::SIGHUP).unwrap();
    let known = has(2).unwrap();
    assert_eq!(
        known[RESOURCE].lists.len(),
        2,
        "a list between the old and the new: {known:?}"
    );
    fs::write(
        node.dir.path().join("config.json"),
        CONFIG.replace("igbvf", "vfio-pci"),
    )
    .unwrap();
    node.plugin.signal(Signal::SIGHUP).unwrap();
    has(0).unwrap();
}

#[test]
fn absent_kubelet_is_tried_at_growing_intervals() {
    let mut node = Node::start(1, false);
    let is_listed = |kubelet: &Kubelet| {
        kubelet
            .wait_for("the VF is listed", |known| {
                known
                    .get(RESOURCE)
                    .is_some_and(|known| !known.lists.is_empty())
            })
            .unwrap();
    };
    is_listed(&node.kubelet);
    node.kubelet.stop().unwrap();
    // Each try creates and removes the plugin's socket; other files change too.
    let dir = node.dir.path().join("kubelet/device-plugins");
    let log = node.dir.path().join("log");
    sriov_testkit::node::wait_for("the tries become less frequent", || {
        let other = dir.join("other");
        fs::write(&other, "").unwrap();
        fs::remove_file(&other).unwrap();
        fs::read_to_string(&log)
            .unwrap()
            .contains("next try in 800 ms")
    })
    .unwrap();
    node.kubelet.restart().unwrap();
    is_listed(&node.kubelet);
    node.plugin.stop().unwrap();
}

#[test]
fn pool_without_descriptors_is_served_later() {
    let node = Node::start_limited(1, false, "ulimit -n 32;");
    let known = node.kubelet.wait_for("the VF is listed", |known| {
        known
            .get(RESOURCE)
            .is_some_and(|known| !known.lists.is_empty())
    });
    let socket = &known.unwrap()[RESOURCE].socket;
    let descriptors = || {
        fs::read_dir(format!("/proc/{}/fd", node.plugin.id()))
            .unwrap()
            .count()
    };
    let clients: Vec<UnixStream> = (0..40)
        .map(|_| UnixStream::connect(socket).unwrap())
        .collect();
    sriov_testkit::node::wait_for("no file descriptor is left", || descriptors() >= 32).unwrap();
    drop(clients);
    node.kubelet.allocate(RESOURCE, &["0000:01:10.0"]).unwrap();
    node.plugin.stop().unwrap();
}

#[test]
fn refused_registration_is_repeated_at_growing_intervals() {
    let mut node = Node::start(1, false);
    node.kubelet.refuse(Some("not today"));
    node.kubelet.restart().unwrap();
    let log = node.dir.path().join("log");
    for wait in [200, 400, 800] {
        let line = format!(
            "next try in {wait} ms pool={RESOURCE} error=the kubelet refused the registration: not today"
        );
        sriov_testkit::node::wait_for(&line, || fs::read_to_string(&log).unwrap().contains(&line))
            .unwrap();
    }
    node.kubelet.refuse(None);
    node.kubelet.restart().unwrap();
    node.kubelet
        .wait_for("a list has arrived", |known| {
            known
                .get(RESOURCE)
                .is_some_and(|resource| !resource.lists.is_empty())
        })
        .unwrap();
    let log = fs::read_to_string(&log).unwrap();
    assert!(!log.contains("next try in 3200 ms"), "{log}");
}

#[test]
fn long_resource_name_gets_a_short_socket_path() {
    let node = Node::start(1, false);
    let (prefix, name) = (format!("{}.com", "a".repeat(59)), "b".repeat(63));
    let config = CONFIG
        .replace("x.y", &prefix)
        .replace("\"vf\"", &format!("\"{name}\""));
    fs::write(node.dir.path().join("config.json"), config).unwrap();
    let resource = format!("{prefix}/{name}");
    let known = node.kubelet.wait_for("a list has arrived", |known| {
        known
            .get(&resource)
            .is_some_and(|known| known.ids().len() == 1)
    });
    let socket = known.unwrap()[&resource].socket.clone();
    assert!(socket.as_os_str().len() < 108, "{}", socket.display());
    node.kubelet.allocate(&resource, &["0000:01:10.0"]).unwrap();
    node.plugin.stop().unwrap();
    assert!(!socket.exists(), "{}", socket.display());
}

#[test]
fn wrong_start_fails_with_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    fs::write(&file, r#"{"resourceList": [{"resourceName": "a"}]}"#).unwrap();
    let output = Command::new(plugin::binary().unwrap())
        .arg(format!("--config-file={}", file.display()))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("resourceList[0].selectors"),
        "{output:?}"
    );
    assert_eq!(
        Command::new(plugin::binary().unwrap())
            .arg("--nonsense")
            .output()
            .unwrap()
            .status
            .code(),
        Some(2)
    );
}
