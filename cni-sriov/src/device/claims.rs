//! Chooses a device of the pod's prepared resource claims for an attachment whose configuration has no device. Pure functions.

use std::fmt;

use sriov_config::netconf::ClaimSource;
use sriov_device_info::claims::{ClaimDevice, NetworkRef, PodClaims};
use sriov_host::{IfName, PciAddress};

/// Letters and digits that the API server appends to the name of a claim that it makes from a template
/// (`maxNameLength`, apiserver/pkg/storage/names/generate.go).
const SUFFIX: usize = 5;

/// The facts about an attachment that decide which device it gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    /// Claim and request in the configuration.
    pub(super) source: &'a ClaimSource,
    /// Name of the interface.
    pub(super) ifname: &'a IfName,
    /// Name of the network; Multus passes that of the `NetworkAttachmentDefinition` if the configuration has none, and never its namespace.
    pub(super) network: &'a str,
}

/// Why no device of the claims fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimMismatch {
    /// No device is for this attachment.
    #[error("no device of the pod's claims is for {wish}; prepared are: {devices}")]
    None {
        /// The attachment.
        wish: String,
        /// All devices.
        devices: String,
    },
    /// All devices for this attachment are attached.
    #[error("each device of the pod's claims that is for {wish} is attached already: {devices}")]
    Attached {
        /// The attachment.
        wish: String,
        /// The devices.
        devices: String,
    },
    /// Devices of several requests could be meant.
    #[error(
        "several requests of the pod's claims could be meant for {wish}: {devices}; name one by the key `request`, in the network configuration or in `cni-args` of the pod's annotation"
    )]
    Ambiguous {
        /// The attachment.
        wish: String,
        /// The devices.
        devices: String,
    },
    /// The named device is one of the pod's claims, for another attachment.
    #[error(
        "the configuration names the device `{named}`, the pod's claims have {devices} for {wish}"
    )]
    Disagrees {
        /// The device.
        named: PciAddress,
        /// The attachment.
        wish: String,
        /// The devices for it.
        devices: String,
    },
}

impl Wish<'_> {
    /// The device for this attachment: by claim and request, else by interface name, else by network, else the only free one.
    ///
    /// Devices of one request are interchangeable, and the first free one is taken.
    pub(super) fn pick(
        self,
        claims: &PodClaims,
        is_free: impl Fn(PciAddress) -> bool,
    ) -> Result<&ClaimDevice, ClaimMismatch> {
        let meant = self.meant(claims);
        if meant.is_empty() {
            return Err(ClaimMismatch::None {
                wish: self.to_string(),
                devices: list(&claims.devices.iter().collect::<Vec<_>>()),
            });
        }
        let free = meant.iter().copied();
        let free: Vec<&ClaimDevice> = free.filter(|device| is_free(device.pci_address)).collect();
        let Some(first) = free.first().copied() else {
            return Err(ClaimMismatch::Attached {
                wish: self.to_string(),
                devices: list(&meant),
            });
        };
        if free.iter().any(|other| !is_same_request(first, other)) {
            return Err(ClaimMismatch::Ambiguous {
                wish: self.to_string(),
                devices: list(&free),
            });
        }
        Ok(first)
    }

    /// The entry of a device that somebody else has chosen; `None` if it is not of the pod's claims, and no claim is for this attachment.
    pub(super) fn confirm(
        self,
        claims: &PodClaims,
        named: PciAddress,
    ) -> Result<Option<&ClaimDevice>, ClaimMismatch> {
        let meant = self.meant(claims);
        let entry = meant
            .iter()
            .copied()
            .find(|device| device.pci_address == named);
        let is_listed = claims
            .devices
            .iter()
            .any(|device| device.pci_address == named);
        let is_wished = meant.iter().any(|device| self.is_wished(device));
        if entry.is_none() && (is_listed || is_wished) {
            return Err(ClaimMismatch::Disagrees {
                named,
                wish: self.to_string(),
                devices: list(&meant),
            });
        }
        Ok(entry)
    }

    /// The devices that may be for this attachment, in their order.
    fn meant(self, claims: &PodClaims) -> Vec<&ClaimDevice> {
        let named: Vec<&ClaimDevice> = claims
            .devices
            .iter()
            .filter(|device| self.is_named(claims, device))
            .collect();
        let is_for_interface = |device: &ClaimDevice| device.ifname.as_ref() == Some(self.ifname);
        if named.iter().any(|device| is_for_interface(device)) {
            return named
                .into_iter()
                .filter(|device| is_for_interface(device))
                .collect();
        }
        let is_explicit = *self.source != ClaimSource::default();
        let others = named
            .into_iter()
            .filter(|device| device.ifname.is_none() || is_explicit);
        let others: Vec<&ClaimDevice> = others.collect();
        let is_for_network = |device: &ClaimDevice| {
            device
                .network
                .as_ref()
                .is_some_and(|network| network.name == self.network)
        };
        if others.iter().any(|device| is_for_network(device)) {
            return others
                .into_iter()
                .filter(|device| is_for_network(device))
                .collect();
        }
        let unbound = others
            .into_iter()
            .filter(|device| device.network.is_none() || is_explicit);
        unbound.collect()
    }

    /// Whether the configuration names this device's claim and request, or neither.
    fn is_named(self, claims: &PodClaims, device: &ClaimDevice) -> bool {
        let ClaimSource { claim, request } = self.source;
        let is_claim = |wanted: &String| {
            let name = &device.claim.name;
            name == wanted || is_generated(name, &claims.pod.name, wanted)
        };
        claim.as_ref().is_none_or(is_claim)
            && request
                .as_ref()
                .is_none_or(|request| *request == device.request)
    }

    /// Whether the device's claim wishes it for this attachment, or the configuration names it.
    fn is_wished(self, device: &ClaimDevice) -> bool {
        *self.source != ClaimSource::default()
            || device.ifname.is_some()
            || device.network.is_some()
    }
}

impl fmt::Display for Wish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClaimSource { claim, request } = self.source;
        for (key, name) in [("claim", claim), ("request", request)] {
            if let Some(name) = name {
                write!(f, "{key} `{name}`, ")?;
            }
        }
        write!(f, "interface `{}`, network `{}`", self.ifname, self.network)
    }
}

/// Whether the API server made this name from the pod's name and the name that the pod gives the claim
/// (`handleClaim`, kubernetes/pkg/controller/resourceclaim/controller.go).
fn is_generated(name: &str, pod: &str, claim: &str) -> bool {
    let rest = name
        .strip_prefix(pod)
        .and_then(|rest| rest.strip_prefix('-'));
    let rest = rest.and_then(|rest| rest.strip_prefix(claim)?.strip_prefix('-'));
    rest.is_some_and(|rest| rest.len() == SUFFIX && !rest.contains('-'))
}

fn is_same_request(one: &ClaimDevice, other: &ClaimDevice) -> bool {
    one.claim == other.claim && one.request == other.request
}

fn list(devices: &[&ClaimDevice]) -> String {
    if devices.is_empty() {
        return "none".to_owned();
    }
    let devices = devices.iter().map(|device| {
        let ClaimDevice {
            claim,
            request,
            pci_address,
            network,
            ifname,
            ..
        } = device;
        let network = network
            .as_ref()
            .map(|NetworkRef { namespace, name }| format!(", network `{namespace}/{name}`"));
        let ifname = ifname
            .as_ref()
            .map(|ifname| format!(", interface `{ifname}`"));
        format!(
            "`{pci_address}` (claim `{}`, request `{request}`{}{})",
            claim.name,
            network.unwrap_or_default(),
            ifname.unwrap_or_default()
        )
    });
    devices.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
