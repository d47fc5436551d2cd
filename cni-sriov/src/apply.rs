//! Executes plans: no decision is taken here, each step names what it changes.

use sriov_host::netlink::{Link, LinkChange, Netlink, NetlinkError};
use sriov_host::netns::Netns;
use sriov_host::vf::VfChange;
use sriov_host::{IfName, PciAddress, VfIndex};

use crate::Setup;
use crate::device::PfView;
use crate::failure::Failure;
use crate::plan::Step;

/// One VF at its PF.
#[derive(Clone, Debug)]
pub struct Target {
    /// The VF.
    pub device: PciAddress,
    /// Its PF.
    pub pf: PfView,
    /// Its index there.
    pub vf: VfIndex,
}

/// The pod's namespace with a socket in it.
#[derive(Debug)]
pub struct Pod {
    /// The namespace.
    pub netns: Netns,
    /// The socket.
    pub netlink: Netlink,
}

impl Pod {
    /// Opens a socket in the namespace.
    pub fn enter(setup: &Setup, netns: Netns) -> Result<Self, Failure> {
        let netlink = Netlink::in_netns(&netns, setup.request_deadline).map_err(Failure::Open)?;
        Ok(Self { netns, netlink })
    }
}

impl Target {
    /// Executes the steps; afterwards the network device, if there is one, is in the pod, down, under its name.
    pub async fn apply(
        &self,
        steps: &[Step],
        host: &Netlink,
        link: Option<&Link>,
        pod: &Pod,
        ifname: &IfName,
    ) -> Result<Option<Link>, Failure> {
        let mut in_pod: Option<Link> = None;
        for step in steps {
            tracing::info!("VF {}: {step}", self.device);
            let moved = in_pod.as_ref().map(|link| link.index);
            match (step, link) {
                (Step::Vf(change), _) => self.set(host, change).await?,
                (Step::Move, Some(link)) => {
                    in_pod = Some(self.move_in(host, link, pod, ifname).await?);
                }
                (Step::LinkMac(mac), Some(_)) => {
                    self.change(&pod.netlink, moved, &LinkChange::Mac(*mac))
                        .await?;
                }
                (Step::LinkMtu(mtu), Some(_)) => {
                    self.change(&pod.netlink, moved, &LinkChange::Mtu(*mtu))
                        .await?;
                }
                (Step::Move | Step::LinkMac(_) | Step::LinkMtu(_), None) => {
                    return Err(Failure::NoLink(self.device));
                }
            }
        }
        match in_pod {
            // What the pod has now, after all changes.
            Some(link) => pod
                .netlink
                .link(link.index)
                .await
                .map_err(|source| self.link_failure(source)),
            None => Ok(None),
        }
    }

    /// Executes one change at the PF.
    pub async fn set(&self, host: &Netlink, change: &VfChange) -> Result<(), Failure> {
        host.set_vf(self.pf.ifindex, self.vf, change)
            .await
            .map_err(|source| Failure::Setting {
                setting: change.setting(),
                driver: self.pf.driver.clone(),
                pf: self.pf.address,
                vf: self.vf.get(),
                source,
            })
    }

    /// Reads the VF back and compares it with what is wanted.
    ///
    /// # Errors
    /// [`Failure::NotKept`] for the first setting that the driver reports otherwise.
    pub async fn verify(&self, host: &Netlink, wanted: &[VfChange]) -> Result<(), Failure> {
        if wanted.is_empty() {
            return Ok(());
        }
        let settings = host
            .vf_settings(self.pf.ifindex, self.vf)
            .await
            .map_err(|source| self.link_failure(source))?;
        let Some(settings) = settings else {
            return Ok(());
        };
        match wanted
            .iter()
            .find(|change| change.is_done(&settings) == Some(false))
        {
            None => Ok(()),
            Some(change) => Err(Failure::NotKept {
                setting: change.setting(),
                driver: self.pf.driver.clone(),
                pf: self.pf.address,
                vf: self.vf.get(),
            }),
        }
    }

    /// Moves the network device into the pod; the kernel may give it another index there.
    async fn move_in(
        &self,
        host: &Netlink,
        link: &Link,
        pod: &Pod,
        ifname: &IfName,
    ) -> Result<Link, Failure> {
        host.move_link(link.index, &pod.netns, ifname)
            .await
            .map_err(|source| self.link_failure(source))?;
        let found = pod
            .netlink
            .link_named(ifname)
            .await
            .map_err(|source| self.link_failure(source))?;
        found.ok_or(Failure::NoLink(self.device))
    }

    async fn change(
        &self,
        netlink: &Netlink,
        link: Option<u32>,
        change: &LinkChange,
    ) -> Result<(), Failure> {
        let link = link.ok_or(Failure::NoLink(self.device))?;
        netlink
            .set_link(link, change)
            .await
            .map_err(|source| self.link_failure(source))
    }

    /// A refused change of the network device.
    pub fn link_failure(&self, source: NetlinkError) -> Failure {
        Failure::Link {
            device: self.device,
            source,
        }
    }
}
