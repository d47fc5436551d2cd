//! The format of the journal on disk, version 1: what was true of a VF before, who has it, and how far the attachment is.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sriov_host::netns::NetnsId;
use sriov_host::vf::{VfChange, VfSettings};
use sriov_host::{MacAddr, PciAddress, VfIndex};

/// One attachment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedAttachmentV1 {
    /// Always 1.
    pub version: u32,
    /// How far it is.
    pub phase: Phase,
    /// Boot on which it was made: the settings of a VF do not outlive it.
    pub boot_id: String,
    /// Name of the network.
    pub network: String,
    /// Id of the container.
    pub container_id: String,
    /// Name of the interface in the pod.
    pub ifname: String,
    /// The pod's namespace.
    pub netns: SavedNetns,
    /// The VF.
    pub device: PciAddress,
    /// Which VF of that address on that boot: one that is made again is another, and nothing is restored onto it.
    pub incarnation: u64,
    /// Its PF.
    pub pf: PciAddress,
    /// Its index there.
    pub vf: VfIndex,
    /// What was true before.
    pub baseline: Baseline,
    /// What is asked of the VF at its PF.
    pub wanted: Vec<VfChange>,
    /// How to give the addresses back.
    pub ipam: Option<SavedIpam>,
    /// The result, once there is one.
    pub result: Option<Value>,
}

/// How far an attachment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Before the first change, or somewhere among the changes.
    Prepared,
    /// Done, the runtime has the result.
    Attached,
    /// The VF could not be brought back to the baseline: it is kept back and tried again.
    Dirty,
    /// The VF is what it was, its addresses are still to be given back.
    Released,
}

/// A namespace by path and by identity: paths are used again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedNetns {
    /// `CNI_NETNS`.
    pub path: String,
    /// Device and inode on that boot.
    pub id: NetnsId,
}

/// What was true of a VF before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// At its PF, where the driver tells.
    pub settings: Option<VfSettings>,
    /// Its network device; none with a driver for user space.
    pub link: Option<SavedLink>,
}

/// A network device on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedLink {
    /// Name.
    pub name: String,
    /// Alternative names, where they are known.
    pub altnames: Option<Vec<String>>,
    /// MAC address.
    pub mac: Option<MacAddr>,
    /// MTU in bytes, where it is known.
    pub mtu: Option<u32>,
    /// Whether it was up.
    pub is_up: bool,
}

impl SavedAttachmentV1 {
    /// Whether it is the attachment of this container to this network under this name (CNI specification 0.4.0, "Parameters": its key).
    pub fn is_of(&self, network: &str, container_id: &str, ifname: &str) -> bool {
        self.network == network && self.container_id == container_id && self.ifname == ifname
    }
}

/// A call of an IPAM plugin that can be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedIpam {
    /// Name of the plugin.
    pub plugin: String,
    /// The whole standard input.
    pub stdin: String,
    /// `CNI_ARGS`: some plugins know pods by the names in it.
    pub args: Option<String>,
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const GOLDEN: &str = r#"{"version":1,"phase":"attached","boot_id":"b","network":"n","container_id":"c","ifname":"net1","netns":{"path":"/run/netns/p","id":{"dev":4,"ino":7}},"device":"0000:01:10.0","incarnation":4711,"pf":"0000:01:00.0","vf":0,"baseline":{"settings":{"mac":"02:00:00:00:00:07","vlan":{"id":0,"qos":0,"proto":"802.1q"},"spoofchk":true,"trust":false,"rate":{"min":0,"max":0},"link_state":"auto"},"link":{"name":"eth2","altnames":["enp1s16"],"mac":"02:00:00:00:00:07","mtu":1500,"is_up":false}},"wanted":[{"mac":"02:00:00:00:00:01"},{"vlan":{"id":100,"qos":3,"proto":"802.1q"}},{"trust":false}],"ipam":{"plugin":"static","stdin":"{}","args":"IgnoreUnknown=1"},"result":null}"#;

    #[test]
    fn the_format_is_what_it_was() {
        let saved: SavedAttachmentV1 = serde_json::from_str(GOLDEN).unwrap();
        assert_eq!(serde_json::to_string(&saved).unwrap(), GOLDEN);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = serde_json::from_str::<SavedAttachmentV1>(&text);
        }

        #[test]
        fn a_golden_file_with_another_value_is_read_or_refused(
            field in 0_usize..16,
            value in r#"null|-1|0|1[.]5|1e99|""|"x"|\[\]|\{\}|\[null\]|true"#,
        ) {
            let mut golden: Value = serde_json::from_str(GOLDEN).unwrap();
            let fields = golden.as_object_mut().unwrap();
            let key = fields.keys().nth(field % fields.len()).unwrap().clone();
            fields.insert(key, serde_json::from_str(&value).unwrap());
            if let Ok(saved) = serde_json::from_value::<SavedAttachmentV1>(golden) {
                let text = serde_json::to_string(&saved).unwrap();
                prop_assert_eq!(serde_json::from_str::<SavedAttachmentV1>(&text).unwrap(), saved);
            }
        }
    }

    #[test]
    fn a_torn_file_is_not_read() {
        for length in 0..GOLDEN.len() {
            assert!(serde_json::from_str::<SavedAttachmentV1>(&GOLDEN[..length]).is_err());
        }
    }
}
