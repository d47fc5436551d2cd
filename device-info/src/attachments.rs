//! Reads the CNI plugin's journal, which records the VF of each container; nothing here writes it.
//!
//! The format is the CNI plugin's own (`SavedAttachmentV1`); only the fields that other programs need are read, so that newer files are read as well.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use sriov_host::{PciAddress, VfIndex};

use crate::atomic;
use crate::private_dir::is_shut;

/// One attachment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Attachment {
    /// Progress of the attachment.
    pub phase: Phase,
    /// Boot id of the boot on which the VF was attached.
    pub boot_id: String,
    /// Identity of the VF on that boot (`sriov_host::sysfs::incarnation`): a recreated VF has another.
    pub incarnation: u64,
    /// Name of the network.
    pub network: String,
    /// Id of the container.
    pub container_id: String,
    /// Name of the interface in the pod.
    pub ifname: String,
    /// The pod's namespace.
    pub netns: Netns,
    /// The VF's PF.
    pub pf: PciAddress,
    /// Index of the VF at its PF.
    pub vf: VfIndex,
    /// The CNI result; absent before the attachment is complete.
    #[serde(default)]
    pub result: Option<Value>,
}

/// The pod's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Netns {
    /// Its path.
    pub path: String,
}

/// Progress of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// ADD is running, or was interrupted.
    Prepared,
    /// ADD is complete.
    Attached,
    /// The VF could not be restored and is held back.
    Dirty,
    /// The VF is free, its addresses are not released yet.
    Released,
    /// A phase of a later version.
    #[serde(other)]
    Other,
}

/// Reads all attachments of a state directory, for instance `/var/lib/cni/sriov`, by VF; a directory that is missing, or that its owner may not enter ([`crate::private_dir`]), has none.
///
/// A torn file that no other replaces is skipped: the next call of the CNI plugin handles it.
///
/// # Errors
/// When the directory exists and it, or a file, cannot be read.
pub fn read(dir: &Path) -> io::Result<BTreeMap<PciAddress, Attachment>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && is_shut(dir) => {
            return Ok(BTreeMap::new());
        }
        other => other?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let name = entry?.file_name();
        let device = name
            .to_str()
            .and_then(|name| name.strip_suffix(".json")?.parse::<PciAddress>().ok());
        let Some(device) = device else { continue };
        match of(dir, device) {
            Ok(Some(attachment)) => {
                found.insert(device, attachment);
            }
            Ok(None) => {}
            Err(error) if is_torn(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Reads the attachment of one VF; `None` when it is not attached.
///
/// # Errors
/// When the file exists and is not an attachment: whether the VF is attached is unknown then.
pub fn of(dir: &Path, device: PciAddress) -> io::Result<Option<Attachment>> {
    let path = dir.join(format!("{device}.json"));
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let found = serde_json::from_slice(&text).or_else(|torn| {
        // A power loss can tear the file of a complete attachment; the durable file from before has this name.
        let durable = fs::read(atomic::temporary(&path)).unwrap_or_default();
        serde_json::from_slice(&durable).map_err(|_also_torn| torn)
    });
    Ok(Some(found?))
}

/// Whether a file could be read, and is not an attachment.
fn is_torn(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = r#"{"version":1,"phase":"attached","boot_id":"b","network":"n","container_id":"c","ifname":"net1","netns":{"path":"/run/netns/p","id":{"dev":4,"ino":7}},"device":"0000:01:10.0","incarnation":4711,"pf":"0000:01:00.0","vf":0,"baseline":{"settings":null,"link":null},"wanted":[],"ipam":null,"result":null}"#;

    #[test]
    fn torn_or_foreign_files_without_another_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("0000:01:10.0.json", SAVED),
            ("0000:01:10.2.json", &SAVED.replace("attached", "paused")),
            ("0000:01:10.4.json", &SAVED[..40]),
            (".0000:01:10.6.json", SAVED),
            ("0000:01:11.0.json", &SAVED[..40]),
            (
                ".0000:01:11.0.json.new",
                &SAVED.replace("attached", "prepared"),
            ),
            ("c-net1", "{}"),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        fs::create_dir(dir.path().join("pci")).unwrap();
        let found = read(dir.path()).unwrap();
        let phases: Vec<(String, Phase)> = found
            .iter()
            .map(|(device, attachment)| (device.to_string(), attachment.phase))
            .collect();
        assert_eq!(
            phases,
            [
                ("0000:01:10.0".to_owned(), Phase::Attached),
                ("0000:01:10.2".to_owned(), Phase::Other),
                ("0000:01:11.0".to_owned(), Phase::Prepared)
            ]
        );
        let of = |vf: &str| of(dir.path(), vf.parse().unwrap());
        assert_eq!(of("0000:01:10.0").unwrap(), found.values().next().cloned());
        assert_eq!(of("0000:01:10.1").unwrap(), None);
        assert!(of("0000:01:10.4").is_err());
        let first = found.values().next().unwrap();
        assert_eq!(
            (first.ifname.as_str(), first.netns.path.as_str()),
            ("net1", "/run/netns/p")
        );
    }

    #[test]
    fn missing_directory_has_no_attachment() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&dir.path().join("missing")).unwrap().is_empty());
    }
}
