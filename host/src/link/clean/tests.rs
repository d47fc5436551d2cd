//! Each property by itself: the difference that is reported, and the change that restores it.

use super::*;

fn clean() -> Link {
    Link {
        index: 5,
        name: "eth2".into(),
        altnames: vec!["enp1s16".into()],
        mac: Some(MacAddr::new([2, 0, 0, 0, 0, 7])),
        mtu: 1500,
        tso_max: Some((262_144, 40)),
        properties: Box::new(LinkProperties {
            flags: LinkFlags::MULTICAST,
            queue_length: Some(1000),
            limits: BTreeMap::from([
                (LinkLimit::GsoMaxSize, 65536),
                (LinkLimit::GsoMaxSegs, 40),
                (LinkLimit::GroMaxSize, 65536),
            ]),
            broadcast: Some(MacAddr::new([0xff; 6])),
            ..LinkProperties::default()
        }),
        ..Link::default()
    }
}

type Spoil = fn(&mut Link);

/// What a pod does to the link, the difference, and its remedy.
const CASES: &[(Spoil, &str, &str)] = &[
    (
        |link| link.name = RawName::from_bytes(b"x\xff"),
        r"name is x\xff, expected eth2",
        "rename it to `eth2`",
    ),
    (
        |link| link.altnames.push(RawName::from_bytes(b"a\xff")),
        r"alternative name is `a\xff`, expected none",
        r"remove the alternative name `a\xff`",
    ),
    (
        |link| link.altnames.clear(),
        "alternative name is none, expected `enp1s16`",
        "add the alternative name `enp1s16`",
    ),
    (
        |link| link.mac = Some(MacAddr::new([2, 0, 0, 0, 0, 8])),
        "address is 02:00:00:00:00:08, expected 02:00:00:00:00:07",
        "set its MAC address to 02:00:00:00:00:07",
    ),
    (
        |link| link.mtu = 68,
        "mtu is 68, expected 1500",
        "set its MTU to 1500",
    ),
    (
        |link| link.is_up = true,
        "state is up, expected down",
        "set it down",
    ),
    (
        |link| link.properties.flags = LinkFlags::NOARP | LinkFlags::ALLMULTI,
        "flags is NOARP,ALLMULTI, expected MULTICAST",
        "set its flags to MULTICAST",
    ),
    (
        |link| link.properties.promiscuity = 1,
        "promiscuity is 1, expected 0",
        "",
    ),
    (
        |link| link.properties.allmulti = 2,
        "allmulti is 2, expected 0",
        "",
    ),
    (
        |link| link.properties.queue_length = Some(1),
        "queue length is 1, expected 1000",
        "set its queue length to 1000",
    ),
    (
        |link| {
            link.properties.limits.insert(LinkLimit::GsoMaxSize, 2000);
        },
        "gso_max_size is 2000, expected 65536",
        "set its gso_max_size to 65536",
    ),
    (
        |link| {
            link.properties.limits.insert(LinkLimit::GsoMaxSegs, 1);
        },
        "gso_max_segs is 1, expected 40",
        "set its gso_max_segs to 40",
    ),
    (
        |link| link.properties.group = 77,
        "group is 77, expected 0",
        "set its group to 0",
    ),
    (
        |link| link.properties.alias = Some(RawName::from_bytes(b"\xff")),
        r"alias is `\xff`, expected none",
        "remove its alias",
    ),
    (
        |link| link.properties.broadcast = Some(MacAddr::ZERO),
        "broadcast address is 00:00:00:00:00:00, expected ff:ff:ff:ff:ff:ff",
        "set its broadcast address to ff:ff:ff:ff:ff:ff",
    ),
    (
        |link| link.properties.mode = 1,
        "link mode is 1, expected 0",
        "set its link mode to 0",
    ),
    (
        |link| {
            link.properties.xdp.insert(XdpMode::Generic, 9);
        },
        "xdp is program 9, expected none",
        "detach its generic XDP program",
    ),
    (
        |link| link.properties.master = Some(12),
        "master is link 12, expected none",
        "release it from its master",
    ),
];

#[test]
fn each_property_is_reported_with_its_remedy() {
    let expected = CleanLink::of(&clean());
    assert_eq!(expected.differences(&clean()), []);
    for (spoil, text, remedy) in CASES {
        let mut link = clean();
        spoil(&mut link);
        let differences = expected.differences(&link);
        let [difference] = differences.as_slice() else {
            panic!("{text}: {differences:?}")
        };
        assert_eq!(difference.to_string(), *text);
        let found = difference.remedy.as_ref().map(ToString::to_string);
        assert_eq!(found.unwrap_or_default(), *remedy);
    }
}

#[test]
fn all_properties_are_reported_at_once() {
    let mut link = clean();
    for (spoil, ..) in CASES {
        spoil(&mut link);
    }
    // Two of them are about the alternative names, which then lack one and have none too many.
    let differences = CleanLink::of(&clean()).differences(&link);
    assert_eq!(differences.len(), CASES.len() - 1);
}

#[test]
fn probed_link_is_clean_whatever_its_name() {
    let mut link = clean();
    link.name = "net1".into();
    link.altnames.clear();
    link.mtu = 9000;
    assert_eq!(CleanLink::probed(&link).differences(&link), []);
    // The limits of the device apply.
    link.properties.limits.insert(LinkLimit::GsoMaxSegs, 65535);
    let differences = CleanLink::probed(&link).differences(&link);
    assert_eq!(
        differences[0].to_string(),
        "gso_max_segs is 65535, expected 40"
    );
}

#[test]
fn properties_that_the_kernel_does_not_report_are_not_compared() {
    let mut old = clean();
    *old.properties = LinkProperties {
        flags: LinkFlags::MULTICAST,
        ..LinkProperties::default()
    };
    assert_eq!(CleanLink::of(&clean()).differences(&old), []);
    old.tso_max = None;
    assert_eq!(CleanLink::probed(&old).differences(&old), []);
}

#[test]
fn user_that_has_gone_is_no_difference() {
    let mut before = clean();
    before.properties.promiscuity = 1;
    before.properties.master = Some(12);
    assert_eq!(CleanLink::of(&before).differences(&clean()), []);
}

#[test]
fn xdp_program_that_was_there_before_cannot_be_restored() {
    let mut before = clean();
    before.properties.xdp.insert(XdpMode::Native, 7);
    let differences = CleanLink::of(&before).differences(&clean());
    assert_eq!(
        differences[0].to_string(),
        "xdp is none, expected program 7"
    );
    assert_eq!(differences[0].remedy, None);
}
