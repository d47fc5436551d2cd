//! A device as selectors see it, before it is in a pool.

use sriov_config::resource_list::{DeviceType, Resource};
use sriov_host::VfIndex;
use sriov_host::snapshot::{HostSnapshot, LinkType, Netdev, PciFunction, SriovRole, Subfunction};

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
            has_rdma: !subfunction.rdma.is_empty()
                || is_subfunction_rdma_in_pod(snapshot, subfunction),
            ddp_profile: ddp_profile(snapshot, pf),
            aux_type: Some("sf"),
        })
    }

    /// Base class and subclass, for instance `0b40`.
    pub fn class(&self) -> String {
        format!("{:04x}", self.hardware.class.0 >> 8)
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
fn has_rdma(snapshot: &HostSnapshot, function: &PciFunction) -> bool {
    let before = function.before_pod.map(|then| then.has_rdma);
    !function.rdma.is_empty() || before.unwrap_or_else(|| is_rdma_in_pod(snapshot, function))
}

/// The same by what other VFs of the PF have; if the node shows none, the VF is like its PF if both have one driver.
fn is_rdma_in_pod(snapshot: &HostSnapshot, function: &PciFunction) -> bool {
    let Some(pf) = snapshot.pf_of(function) else {
        return false;
    };
    let SriovRole::Pf { vfs, .. } = &pf.role else {
        return false;
    };
    // Cheap conditions first: there may be thousands of VFs, and most are in pods or on vfio.
    let can_have = !pf.rdma.is_empty() || function.driver == pf.driver;
    if !can_have || !is_hidden(&function.netdevs, function.driver.as_deref()) {
        return false;
    }
    let vfs = vfs.values().filter_map(|vf| snapshot.function(*vf));
    let like = vfs.filter(|vf| vf.driver == function.driver);
    let shown = shows_rdma(like.map(|vf| (vf.netdevs.as_slice(), vf.rdma.as_slice())));
    shown.unwrap_or_else(|| function.driver == pf.driver && !pf.rdma.is_empty())
}

/// The same for a subfunction.
fn is_subfunction_rdma_in_pod(snapshot: &HostSnapshot, subfunction: &Subfunction) -> bool {
    if !is_hidden(&subfunction.netdevs, subfunction.driver.as_deref()) {
        return false;
    }
    let all = snapshot.subfunctions.values();
    let like = all.filter(|it| it.pf == subfunction.pf && it.driver == subfunction.driver);
    let shown = shows_rdma(like.map(|it| (it.netdevs.as_slice(), it.rdma.as_slice())));
    let pf_has_rdma = |pf: &PciFunction| !pf.rdma.is_empty();
    shown.unwrap_or_else(|| snapshot.function(subfunction.pf).is_some_and(pf_has_rdma))
}

/// Whether the node shows no network device of a device that has a driver for one.
fn is_hidden(netdevs: &[Netdev], driver: Option<&str>) -> bool {
    let is_userspace = |driver: &str| driver.contains("vfio") || driver.contains("uio");
    netdevs.is_empty() && driver.is_some_and(|driver| !is_userspace(driver))
}

/// Whether some device has RDMA, among those whose network device the node shows; absent if it shows none.
fn shows_rdma<'a>(devices: impl Iterator<Item = (&'a [Netdev], &'a [String])>) -> Option<bool> {
    let shown = devices.filter(|(netdevs, _)| !netdevs.is_empty());
    let mut shown = shown.map(|(_, rdma)| !rdma.is_empty());
    let first = shown.next()?;
    Some(first || shown.any(|has_rdma| has_rdma))
}
