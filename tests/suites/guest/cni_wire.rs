//! Announcements, addresses and routes of an attachment, on real VFs.

use serde_json::{Value, json};
use sriov_testkit::cni::{
    BIN, RECORDER_BIN, Recorder, assert_nothing_left, attachment, in_pod, run_with,
};
use sriov_testkit::node::{Netns, Pf, Tap, ip, ip_json, wait_for};

/// The words of tcpdump for announcements.
const ANNOUNCEMENTS: &[&str] = &["arp", "or", "icmp6"];

#[test]
fn addresses_are_announced_through_the_vf_only() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    // The other PF receives broadcasts while it has no VFs.
    let other = Pf::with_vfs(1, 0).unwrap();
    let pod = Netns::new("announce").unwrap();
    ip(&["-netns", "announce", "link", "add", "eth0", "type", "dummy"]).unwrap();
    ip(&["-netns", "announce", "link", "set", "eth0", "up"]).unwrap();
    ip(&[
        "-netns",
        "announce",
        "address",
        "add",
        "10.0.0.7/8",
        "dev",
        "eth0",
    ])
    .unwrap();
    let recorder = Recorder::new(&json!({ "cniVersion": "1.1.0",
        "ips": [{ "address": "192.0.2.10/24", "gateway": "192.0.2.1" }, { "address": "192.0.2.11/24" }, { "address": "2001:db8::10/64", "gateway": "2001:db8::1" }] })).unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    let fields = json!({ "cniVersion": "1.1.0", "mac": "02:00:00:00:0b:01", "ipam": { "type": "recorder" } });
    let path = format!("{RECORDER_BIN}:{BIN}");
    let (wire, inside) = (
        Tap::new(None, &other.netdev, ANNOUNCEMENTS).unwrap(),
        Tap::new(Some("announce"), "eth0", ANNOUNCEMENTS).unwrap(),
    );
    let added = run_with("ADD", &fields, &attachment, &[("CNI_PATH", &path)]);
    assert_eq!(added.code, Some(0), "{} {}", added.document, added.log);
    for address in ["192.0.2.10", "192.0.2.11"] {
        wait_for("the IPv4 address is announced", || {
            wire.has(&[
                "02:00:00:00:0b:01 > ff:ff:ff:ff:ff:ff",
                &format!("who-has {address}"),
                &format!("tell {address}"),
            ])
        })
        .unwrap();
    }
    wait_for("the IPv6 address is announced", || {
        wire.has(&[
            "02:00:00:00:0b:01 >",
            "neighbor advertisement",
            "tgt is 2001:db8::10",
        ])
    })
    .unwrap();
    let elsewhere = inside.frames();
    assert!(
        !elsewhere.contains("192.0.2.1") && !elsewhere.contains("2001:db8::"),
        "{elsewhere}"
    );
    let deleted = run_with("DEL", &fields, &attachment, &[("CNI_PATH", &path)]);
    assert_eq!(deleted.code, Some(0), "{}", deleted.document);
    assert_eq!(recorder.verbs(), ["ADD", "DEL"]);
    assert_nothing_left();
}

#[test]
fn routes_are_added_next_to_those_of_the_pod() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let pod = Netns::new("multus").unwrap();
    let in_pod = |args: &str| {
        let words: Vec<&str> = ["-netns", "multus"]
            .into_iter()
            .chain(args.split(' '))
            .collect();
        ip(&words).unwrap();
    };
    in_pod("link add eth0 type dummy");
    in_pod("link set eth0 up");
    in_pod("address add 10.0.0.7/8 dev eth0");
    in_pod("address add 2001:db8:9::7/64 dev eth0 nodad");
    in_pod("route add default via 10.0.0.1");
    in_pod("-6 route add default via 2001:db8:9::1");
    let recorder = Recorder::new(&json!({ "cniVersion": "1.1.0",
        "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }, { "dst": "192.0.2.0/24" }, { "dst": "192.0.2.0/24" }],
        "ips": [{ "address": "192.0.2.10/24", "gateway": "192.0.2.1" }, { "address": "2001:db8::10/64", "gateway": "2001:db8::1" }] })).unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    let fields = json!({ "cniVersion": "1.1.0", "ipam": { "type": "recorder" } });
    let path = format!("{RECORDER_BIN}:{BIN}");
    for verb in ["ADD", "DEL"] {
        let done = run_with(verb, &fields, &attachment, &[("CNI_PATH", &path)]);
        assert_eq!(done.code, Some(0), "{verb}: {} {}", done.document, done.log);
        for (family, gateways) in [
            ("-4", ["10.0.0.1", "192.0.2.1"]),
            ("-6", ["2001:db8:9::1", "2001:db8::1"]),
        ] {
            let shown = ip_json(Some("multus"), &[family, "route", "show", "default"]).unwrap();
            let has = |gateway: &str| shown.to_string().contains(&format!("\"{gateway}\""));
            assert_eq!(gateways.map(has), [true, verb == "ADD"], "{verb}: {shown}");
        }
    }
    drop(recorder);
    assert_nothing_left();
}

#[test]
fn routes_have_all_attributes_of_the_result() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("routes").unwrap();
    let routes = json!([
        { "dst": "198.51.100.0/24", "gw": "192.0.2.1", "mtu": 1300, "advmss": 1200, "priority": 7, "table": 1000 },
        { "dst": "203.0.113.0/24", "scope": 253 },
        { "dst": "203.0.114.0/24" },
        { "dst": "2001:db8:1::/48", "gw": "2001:db8::1", "mtu": 1280, "priority": 9 },
    ]);
    let recorder = Recorder::new(&json!({ "cniVersion": "1.1.0", "routes": routes,
        "ips": [{ "address": "192.0.2.10/24", "gateway": "192.0.2.1" }, { "address": "2001:db8::10/64", "gateway": "2001:db8::1" }] })).unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    let mut fields = json!({ "cniVersion": "1.1.0", "ipam": { "type": "recorder" } });
    let path = format!("{RECORDER_BIN}:{BIN}");
    let call =
        |verb: &str, fields: &Value| run_with(verb, fields, &attachment, &[("CNI_PATH", &path)]);
    let added = call("ADD", &fields);
    assert_eq!(added.code, Some(0), "{} {}", added.document, added.log);
    assert_eq!(added.document["routes"], routes);
    let shown = |args: &[&str]| {
        let mut all = ip_json(Some("routes"), args).unwrap();
        all.as_array_mut()
            .unwrap()
            .retain(|route| route["dev"] == "net1");
        all[0].clone()
    };
    let route = shown(&["route", "show", "table", "1000", "198.51.100.0/24"]);
    assert_eq!(
        (&route["gateway"], &route["metric"]),
        (&json!("192.0.2.1"), &json!(7)),
        "{route}"
    );
    assert_eq!(
        (&route["metrics"][0]["mtu"], &route["metrics"][0]["advmss"]),
        (&json!(1300), &json!(1200)),
        "{route}"
    );
    let route = shown(&["route", "show", "203.0.113.0/24"]);
    assert_eq!(
        (&route["gateway"], &route["scope"]),
        (&Value::Null, &json!("link")),
        "{route}"
    );
    assert_eq!(
        shown(&["route", "show", "203.0.114.0/24"])["gateway"],
        "192.0.2.1"
    );
    let route = shown(&["-6", "route", "show", "2001:db8:1::/48"]);
    assert_eq!(
        (
            &route["gateway"],
            &route["metric"],
            &route["metrics"][0]["mtu"]
        ),
        (&json!("2001:db8::1"), &json!(9), &json!(1280)),
        "{route}"
    );
    fields["prevResult"] = added.document;
    assert_eq!(call("CHECK", &fields).code, Some(0));
    ip(&[
        "-netns",
        "routes",
        "route",
        "change",
        "198.51.100.0/24",
        "via",
        "192.0.2.1",
        "metric",
        "7",
        "table",
        "1000",
    ])
    .unwrap();
    let drifted = call("CHECK", &fields);
    assert!(
        drifted.document["msg"]
            .as_str()
            .unwrap()
            .contains("route: wanted 198.51.100.0/24"),
        "{}",
        drifted.document
    );
    assert_eq!(call("DEL", &fields).code, Some(0));
    assert_eq!(recorder.verbs().len(), 4);
    assert_eq!(in_pod(&pod), Value::Null);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}
