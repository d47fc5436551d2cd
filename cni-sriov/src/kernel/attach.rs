//! Executes the plan of an attachment: each step names what it changes.

use std::time::Instant;

use nix::errno::Errno;
use sriov_host::netlink::{Link, LinkChange, Netlink};
use sriov_host::netns::Netns;
use sriov_host::vf::VfChange;
use sriov_host::{HostRoot, IfName, MacAddr};

use super::error::KernelError;
use super::pod::Pod;
use super::rebind::restart_netdev;
use super::target::{SETTLE, SETTLE_STEP, Target};
use crate::plan::{AttachPlan, HostStep, PodStep};
use crate::setup::Setup;

/// A plan together with the pod that it leads to.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a call has one value of this type"
)]
pub(crate) enum Attachment {
    /// The network device moves into the pod.
    Netdev {
        /// The network device, on the host.
        link: Link,
        /// The pod.
        pod: Pod,
        /// Steps before the move.
        before: Vec<HostStep>,
        /// Steps after the move.
        after: Vec<PodStep>,
    },
    /// A driver in user space has the VF: nothing is changed in the pod's network namespace.
    Userspace {
        /// Changes of settings at the PF.
        changes: Vec<VfChange>,
        /// Number of the pod's network namespace.
        netns_cookie: Option<u64>,
    },
}

impl Attachment {
    /// Enters the pod if the plan leads there; nothing is changed.
    ///
    /// # Errors
    /// [`KernelError::NameTaken`], [`KernelError::Open`], [`KernelError::PodLinks`].
    pub(crate) async fn prepare(
        setup: &Setup,
        plan: AttachPlan,
        netns: Netns,
        ifname: &IfName,
    ) -> Result<Self, KernelError> {
        match plan {
            AttachPlan::Userspace(changes) => Ok(Self::Userspace {
                changes,
                netns_cookie: netns.cookie().ok().flatten(),
            }),
            AttachPlan::Netdev {
                link,
                before,
                after,
            } => {
                let pod = Pod::enter(setup, netns, ifname, &link).await?;
                Ok(Self::Netdev {
                    link,
                    pod,
                    before,
                    after,
                })
            }
        }
    }

    /// Number of the pod's network namespace; `None` before Linux 5.14.
    pub(crate) fn netns_cookie(&self) -> Option<u64> {
        match self {
            Self::Netdev { pod, .. } => pod.netlink.netns_cookie(),
            Self::Userspace { netns_cookie, .. } => *netns_cookie,
        }
    }

    /// The pod, if the network device moves there.
    pub(crate) fn pod(&self) -> Option<&Pod> {
        match self {
            Self::Netdev { pod, .. } => Some(pod),
            Self::Userspace { .. } => None,
        }
    }
}

/// Executes the steps but the last; the network device, if there is one, is then in the pod under its name, and down. Returns its index there.
///
/// # Errors
/// The first step that failed; the steps before it took effect.
pub(crate) async fn attach(
    target: &Target,
    root: &HostRoot,
    host: &Netlink,
    attachment: &Attachment,
    ifname: &IfName,
) -> Result<Option<u32>, KernelError> {
    match attachment {
        Attachment::Userspace { changes, .. } => {
            for change in changes {
                log_step(target, &HostStep::Vf(*change));
                target.set(host, change).await?;
            }
            Ok(None)
        }
        Attachment::Netdev {
            link,
            pod,
            before,
            after,
        } => {
            let mut link = link.clone();
            for step in before {
                log_step(target, step);
                match step {
                    HostStep::Vf(change) => target.set(host, change).await?,
                    HostStep::Rebind => link = restart_netdev(target, root, host).await?,
                }
            }
            log_step(target, &"move the network device into the pod");
            let index = move_in(target, host, &link, pod, ifname).await?;
            for step in after {
                log_step(target, step);
                apply_in_pod(target, host, pod, index, step).await?;
            }
            Ok(Some(index))
        }
    }
}

/// Executes the last step: sets the network device up, and returns it.
///
/// # Errors
/// When the driver refuses to open the device, or the device does not keep its address.
pub(crate) async fn set_up(
    target: &Target,
    attachment: &Attachment,
    index: Option<u32>,
    ifname: &IfName,
) -> Result<Option<Link>, KernelError> {
    let (Attachment::Netdev { pod, after, .. }, Some(index)) = (attachment, index) else {
        return Ok(None);
    };
    log_step(target, &"set the network device up");
    pod.write_sysctls(&notifying(ifname))?;
    change(target, &pod.netlink, index, &LinkChange::Up).await?;
    let link = settled(target, pod, index, wanted_mac(after)).await?;
    Ok(Some(link))
}

fn log_step(target: &Target, step: &dyn std::fmt::Display) {
    tracing::debug!(device = %target.device, %step, "attaching");
}

async fn apply_in_pod(
    target: &Target,
    host: &Netlink,
    pod: &Pod,
    index: u32,
    step: &PodStep,
) -> Result<(), KernelError> {
    match step {
        PodStep::Vf(change) => target.set(host, change).await,
        PodStep::Mac(mac) => change_mac(target, &pod.netlink, index, *mac).await,
        PodStep::Mtu(mtu) => change(target, &pod.netlink, index, &LinkChange::Mtu(*mtu)).await,
    }
}

/// Moves the network device into the pod and returns its index there.
async fn move_in(
    target: &Target,
    host: &Netlink,
    link: &Link,
    pod: &Pod,
    ifname: &IfName,
) -> Result<u32, KernelError> {
    let failed = |source| target.link_error(source);
    let moved = host.move_link(link.index, &pod.netns, ifname).await;
    moved.map_err(failed)?;
    if pod.free_index == Some(link.index) {
        return Ok(link.index);
    }
    // Another link of the pod has that index: the kernel chose a new one (net/core/dev.c, `__dev_change_net_namespace`).
    let found = pod.netlink.link_named(ifname).await.map_err(failed)?;
    found
        .map(|link| link.index)
        .ok_or(KernelError::NoLink(target.device))
}

/// Sets the address of the network device.
///
/// igbvf refuses an address after its PF was reset, until igbvf itself resets the VF
/// (`drivers/net/ethernet/intel/igb/igb_main.c`, `igb_rcv_msg_from_vf`): setting the device up and down does that.
async fn change_mac(
    target: &Target,
    netlink: &Netlink,
    index: u32,
    mac: MacAddr,
) -> Result<(), KernelError> {
    let set = LinkChange::Mac(mac);
    match change(target, netlink, index, &set).await {
        Err(KernelError::Link { device, source })
            if source.errno() == Some(Errno::EADDRNOTAVAIL) =>
        {
            tracing::warn!(%device, error = %source, "resetting the VF");
            for step in [LinkChange::Up, LinkChange::Down, set] {
                change(target, netlink, index, &step).await?;
            }
            Ok(())
        }
        done => done,
    }
}

async fn change(
    target: &Target,
    netlink: &Netlink,
    index: u32,
    change: &LinkChange,
) -> Result<(), KernelError> {
    let changed = netlink.set_link(index, change).await;
    changed.map_err(|source| target.link_error(source))
}

/// The network device, as soon as it has the wanted address.
async fn settled(
    target: &Target,
    pod: &Pod,
    index: u32,
    mac: Option<MacAddr>,
) -> Result<Link, KernelError> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let read = pod.netlink.link(index).await;
        let link = read
            .map_err(|source| target.link_error(source))?
            .ok_or(KernelError::NoLink(target.device))?;
        if mac.is_none() || link.mac == mac {
            return Ok(link);
        }
        if Instant::now() > deadline {
            let [wanted, found] =
                [mac, link.mac].map(|mac| mac.unwrap_or(MacAddr::ZERO).to_string());
            return Err(target.not_kept("mac", wanted, found));
        }
        tokio::time::sleep(SETTLE_STEP).await;
    }
}

fn wanted_mac(steps: &[PodStep]) -> Option<MacAddr> {
    steps.iter().find_map(|step| match step {
        PodStep::Mac(mac) => Some(*mac),
        PodStep::Vf(_) | PodStep::Mtu(_) => None,
    })
}

/// With these settings the kernel announces addresses that the link gets or keeps (Documentation/networking/ip-sysctl.rst, `arp_notify`, `ndisc_notify`).
fn notifying(ifname: &IfName) -> Vec<(String, &'static str)> {
    vec![
        (format!("net/ipv4/conf/{ifname}/arp_notify"), "1"),
        (format!("net/ipv6/conf/{ifname}/ndisc_notify"), "1"),
    ]
}

#[cfg(test)]
mod tests;
