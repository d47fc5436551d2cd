//! The content of a device-info file.

use serde::{Deserialize, Serialize};

/// Version of the specification in new files; files of older versions are read as well.
pub const VERSION: &str = "1.1.0";

/// A device of one of four types, with the key `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum DeviceInfo {
    /// A PCI function.
    Pci {
        /// Version of the specification.
        version: String,
        /// The function.
        pci: Pci,
    },
    /// A vDPA device.
    Vdpa {
        /// Version of the specification.
        version: String,
        /// The device.
        vdpa: Vdpa,
    },
    /// A vhost-user socket.
    VhostUser {
        /// Version of the specification.
        version: String,
        /// The socket.
        #[serde(rename = "vhost-user")]
        vhost_user: VhostUser,
    },
    /// A memif socket.
    Memif {
        /// Version of the specification.
        version: String,
        /// The socket.
        memif: Memif,
    },
}

/// A PCI function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pci {
    /// Its address, `dddd:bb:dd.f`.
    pub pci_address: String,
    /// `/dev/vhost-net`, if the pod is given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost_net: Option<String>,
    /// Names of its RDMA devices, joined by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdma_device: Option<String>,
    /// Address of its PF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pf_pci_address: Option<String>,
    /// Name of its representor in switchdev mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub representor_device: Option<String>,
}

/// A vDPA device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Vdpa {
    /// Name of the vDPA device.
    pub parent_device: String,
    /// `vhost` or `virtio`.
    pub driver: String,
    /// Its character device; absent for `virtio`, as with the Go plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Address of its PCI function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_address: Option<String>,
    /// Address of the PF of that function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pf_pci_address: Option<String>,
    /// Name of its representor in switchdev mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub representor_device: Option<String>,
}

/// A vhost-user socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VhostUser {
    /// `client` or `server`.
    pub mode: String,
    /// The socket.
    pub path: String,
}

/// A memif socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memif {
    /// `master` or `slave`.
    pub role: String,
    /// The socket.
    pub path: String,
    /// `ethernet`, `ip` or `punt-inject`.
    pub mode: String,
}

impl DeviceInfo {
    /// Makes the description of a PCI function, in the current version.
    pub fn pci(pci: Pci) -> Self {
        Self::Pci {
            version: VERSION.to_owned(),
            pci,
        }
    }

    /// Makes the description of a vDPA device, in the current version.
    pub fn vdpa(vdpa: Vdpa) -> Self {
        Self::Vdpa {
            version: VERSION.to_owned(),
            vdpa,
        }
    }

    /// The PCI address, if the device has one.
    pub fn pci_address(&self) -> Option<&str> {
        match self {
            Self::Pci { pci, .. } => Some(&pci.pci_address),
            Self::Vdpa { vdpa, .. } => vdpa.pci_address.as_deref(),
            Self::VhostUser { .. } | Self::Memif { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOLDEN: &[&str] = &[
        r#"{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:01:10.0","pf-pci-address":"0000:01:00.0"}}"#,
        r#"{"type":"vdpa","version":"1.1.0","vdpa":{"parent-device":"vdpa0","driver":"vhost","path":"/dev/vhost-vdpa-0","pci-address":"0000:01:10.0"}}"#,
        r#"{"type":"vdpa","version":"1.1.0","vdpa":{"parent-device":"vdpa1","driver":"virtio","pci-address":"0000:01:10.2","representor-device":"eth4"}}"#,
        r#"{"type":"vhost-user","version":"1.1.0","vhost-user":{"mode":"client","path":"/run/vhost"}}"#,
        r#"{"type":"memif","version":"1.1.0","memif":{"role":"master","path":"/run/memif","mode":"ethernet"}}"#,
    ];

    #[test]
    fn each_type_is_written_as_it_is_read() {
        for text in GOLDEN {
            let info: DeviceInfo = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&info).unwrap(), *text);
        }
    }

    #[test]
    fn older_version_and_unknown_keys_are_read() {
        let old =
            r#"{"type":"pci","version":"1.0.0","pci":{"pci-address":"0000:01:10.0","more":1}}"#;
        assert_eq!(
            serde_json::from_str::<DeviceInfo>(old)
                .unwrap()
                .pci_address(),
            Some("0000:01:10.0")
        );
        assert!(
            serde_json::from_str::<DeviceInfo>(r#"{"type":"pci","version":"1.1.0","pci":{}}"#)
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,64}") {
            let _ = serde_json::from_str::<DeviceInfo>(&text);
        }
    }
}
