//! The format: the keys of a machine file for functions, network devices and RDMA, in the words of sysfs, `lspci -nn` and `ip link`.
//!
//! Texts stay texts: `check` applies the rules to all of them at once.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Machine {
    /// Release of its kernel, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kernel: Option<String>,
    /// Its PCI functions by address.
    #[serde(deserialize_with = "unique")]
    pub(super) functions: BTreeMap<String, Function>,
    /// Network devices that belong to no PCI function, for instance bonds and bridges.
    #[serde(
        deserialize_with = "unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub(super) interfaces: BTreeMap<String, Link>,
}

/// A PCI function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Function {
    /// Vendor and device id, as in `lspci -n`: `15b3:101d`.
    pub(super) id: String,
    /// Class code of four or six digits; absent for an Ethernet controller, `0200`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) driver: Option<String>,
    /// Absent if the kernel reports -1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) numa_node: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) iommu_group: Option<u32>,
    /// Whether the group is one that vfio made without an IOMMU.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) noiommu: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) acpi_index: Option<String>,
    /// Name of the DDP package that it runs, from `devlink dev info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ddp_profile: Option<String>,
    /// The PF, of a VF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) physfn: Option<String>,
    /// Present for a PF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sriov_totalvfs: Option<u16>,
    /// Absent if it is the number of links `virtfnN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sriov_numvfs: Option<u16>,
    /// The links `virtfnN`; absent if they point to the VFs in the order of their addresses.
    #[serde(
        deserialize_with = "unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub(super) virtfn: BTreeMap<u16, String>,
    /// Name of its virtio device, which then has the network devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) virtio: Option<String>,
    /// Its network devices by name.
    #[serde(
        deserialize_with = "unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub(super) net: BTreeMap<String, Link>,
    /// The ports of its RDMA devices, from port 1, by the device's name.
    #[serde(
        deserialize_with = "unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub(super) rdma: BTreeMap<String, Vec<Port>>,
    /// The drivers of its vDPA devices, by the device's name.
    #[serde(
        deserialize_with = "unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub(super) vdpa: BTreeMap<String, Option<String>>,
    /// Its subfunctions, by the name of the auxiliary device.
    #[serde(
        deserialize_with = "unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub(super) subfunctions: BTreeMap<String, Subfunction>,
    /// Attributes with texts that no other key can express, by their path below the function.
    #[serde(
        deserialize_with = "unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub(super) files: BTreeMap<String, String>,
}

/// A subfunction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Subfunction {
    pub(super) sfnum: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) driver: Option<String>,
    #[serde(
        deserialize_with = "unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub(super) net: BTreeMap<String, Link>,
    #[serde(
        deserialize_with = "unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub(super) rdma: BTreeMap<String, Vec<Port>>,
}

/// A network device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Link {
    /// `infiniband` or the number in sysfs; absent for Ethernet.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) state: State,
    /// Hardware address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) dev_port: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) phys_switch_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) phys_port_name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) altnames: Vec<String>,
    /// The device that it is a port of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) master: Option<String>,
    /// Devices on top of it that are not its master, for instance VLANs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) upper: Vec<String>,
    /// A macvlan or ipvlan device on top of it, which shares its traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shared_by: Option<String>,
    /// The driver of a device outside of the PCI bus, for instance `hv_netvsc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) driver: Option<String>,
    /// Whether it carries a default route, of any table and family.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) default_route: bool,
    /// Whether it has an address that is valid beyond its link.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) node_address: bool,
}

/// State of a network device, as in `ip link`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// Up, with carrier.
    #[default]
    Up,
    /// Up, without carrier.
    NoCarrier,
    /// Administratively down.
    Down,
}

/// A port of an RDMA device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Port {
    /// Absent for Ethernet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) link_layer: Option<String>,
    /// The word in sysfs; absent for `ACTIVE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<String>,
    /// The table of partition keys, without the zeros at its end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) pkeys: Vec<String>,
}

impl Machine {
    /// The machine file.
    pub fn to_text(&self) -> String {
        // Maps with texts as keys and plain structures can always be written.
        serde_yaml_ng::to_string(self).unwrap_or_default()
    }

    /// All network devices with their names.
    pub(super) fn links(&self) -> impl Iterator<Item = (&String, &Link)> {
        let functions = self.functions.values();
        let net = functions.flat_map(|function| {
            let subfunctions = function.subfunctions.values();
            let net = subfunctions.flat_map(|subfunction| &subfunction.net);
            function.net.iter().chain(net)
        });
        net.chain(&self.interfaces)
    }

    /// Writes each value in one way: a default is absent.
    pub(super) fn normalise(&mut self) {
        for function in self.functions.values_mut() {
            let class = function.class.take().map(|class| {
                let short = class.strip_suffix("00").filter(|short| short.len() == 4);
                short.unwrap_or(&class).to_owned()
            });
            function.class = class.filter(|class| class != "0200");
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads a map and refuses a key that occurs twice, which would hide a device.
fn unique<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord + fmt::Display,
    V: Deserialize<'de>,
{
    struct Unique<K, V>(PhantomData<(K, V)>);
    impl<'de, K, V> Visitor<'de> for Unique<K, V>
    where
        K: Deserialize<'de> + Ord + fmt::Display,
        V: Deserialize<'de>,
    {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = access.next_entry()? {
                if map.contains_key(&key) {
                    return Err(A::Error::custom(format!("the key `{key}` occurs twice")));
                }
                map.insert(key, value);
            }
            Ok(map)
        }
    }
    deserializer.deserialize_map(Unique(PhantomData))
}
