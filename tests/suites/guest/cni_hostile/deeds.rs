//! What a pod can do to its VF with the rights of root in its network namespace. A deed may be refused, which its result shows.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output, Stdio};

use sriov_testkit::node::{Netns, ip, ip_json};

use super::calls;

/// A pod with three more namespaces: one of the world, one of its own, and where its VF is.
pub(super) struct Pod {
    pub(super) netns: Netns,
    third: Netns,
    inner: Netns,
    /// Namespace and name of the VF's network device.
    place: String,
    name: OsString,
    number: usize,
    pub(super) story: Vec<String>,
    /// BPF links, which keep their programs attached as long as they are open.
    links: Vec<OwnedFd>,
}

pub(super) type Deed = fn(&mut Pod);

pub(super) const DEEDS: &[Deed] = &[
    flags,
    limits,
    odd_alias,
    odd_altname,
    many_altnames,
    odd_name,
    other_mtu,
    other_address,
    vlan,
    vlan_moved,
    vlan_elsewhere,
    vlan_on_vlan,
    macvlan,
    macvlan_elsewhere,
    bridge,
    bond,
    leaves_for_third,
    leaves_for_inner,
    leaves_for_dying,
    xdp,
    xdp_link,
    tcx_link,
    qdiscs,
    features,
    traffic,
    down,
];

impl Pod {
    pub(super) fn new(number: usize) -> Self {
        let netns = |kind: &str| Netns::new(&format!("{kind}-{number}")).unwrap();
        let pod = netns("bad");
        Self {
            place: pod.name.clone(),
            netns: pod,
            third: netns("third"),
            inner: netns("inner"),
            name: "net1".into(),
            number,
            story: Vec::new(),
            links: Vec::new(),
        }
    }

    pub(super) fn told(&self) -> String {
        format!("{:#?}", self.story)
    }

    /// Devices in the pod's namespaces that are made to be stacked on others.
    pub(super) fn stacked(&self) -> Vec<String> {
        let places = [&self.netns, &self.third, &self.inner];
        let links = places.iter().flat_map(|netns| {
            let links = ip_json(Some(&netns.name), &["link", "show"]).unwrap_or_default();
            links.as_array().cloned().unwrap_or_default()
        });
        let kinds = ["vlan", "macvlan"];
        let stacked = links.filter(|link| {
            let kind = link
                .pointer("/linkinfo/info_kind")
                .and_then(|kind| kind.as_str());
            kind.is_some_and(|kind| kinds.contains(&kind))
        });
        stacked.map(|link| link["ifname"].to_string()).collect()
    }

    /// Runs a program of iproute2 in the namespace where the VF is.
    fn run(&mut self, program: &str, args: &[&OsStr]) -> bool {
        let mut command = Command::new(format!("/usr/sbin/{program}"));
        command.args(["-n", &self.place]).args(args);
        let output = command.output().unwrap();
        self.note(&format!("{command:?}"), &output)
    }

    fn note(&mut self, what: &str, output: &Output) -> bool {
        let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        self.story.push(if output.status.success() {
            what.to_owned()
        } else {
            format!("{what}: {error}")
        });
        output.status.success()
    }

    /// `ip` with words; `VF` stands for the name of the network device.
    fn ip(&mut self, words: &str) -> bool {
        let name = self.name.clone();
        let args: Vec<&OsStr> = words
            .split(' ')
            .map(|word| {
                if word == "VF" {
                    &name
                } else {
                    OsStr::new(word)
                }
            })
            .collect();
        self.run("ip", &args)
    }

    fn tc(&mut self, words: &str) {
        let name = self.name.clone();
        let args: Vec<&OsStr> = words
            .split(' ')
            .map(|word| {
                if word == "VF" {
                    &name
                } else {
                    OsStr::new(word)
                }
            })
            .collect();
        self.run("tc", &args);
    }

    fn leave_for(&mut self, netns: &str) {
        if self.place != netns && self.ip(&format!("link set dev VF netns {netns}")) {
            netns.clone_into(&mut self.place);
        }
    }

    fn unique(&self, kind: &str) -> String {
        format!("{kind}{}-{}", self.number, self.story.len())
    }
}

fn flags(pod: &mut Pod) {
    pod.ip("link set dev VF arp off multicast off promisc on allmulticast on");
}

fn limits(pod: &mut Pod) {
    pod.ip("link set dev VF txqueuelen 1 group 77");
    pod.ip("link set dev VF gso_max_size 2000 gso_max_segs 2");
    pod.ip("link set dev VF gro_max_size 3000");
}

fn odd_alias(pod: &mut Pod) {
    let name = pod.name.clone();
    let alias = OsStr::from_bytes(b"x\xff");
    let words = ["link", "set", "dev"].map(OsStr::new);
    pod.run(
        "ip",
        &[&words[..], &[&name, OsStr::new("alias"), alias]].concat(),
    );
}

fn odd_altname(pod: &mut Pod) {
    let name = pod.name.clone();
    let altname = OsStr::from_bytes(b"alt\xc3\x28");
    let words = ["link", "property", "add", "dev"].map(OsStr::new);
    pod.run(
        "ip",
        &[&words[..], &[&name, OsStr::new("altname"), altname]].concat(),
    );
}

/// A list of links does not show a link whose properties do not fit into a message.
fn many_altnames(pod: &mut Pod) {
    let mut batch = Vec::new();
    for number in 0..400 {
        batch.extend(b"link property add dev ");
        batch.extend(pod.name.as_bytes());
        batch.extend(format!(" altname {number:0>100}\n").as_bytes());
    }
    let mut command = Command::new("/usr/sbin/ip");
    command.args(["-n", &pod.place, "-force", "-batch", "-"]);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().unwrap();
    running.stdin.take().unwrap().write_all(&batch).unwrap();
    let output = running.wait_with_output().unwrap();
    pod.note("400 alternative names", &output);
}

fn odd_name(pod: &mut Pod) {
    let (name, new) = (pod.name.clone(), OsStr::from_bytes(b"x\xfe\xff"));
    let words = ["link", "set", "dev"].map(OsStr::new);
    if pod.run(
        "ip",
        &[&words[..], &[&name, OsStr::new("name"), new]].concat(),
    ) {
        new.clone_into(&mut pod.name);
    }
}

fn other_mtu(pod: &mut Pod) {
    pod.ip("link set dev VF mtu 700");
}

fn other_address(pod: &mut Pod) {
    pod.ip("link set dev VF address 02:00:00:00:0c:66");
}

fn vlan(pod: &mut Pod) {
    let vlan = pod.unique("v");
    pod.ip(&format!("link add link VF name {vlan} type vlan id 100"));
    pod.ip(&format!("link set dev {vlan} up"));
}

fn vlan_moved(pod: &mut Pod) {
    let (vlan, third) = (pod.unique("v"), pod.third.name.clone());
    pod.ip(&format!("link add link VF name {vlan} type vlan id 101"));
    pod.ip(&format!("link set dev {vlan} netns {third}"));
}

/// The namespace of the VF shows nothing of such a device.
pub(super) fn vlan_elsewhere(pod: &mut Pod) {
    let (vlan, third) = (pod.unique("v"), pod.third.name.clone());
    pod.ip(&format!(
        "link add link VF name {vlan} netns {third} type vlan id 102"
    ));
}

fn vlan_on_vlan(pod: &mut Pod) {
    let (lower, upper) = (pod.unique("v"), pod.unique("w"));
    pod.ip(&format!(
        "link add link VF name {lower} type vlan id 103 protocol 802.1ad"
    ));
    pod.ip(&format!(
        "link add link {lower} name {upper} type vlan id 7"
    ));
}

fn macvlan(pod: &mut Pod) {
    let macvlan = pod.unique("m");
    pod.ip(&format!(
        "link add link VF name {macvlan} type macvlan mode passthru"
    ));
    pod.ip(&format!("link set dev {macvlan} up"));
}

fn macvlan_elsewhere(pod: &mut Pod) {
    let (macvlan, third) = (pod.unique("m"), pod.third.name.clone());
    pod.ip(&format!(
        "link add link VF name {macvlan} netns {third} type macvlan mode bridge"
    ));
}

fn bridge(pod: &mut Pod) {
    let bridge = pod.unique("b");
    pod.ip(&format!("link add {bridge} type bridge"));
    pod.ip(&format!("link set dev VF master {bridge}"));
}

fn bond(pod: &mut Pod) {
    let bond = pod.unique("o");
    pod.ip(&format!("link add {bond} type bond mode active-backup"));
    pod.ip("link set dev VF down");
    pod.ip(&format!("link set dev VF master {bond}"));
    pod.ip(&format!("link set dev {bond} up"));
}

/// Some process holds this namespace.
fn leaves_for_third(pod: &mut Pod) {
    pod.leave_for(&pod.third.name.clone());
}

fn leaves_for_inner(pod: &mut Pod) {
    pod.leave_for(&pod.inner.name.clone());
    vlan(pod);
}

/// The namespace dies with its last process: the kernel returns the device to the host.
fn leaves_for_dying(pod: &mut Pod) {
    let dying = format!("dying-{}-{}", pod.number, pod.story.len());
    ip(&["netns", "add", &dying]).unwrap();
    pod.leave_for(&dying);
    ip(&["netns", "del", &dying]).unwrap();
}

fn xdp(pod: &mut Pod) {
    let program = calls::pinned_xdp();
    pod.ip(&format!("link set dev VF xdpgeneric pinned {program}"));
}

/// A program of a BPF link cannot be detached by netlink.
fn xdp_link(pod: &mut Pod) {
    let link = calls::link_xdp(&pod.place, &pod.name);
    pod.story.push(format!("XDP link: {link:?}"));
    pod.links.extend(link.ok());
}

fn tcx_link(pod: &mut Pod) {
    let link = calls::link_tcx(&pod.place, &pod.name);
    pod.story.push(format!("tcx link: {link:?}"));
    pod.links.extend(link.ok());
}

fn qdiscs(pod: &mut Pod) {
    pod.tc("qdisc add dev VF root tbf rate 8kbit burst 1600 limit 1600");
    pod.tc("qdisc add dev VF clsact");
    pod.tc("filter add dev VF ingress matchall action drop");
    pod.tc("filter add dev VF egress matchall action drop");
}

fn features(pod: &mut Pod) {
    let done = calls::disable_offloads(&pod.place, &pod.name);
    pod.story.push(format!("offloads: {done:?}"));
}

fn traffic(pod: &mut Pod) {
    pod.ip("link set dev VF up");
    pod.ip("address add 192.0.2.1/24 dev VF");
    pod.ip("neighbour add 192.0.2.9 lladdr 02:00:00:00:0c:09 dev VF");
    pod.ip("route add 198.51.100.0/24 dev VF");
}

fn down(pod: &mut Pod) {
    pod.ip("link set dev VF down");
}
