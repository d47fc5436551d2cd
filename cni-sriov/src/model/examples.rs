//! Values that tests of several stages start from.

use sriov_host::VfIndex;
use sriov_host::netlink::Link;
use sriov_host::vf::{VfRate, VfSettings};

use super::baseline::SavedLink;
use super::driver::Driver;
use super::saved::{SavedAttachmentV1, SavedClaim};
use super::view::{PfView, VfSide, VfView};

/// A file of the journal, as version 1 of the format writes it.
pub(crate) const SAVED: &str = r#"{"version":1,"phase":"attached","boot_id":"b","network":"n","container_id":"c","ifname":"net1","netns":{"path":"/run/netns/p","id":{"dev":4,"ino":7}},"device":"0000:01:10.0","incarnation":4711,"pf":"0000:01:00.0","vf":0,"baseline":{"settings":{"mac":"02:00:00:00:00:07","vlan":{"id":0,"qos":0,"proto":"802.1q"},"spoofchk":true,"trust":false,"rate":{"min":0,"max":0},"link_state":"auto"},"link":{"name":"eth2","altnames":["enp1s16"],"mac":"02:00:00:00:00:07","mtu":1500,"is_up":false}},"wanted":[{"mac":"02:00:00:00:00:01"},{"vlan":{"id":100,"qos":3,"proto":"802.1q"}},{"trust":false}],"ipam":{"plugin":"static","stdin":"{}","args":"IgnoreUnknown=1"},"result":null}"#;

/// That file, read.
pub(crate) fn saved() -> SavedAttachmentV1 {
    serde_json::from_str(SAVED).unwrap()
}

/// The claim of that VF.
pub(crate) fn claim() -> SavedClaim {
    SavedClaim {
        driver: "sriov.virtfn.dev".into(),
        namespace: "trading".into(),
        name: "feed".into(),
        uid: "uid-of-feed".into(),
        request: "vf".into(),
        pool: "node-1".into(),
        device: "0000-01-10-0".into(),
    }
}

/// The network device of a VF on the host: down, and with the MAC address of [`saved_link`].
pub(crate) fn link() -> Link {
    Link {
        index: 5,
        name: "eth2".into(),
        altnames: vec!["a".into()],
        mac: Some("02:00:00:00:00:07".parse().unwrap()),
        mtu: 1500,
        ..Link::default()
    }
}

/// [`link`], as it is saved.
pub(crate) fn saved_link() -> SavedLink {
    SavedLink {
        name: "eth2".parse().unwrap(),
        altnames: Some(vec!["a".into()]),
        mac: link().mac,
        mtu: Some(1500),
        is_up: false,
        index: None,
        properties: None,
        ethtool: None,
    }
}

/// A VF whose PF has this driver.
pub(crate) fn view(pf_driver: &str, side: VfSide) -> VfView {
    VfView {
        address: "0000:01:10.0".parse().unwrap(),
        incarnation: 1,
        pf: PfView {
            address: "0000:01:00.0".parse().unwrap(),
            name: "pf0".into(),
            driver: Driver::new(pf_driver),
            ifindex: 3,
        },
        index: VfIndex::new(0),
        settings: Some(VfSettings {
            rate: Some(VfRate { min: 0, max: 50 }),
            ..VfSettings::default()
        }),
        driver: Driver::new("igbvf"),
        side,
        ethtool: None,
    }
}
