//! cnitool, the reference runtime's own tool, drives the plugin on real VFs, alone and in a chain with the reference plugins of this release.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use sriov_testkit::cni::{assert_nothing_left, at_pf};
use sriov_testkit::node::{Netns, Pf, ip, ip_json, wait_for};

/// A network list in a separate directory, like one in `/etc/cni/net.d`.
struct Network(tempfile::TempDir);

impl Network {
    fn new(plugins: &Value) -> Self {
        let list = json!({ "cniVersion": "1.1.0", "name": "wire", "plugins": plugins });
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("10-wire.conflist"), list.to_string()).unwrap();
        Self(dir)
    }

    /// Runs cnitool, and returns its output or its error.
    fn ask(&self, verb: &str, pod: &Netns, capabilities: &Value) -> Result<String, String> {
        let output = Command::new("/usr/bin/cnitool")
            .args([verb, "wire"])
            .arg(pod.path())
            .env("CNI_PATH", "/opt/cni/bin")
            .env("NETCONFPATH", self.0.path())
            .env("CNI_IFNAME", "net1")
            .env("CAP_ARGS", capabilities.to_string())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stderr))
        }
    }

    fn tell(&self, verb: &str, pod: &Netns) -> String {
        self.ask(verb, pod, &json!({})).unwrap()
    }

    fn add(&self, pod: &Netns) -> Value {
        serde_json::from_str(&self.tell("add", pod)).unwrap()
    }
}

/// A helper process that is killed when this is dropped.
struct Helper(Child);

impl Helper {
    fn start(program: &str, words: &[&str], log: &Path) -> Self {
        let log = File::create(log).unwrap();
        let child = Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn host_local() -> Value {
    json!({
        "type": "host-local",
        "ranges": [[{ "subnet": "192.0.2.0/24", "gateway": "192.0.2.1" }]],
        "routes": [{ "dst": "198.51.100.0/24" }],
    })
}

/// Addresses that host-local has allocated.
fn given() -> Vec<String> {
    let entries = fs::read_dir("/var/lib/cni/networks/wire");
    let names = entries.into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().into_string().unwrap());
    names
        .filter(|name| name.parse::<std::net::IpAddr>().is_ok())
        .collect()
}

fn inside(pod: &Netns, words: &[&str]) -> Value {
    ip_json(Some(&pod.name), words).unwrap()
}

#[test]
fn every_verb_works_in_a_chain_of_plugins() {
    let pf = Pf::with_vfs(0, 7).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("chain").unwrap();
    let network = Network::new(&json!([
        { "type": "sriov", "deviceID": pf.vf(0).unwrap(), "vlan": 100, "ipam": host_local() },
        { "type": "tuning", "sysctl": { "net.ipv4.conf.net1.arp_filter": "1" }, "mtu": 1400 },
        { "type": "sbr" },
    ]));
    network.tell("status", &pod);
    let result = network.add(&pod);
    let address = result["ips"][0]["address"].as_str().unwrap();
    let (address, _) = address.split_once('/').unwrap();
    assert_eq!(result["interfaces"][0]["name"], "net1");
    assert_eq!(at_pf(&pf, 0)["vlan_list"][0]["vlan"], 100);
    assert_eq!(
        inside(&pod, &["link", "show", "dev", "net1"])[0]["mtu"],
        1400
    );
    let rules = inside(&pod, &["rule", "show"]);
    let of_sbr = |rule: &&Value| rule["src"] == address;
    assert!(
        rules.as_array().unwrap().iter().any(|rule| of_sbr(&rule)),
        "{rules}"
    );
    network.tell("check", &pod);

    ip(&["link", "set", &pf.netdev, "vf", "0", "vlan", "7"]).unwrap();
    let drift = network.ask("check", &pod, &json!({})).unwrap_err();
    assert!(drift.contains("vlan") && drift.contains('7'), "{drift}");

    network.tell("del", &pod);
    network.tell("del", &pod);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_eq!(given(), Vec::<String>::new());
    assert_nothing_left();
}

#[test]
fn gc_releases_attachments_outside_its_list() {
    let pf = Pf::with_vfs(0, 7).unwrap();
    let before = pf.baseline().unwrap();
    let network = Network::new(
        &json!([{ "type": "sriov", "deviceID": pf.vf(1).unwrap(), "vlan": 5, "trust": "on", "ipam": host_local() }]),
    );
    let pod = Netns::new("gone").unwrap();
    network.add(&pod);
    assert_eq!(given().len(), 1);
    pod.delete().unwrap();
    // cnitool passes an empty list of valid attachments.
    let other = Netns::new("other").unwrap();
    network.tell("gc", &other);
    wait_for("the VFs have their earlier state", || {
        pf.baseline().is_ok_and(|now| now == before)
    })
    .unwrap();
    assert_eq!(given(), Vec::<String>::new());
    assert_nothing_left();
}

#[test]
fn bandwidth_works_without_limits_and_fails_cleanly() {
    let pf = Pf::with_vfs(0, 7).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("limit").unwrap();
    let network = Network::new(&json!([
        { "type": "sriov", "deviceID": pf.vf(0).unwrap(), "vlan": 9 },
        { "type": "bandwidth", "capabilities": { "bandwidth": true } },
    ]));
    network.add(&pod);
    network.tell("del", &pod);
    let limit = json!({ "bandwidth": { "ingressRate": 1_000_000, "ingressBurst": 1_000_000 } });
    // It shapes the host's end of a veth pair, which a VF does not have; `max_tx_rate` replaces it.
    let refused = network.ask("add", &pod, &limit).unwrap_err();
    assert!(refused.contains("veth peer"), "{refused}");
    network.ask("del", &pod, &json!({})).unwrap();
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn static_addresses_and_routes_are_set() {
    let pf = Pf::with_vfs(0, 7).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("static").unwrap();
    let ipam = json!({
        "type": "static",
        "addresses": [{ "address": "192.0.2.9/24", "gateway": "192.0.2.1" }, { "address": "2001:db8::9/64" }],
        "routes": [{ "dst": "198.51.100.0/24" }],
    });
    let network =
        Network::new(&json!([{ "type": "sriov", "deviceID": pf.vf(0).unwrap(), "ipam": ipam }]));
    network.tell("status", &pod);
    network.add(&pod);
    let shown = inside(&pod, &["address", "show", "dev", "net1"]).to_string();
    assert!(shown.contains("\"192.0.2.9\"") && shown.contains("\"2001:db8::9\""));
    let routes = inside(&pod, &["route", "show"]).to_string();
    assert!(routes.contains("198.51.100.0/24"), "{routes}");
    network.tell("check", &pod);
    network.tell("del", &pod);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn dhcp_server_on_the_wire_assigns_the_address() {
    let (pf, far) = (Pf::with_vfs(0, 7).unwrap(), Pf::with_vfs(1, 7).unwrap());
    let before = pf.baseline().unwrap();
    let pod = Netns::new("lease").unwrap();
    let network = Network::new(
        &json!([{ "type": "sriov", "deviceID": pf.vf(0).unwrap(), "ipam": { "type": "dhcp" } }]),
    );
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let lacking = network.ask("add", &pod, &json!({})).unwrap_err();
    assert!(lacking.contains("dhcp.sock"), "{lacking}");
    assert_eq!(pf.baseline().unwrap(), before);

    let socket = Path::new("/run/cni/dhcp.sock");
    let log = dir.path().join("daemon.log");
    let daemon = Helper::start("/opt/cni/bin/dhcp", &["daemon"], &log);
    wait_for("the daemon of the dhcp plugin accepts connections", || {
        socket.exists()
    })
    .unwrap();
    ip(&["address", "add", "198.51.100.1/24", "dev", &far.netdev]).unwrap();
    let config = format!(
        "start 198.51.100.50\nend 198.51.100.59\ninterface {}\nlease_file {}\npidfile {}\noption subnet 255.255.255.0\noption lease 600\n",
        far.netdev,
        file("leases"),
        file("pid")
    );
    fs::write(file("leases"), "").unwrap();
    fs::write(file("config"), config).unwrap();
    let words = ["udhcpd", "-f", "-I", "198.51.100.1", &file("config")];
    let server = Helper::start("/bin/busybox", &words, &dir.path().join("server.log"));

    network.tell("status", &pod);
    let result = network.add(&pod);
    let address = result["ips"][0]["address"].as_str().unwrap();
    assert!(address.starts_with("198.51.100.5"), "{result}");
    let shown = inside(&pod, &["address", "show", "dev", "net1"]).to_string();
    let (bare, _) = address.split_once('/').unwrap();
    assert!(shown.contains(&format!("\"{bare}\"")), "{shown}");
    network.tell("check", &pod);
    network.tell("del", &pod);

    drop((daemon, server));
    let _ = fs::remove_file(socket);
    ip(&["address", "del", "198.51.100.1/24", "dev", &far.netdev]).unwrap();
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}
