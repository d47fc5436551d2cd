//! The format of the journal on disk, version 1: who has a VF, what it was like before, and how far the attachment is.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use sriov_host::netlink::Link;
use sriov_host::netns::NetnsId;
use sriov_host::vf::VfChange;
use sriov_host::{IfName, PciAddress, VfIndex};

use super::baseline::Baseline;
use super::unknown_keys::{add_keys, unknown_keys};

/// Version of the format.
pub(crate) const FORMAT: u32 = 1;

/// One attachment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedAttachmentV1 {
    /// Always [`FORMAT`].
    pub(crate) version: u32,
    /// How far the attachment is.
    pub(crate) phase: Phase,
    /// Boot on which the attachment was made: the settings of a VF end with the boot.
    pub(crate) boot_id: String,
    /// Name of the network.
    pub(crate) network: String,
    /// Id of the container.
    pub(crate) container_id: String,
    /// Name of the interface in the pod; earlier versions accepted a `%`, in whose place the kernel chose a number.
    #[serde(deserialize_with = "interface_name")]
    pub(crate) ifname: IfName,
    /// The pod's network namespace.
    pub(crate) netns: SavedNetns,
    /// PCI address of the VF.
    pub(crate) device: PciAddress,
    /// Identity of the VF on that boot: a VF that is created again has another one, and nothing is restored onto it.
    pub(crate) incarnation: u64,
    /// PCI address of the PF.
    pub(crate) pf: PciAddress,
    /// Index of the VF at the PF.
    pub(crate) vf: VfIndex,
    /// The claim that the VF belongs to; absent if the pod got it another way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claim: Option<SavedClaim>,
    /// State of the VF before the attachment.
    pub(crate) baseline: Baseline,
    /// Settings that the attachment made at the PF, in order.
    pub(crate) wanted: Vec<VfChange>,
    /// The IPAM call that DEL repeats; absent without IPAM.
    pub(crate) ipam: Option<SavedIpam>,
    /// The CNI result; absent before the attachment is complete.
    pub(crate) result: Option<Value>,
    /// Settings that the PF refused to restore because it had no link; only in the phase [`Phase::Released`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) postponed: Vec<VfChange>,
    /// Keys that this program does not know, at any depth: they are kept.
    #[serde(skip)]
    pub(crate) rest: Map<String, Value>,
}

fn interface_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IfName, D::Error> {
    let text = String::deserialize(deserializer)?;
    IfName::with_percent(&text).map_err(D::Error::custom)
}

/// How far an attachment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Before the first change, or among the changes.
    Prepared,
    /// Complete: the runtime has the result.
    Attached,
    /// The VF could not be restored to its baseline: it is held back and the restoration is tried again.
    Dirty,
    /// The VF is free; its addresses are not released yet, or some settings are postponed.
    Released,
}

/// A network namespace by path and by identity, because paths are reused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedNetns {
    /// `CNI_NETNS`.
    pub(crate) path: String,
    /// Device and inode number on that boot; another namespace may get them later.
    pub(crate) id: NetnsId,
    /// Number that no other namespace gets on that boot; absent before Linux 5.14.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cookie: Option<u64>,
}

impl SavedNetns {
    /// Whether a namespace with this identity and number is the saved one: the number decides where both are known.
    pub(crate) fn is(&self, id: NetnsId, cookie: Option<u64>) -> bool {
        match (self.cookie, cookie) {
            (Some(saved), Some(cookie)) => saved == cookie,
            (None, _) | (_, None) => self.id == id,
        }
    }
}

impl SavedAttachmentV1 {
    /// Reads a document.
    ///
    /// # Errors
    /// When a key is missing or has another kind of value.
    pub(crate) fn decode(document: &Value) -> serde_json::Result<Self> {
        let mut saved = Self::deserialize(document)?;
        saved.rest = unknown_keys(document, &serde_json::to_value(&saved)?);
        Ok(saved)
    }

    /// The document, with the keys that this program does not know.
    pub(crate) fn encode(&self) -> serde_json::Result<Vec<u8>> {
        if self.rest.is_empty() {
            return serde_json::to_vec(self);
        }
        let mut document = serde_json::to_value(self)?;
        add_keys(&mut document, &self.rest);
        serde_json::to_vec(&document)
    }

    /// Whether a link is the network device of the VF: by the device behind it.
    ///
    /// Before Linux 5.14 only the driver can name that device, and not each driver does: there the index decides.
    pub(crate) fn is_its_link(&self, link: &Link) -> bool {
        if let Some(device) = link.device {
            return device == self.device;
        }
        let was = self.baseline.link.as_ref();
        let index = was.and_then(|was| was.index);
        link.kind.is_none() && index == Some(link.index)
    }

    /// Whether something of the VF is not restored yet, although its pod is gone.
    pub(crate) fn is_unrestored(&self) -> bool {
        self.phase == Phase::Dirty || !self.postponed.is_empty()
    }

    /// Whether this is the attachment of the container to the network under the interface name, which is its key (CNI specification 0.4.0, "Parameters").
    pub(crate) fn is_of(&self, network: &str, container_id: &str, ifname: &str) -> bool {
        self.network == network
            && self.container_id == container_id
            && self.ifname.as_str() == ifname
    }
}

/// The claim of a pod that a VF belongs to (`resource.k8s.io`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedClaim {
    /// Name of the DRA driver.
    pub(crate) driver: String,
    /// Namespace of the claim.
    pub(crate) namespace: String,
    /// Name of the claim.
    pub(crate) name: String,
    /// UID of the claim.
    pub(crate) uid: String,
    /// Name of the request.
    pub(crate) request: String,
    /// Pool of the device.
    pub(crate) pool: String,
    /// Name of the device in the pool.
    pub(crate) device: String,
}

/// A call of an IPAM plugin that can be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedIpam {
    /// Name of the plugin.
    pub(crate) plugin: String,
    /// The whole standard input.
    pub(crate) stdin: String,
    /// `CNI_ARGS`: some IPAM plugins identify pods by the names in it.
    pub(crate) args: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::examples::{self, SAVED};

    #[test]
    fn format_is_unchanged() {
        let saved: SavedAttachmentV1 = serde_json::from_str(SAVED).unwrap();
        assert_eq!(serde_json::to_string(&saved).unwrap(), SAVED);
    }

    /// The keys of the baseline that version 1 did not have at first, with what they describe.
    #[test]
    fn properties_settings_and_driver_are_read_back() {
        let saved = SAVED
            .replace(r#""is_up":false}"#, r#""is_up":false,"properties":{"flags":4096,"promiscuity":0,"allmulti":0,"queue_length":1000,"limits":{"gso_max_size":65536},"group":0,"alias":"x\\xff","broadcast":"ff:ff:ff:ff:ff:ff","mode":0,"xdp":{"generic":7},"master":null},"ethtool":{"features":[3],"private_flags":null,"channels":null,"rings":[1,2],"coalescing":null,"pause":null,"rules":null}},"driver":"igbvf""#);
        let read: SavedAttachmentV1 = serde_json::from_str(&saved).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), saved);
        // A later version may have more of them.
        let more = saved.replace(r#""group":0"#, r#""group":0,"colour":"red""#);
        assert_eq!(
            serde_json::from_str::<SavedAttachmentV1>(&more).unwrap(),
            read
        );
    }

    #[test]
    fn link_without_a_device_is_known_by_its_index() {
        let mut saved = examples::saved();
        saved.baseline.link.as_mut().unwrap().index = Some(5);
        let (own, other) = (Some(saved.device), "0000:01:10.2".parse().ok());
        for (device, kind, index, is_its_link) in [
            (own, None, 9, true),
            (other, None, 5, false),
            (None, None, 5, true),
            (None, None, 9, false),
            (None, Some("veth".into()), 5, false),
        ] {
            let link = Link {
                index,
                device,
                kind,
                ..Link::default()
            };
            assert_eq!(saved.is_its_link(&link), is_its_link, "{link:?}");
        }
        let older = examples::saved();
        assert!(!older.is_its_link(&examples::link()));
    }

    #[test]
    fn attachment_of_an_earlier_version_may_have_a_percent_sign() {
        let text = SAVED.replace(r#""ifname":"net1""#, r#""ifname":"net%d""#);
        let saved: SavedAttachmentV1 = serde_json::from_str(&text).unwrap();
        assert_eq!(saved.ifname.as_str(), "net%d");
        let text = SAVED.replace(r#""ifname":"net1""#, r#""ifname":"a/b""#);
        assert!(serde_json::from_str::<SavedAttachmentV1>(&text).is_err());
    }

    #[test]
    fn new_namespace_under_the_same_inode_is_another() {
        let old = examples::saved().netns;
        let mut new = old.clone();
        new.cookie = Some(7);
        let other = NetnsId { dev: 4, ino: 8 };
        for (saved, id, cookie, is_same) in [
            (&old, old.id, None, true),
            (&old, old.id, Some(7), true),
            (&old, other, Some(7), false),
            (&new, old.id, Some(7), true),
            (&new, old.id, Some(8), false),
            (&new, old.id, None, true),
            (&new, other, None, false),
        ] {
            assert_eq!(saved.is(id, cookie), is_same, "{saved:?} {id:?} {cookie:?}");
        }
        let text = serde_json::to_string(&new).unwrap();
        assert!(text.ends_with(r#","cookie":7}"#), "{text}");
    }

    #[test]
    fn unknown_keys_are_kept_at_any_depth() {
        let text = SAVED.replace(
            r#","result":null}"#,
            r#","result":null,"reason":{"a":[1]}}"#,
        );
        let text = text.replace(
            r#","is_up":false}}"#,
            r#","is_up":false,"colour":"red"},"shape":[]}"#,
        );
        let document: Value = serde_json::from_str(&text).unwrap();
        let saved = SavedAttachmentV1::decode(&document).unwrap();
        let written = saved.encode().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), document);
        // The next phase has them too.
        let released = SavedAttachmentV1 {
            phase: Phase::Released,
            ..saved
        };
        let written: Value = serde_json::from_slice(&released.encode().unwrap()).unwrap();
        assert_eq!(written["baseline"]["link"]["colour"], "red");
        assert_eq!(written["phase"], "released");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = serde_json::from_str::<SavedAttachmentV1>(&text);
        }

        #[test]
        fn golden_file_with_another_value_is_read_or_refused(
            field in 0_usize..16,
            value in r#"null|-1|0|1[.]5|1e99|""|"x"|\[\]|\{\}|\[null\]|true"#,
        ) {
            let mut golden: Value = serde_json::from_str(SAVED).unwrap();
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
    fn torn_file_is_refused() {
        for length in 0..SAVED.len() {
            assert!(serde_json::from_str::<SavedAttachmentV1>(&SAVED[..length]).is_err());
        }
    }
}
