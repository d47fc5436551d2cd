//! A device as selectors see it, before it is in a pool.

use sriov_config::resource_list::{DeviceType, Resource};
use sriov_host::VfIndex;
use sriov_host::snapshot::{HostSnapshot, LinkType, PciFunction, SriovRole, Subfunction};

/// A device as selectors see it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The function itself, or the PF of a subfunction, whose ids and driver count.
    pub(crate) hardware: &'a PciFunction,
    /// The PF of a VF or a subfunction, else the function itself.
    pub(crate) pf: &'a PciFunction,
    /// Whether it is a PF, with or without VFs.
    pub(crate) can_have_vfs: bool,
    /// Number among the VFs or subfunctions of its PF.
    pub(crate) number: Option<u32>,
    pub(crate) link_type: Option<LinkType>,
    pub(crate) has_rdma: bool,
    pub(crate) ddp_profile: Option<&'a str>,
    /// Kind of auxiliary device; absent for a PCI function.
    pub(crate) aux_type: Option<&'static str>,
}

impl<'a> Candidate<'a> {
    /// A PCI function.
    ///
    /// A NIC without SR-IOV can be selected by its own name, which the Go plugin does not support (docs/differences.md).
    pub fn function(snapshot: &'a HostSnapshot, function: &'a PciFunction) -> Self {
        Self {
            hardware: function,
            pf: snapshot.pf_of(function).unwrap_or(function),
            can_have_vfs: matches!(function.role, SriovRole::Pf { .. }),
            number: vf_index(function).map(|index| u32::from(index.get())),
            link_type: snapshot.link_type(function),
            has_rdma: has_rdma(snapshot, function),
            ddp_profile: ddp_profile(snapshot, function),
            aux_type: None,
        }
    }

    /// A subfunction; absent when its PF was removed.
    pub fn subfunction(snapshot: &'a HostSnapshot, subfunction: &'a Subfunction) -> Option<Self> {
        let pf = snapshot.function(subfunction.pf)?;
        let own = subfunction.netdevs.first();
        Some(Self {
            hardware: pf,
            pf,
            can_have_vfs: false,
            number: Some(subfunction.sfnum),
            link_type: own
                .map(|netdev| netdev.link_type)
                .or_else(|| snapshot.link_type(pf)),
            has_rdma: !subfunction.rdma.is_empty(),
            ddp_profile: ddp_profile(snapshot, pf),
            aux_type: Some("sf"),
        })
    }

    /// Base class and subclass, for instance `0b40`.
    pub fn class(&self) -> String {
        format!("{:04x}", self.hardware.class.0 >> 8)
    }

    /// The same device as if it were not a PF: shows which resources wait for its VFs.
    pub(crate) fn as_if_a_vf(self) -> Self {
        Self {
            can_have_vfs: false,
            ..self
        }
    }

    /// Whether it is the kind of device that the resource is for.
    pub fn is_for(&self, resource: &Resource) -> bool {
        match self.aux_type {
            Some(_) => resource.device_type == DeviceType::AuxNetDevice,
            None => is_of_class(self.hardware, resource),
        }
    }
}

/// Whether the class of a function is one that the resource is for: its `pciClasses`, or else base class 02 (network) or 12 (processing
/// accelerator) of the PCI Code and ID Assignment Specification.
pub fn is_of_class(function: &PciFunction, resource: &Resource) -> bool {
    let base_class = match resource.device_type {
        DeviceType::NetDevice => 0x02,
        DeviceType::Accelerator => 0x12,
        // Subfunctions are not PCI functions.
        DeviceType::AuxNetDevice => return false,
    };
    if resource.pci_classes.is_empty() {
        return function.class.base() == base_class;
    }
    let class = function.class.to_string();
    let mut classes = resource.pci_classes.iter();
    classes.any(|prefix| class.starts_with(prefix))
}

/// Index of a VF at its PF.
pub(crate) fn vf_index(function: &PciFunction) -> Option<VfIndex> {
    match &function.role {
        SriovRole::Vf { index, .. } => *index,
        SriovRole::Pf { .. } | SriovRole::None => None,
    }
}

/// The profile of a function, or of its PF, whose hardware a VF shares.
fn ddp_profile<'a>(snapshot: &'a HostSnapshot, function: &PciFunction) -> Option<&'a str> {
    let profile_of = |address| snapshot.ddp_profiles.get(address);
    let own = profile_of(&function.address);
    let profile = own.or_else(|| profile_of(&snapshot.pf_of(function)?.address));
    profile.map(String::as_str)
}

/// Whether a function has RDMA, also while its RDMA device is in a pod, as in the kernel's exclusive mode (rdma-system(8)): then the node shows
/// neither that device nor the network device.
///
/// Without an earlier scan, a VF in a pod is taken to have what its PF has, if both have one driver.
fn has_rdma(snapshot: &HostSnapshot, function: &PciFunction) -> bool {
    if !function.rdma.is_empty() {
        return true;
    }
    if let Some(then) = function.before_pod {
        return then.has_rdma;
    }
    snapshot.pf_of(function).is_some_and(|pf| {
        function.netdevs.is_empty() && function.driver == pf.driver && !pf.rdma.is_empty()
    })
}
