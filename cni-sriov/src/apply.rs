//! Executes plans: no decision is taken here, each step names what it changes.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use sriov_host::netlink::{Announcer, Link, LinkChange, Netlink, NetlinkError};
use sriov_host::netns::{self, Netns};
use sriov_host::vf::{VfChange, VfSettings};
use sriov_host::{HostRoot, IfName, MacAddr, PciAddress, VfIndex, sysfs};

use crate::Setup;
use crate::device::{DeviceError, PfView};
use crate::failure::Failure;
use crate::plan::Step;

/// Time that a driver gets to show what it accepted: some set addresses by a message to the PF and answer first (iavf, bnxt).
const SETTLE: Duration = Duration::from_secs(2);
const SETTLE_STEP: Duration = Duration::from_millis(20);

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

/// The pod's namespace with a socket in it, and what stood there before.
#[derive(Debug)]
pub struct Pod {
    /// The namespace.
    pub netns: Netns,
    /// The socket.
    pub netlink: Netlink,
    /// Whether there is a link of the wanted name already.
    pub has_name: bool,
    /// For announcements of IPv4 addresses.
    pub announcer: std::io::Result<Announcer>,
    free_index: Option<u32>,
}

impl Pod {
    /// Goes into the namespace once, for all that is needed of it: the sockets, and whether name and index are free.
    pub fn enter(
        setup: &Setup,
        netns: Netns,
        ifname: &IfName,
        link: &Link,
    ) -> Result<Self, Failure> {
        let look = || {
            (
                netns::has_name(ifname),
                Some(link.index).filter(|index| !netns::has_index(*index)),
                Announcer::open(),
            )
        };
        let (netlink, (has_name, free_index, announcer)) =
            Netlink::in_netns_with(&netns, setup.request_deadline, look).map_err(Failure::Open)?;
        Ok(Self {
            netns,
            netlink,
            has_name,
            announcer,
            free_index,
        })
    }

    /// Writes kernel settings; one that cannot be written is no reason to refuse the pod, IPv6 may be switched off.
    pub fn write_sysctls(&self, settings: &[(String, &str)]) -> Result<(), Failure> {
        let problems = self.netns.write_sysctls(settings).map_err(Failure::Netns)?;
        for problem in problems {
            tracing::debug!("{problem}");
        }
        Ok(())
    }
}

impl Target {
    /// Executes the steps; afterwards the network device, if there is one, is in the pod under its name, and up.
    pub async fn apply(
        &self,
        steps: &[Step],
        root: &HostRoot,
        host: &Netlink,
        netdev: Option<(&Link, &Pod)>,
        ifname: &IfName,
    ) -> Result<Option<Link>, Failure> {
        let mut index = None;
        let mut netdev = netdev.map(|(link, pod)| (link.clone(), pod));
        for step in steps {
            tracing::debug!("VF {}: {step}", self.device);
            match (step, &mut netdev) {
                (Step::Vf(change), _) => self.set(host, change).await?,
                (Step::Rebind, Some((link, _))) => *link = self.rebind(root, host).await?,
                (Step::Move, Some((link, pod))) => {
                    index = Some(self.move_in(host, link, pod, ifname).await?);
                }
                (Step::LinkMac(mac), Some((_, pod))) => {
                    self.change_mac(&pod.netlink, index, *mac).await?;
                }
                (Step::LinkMtu(mtu), Some((_, pod))) => {
                    self.change(&pod.netlink, index, &LinkChange::Mtu(*mtu))
                        .await?;
                }
                (Step::LinkUp, Some((_, pod))) => {
                    pod.write_sysctls(&notifying(ifname))?;
                    self.change(&pod.netlink, index, &LinkChange::Up).await?;
                }
                (
                    Step::Rebind | Step::Move | Step::LinkMac(_) | Step::LinkMtu(_) | Step::LinkUp,
                    None,
                ) => {
                    return Err(Failure::NoLink(self.device));
                }
            }
        }
        let (Some(index), Some((_, pod))) = (index, netdev) else {
            return Ok(None);
        };
        let wanted = steps.iter().find_map(|step| {
            if let Step::LinkMac(mac) = step {
                Some(*mac)
            } else {
                None
            }
        });
        self.settled(&pod.netlink, index, wanted).await.map(Some)
    }

    /// Lets the VF's driver start again, and finds the new network device.
    async fn rebind(&self, root: &HostRoot, host: &Netlink) -> Result<Link, Failure> {
        rebind(root, self.device)?;
        let deadline = Instant::now() + SETTLE;
        loop {
            let index = sysfs::netdev_index(root, self.device).map_err(Failure::Sysfs)?;
            if let Some(index) = index {
                let link = host.link(index).await;
                let link = link.map_err(|source| self.link_failure(source))?;
                return link.ok_or(Failure::NoLink(self.device));
            }
            if Instant::now() > deadline {
                return Err(Failure::NoLink(self.device));
            }
            tokio::time::sleep(SETTLE_STEP).await;
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
    /// [`Failure::NotKept`] for the first setting that the driver still reports otherwise after some time.
    pub async fn verify(&self, host: &Netlink, wanted: &[VfChange]) -> Result<(), Failure> {
        if wanted.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + SETTLE;
        loop {
            let settings = self.settings(host).await?.unwrap_or_default();
            let other = wanted
                .iter()
                .find(|change| change.is_done(&settings) == Some(false));
            match other {
                None => return Ok(()),
                Some(_) if Instant::now() < deadline => tokio::time::sleep(SETTLE_STEP).await,
                Some(change) => {
                    let found = change.found(&settings).map(|found| found.to_string());
                    return Err(self.not_kept(
                        change.setting(),
                        change.to_string(),
                        found.unwrap_or_default(),
                    ));
                }
            }
        }
    }

    /// What the PF reports of the VF.
    pub async fn settings(&self, host: &Netlink) -> Result<Option<VfSettings>, Failure> {
        host.vf_settings(self.pf.ifindex, self.vf)
            .await
            .map_err(|source| self.link_failure(source))
    }

    /// Moves the network device into the pod and gives its index there.
    async fn move_in(
        &self,
        host: &Netlink,
        link: &Link,
        pod: &Pod,
        ifname: &IfName,
    ) -> Result<u32, Failure> {
        host.move_link(link.index, &pod.netns, ifname)
            .await
            .map_err(|source| self.link_failure(source))?;
        if pod.free_index == Some(link.index) {
            return Ok(link.index);
        }
        // Another link of the pod has that index: the kernel chose a new one (net/core/dev.c, `__dev_change_net_namespace`).
        let found = pod
            .netlink
            .link_named(ifname)
            .await
            .map_err(|source| self.link_failure(source))?;
        found
            .map(|link| link.index)
            .ok_or(Failure::NoLink(self.device))
    }

    /// The network device as it is when its address is what was asked for.
    async fn settled(
        &self,
        pod: &Netlink,
        index: u32,
        mac: Option<MacAddr>,
    ) -> Result<Link, Failure> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let link = pod
                .link(index)
                .await
                .map_err(|source| self.link_failure(source))?
                .ok_or(Failure::NoLink(self.device))?;
            if mac.is_none() || link.mac == mac {
                return Ok(link);
            }
            if Instant::now() > deadline {
                let text = |mac: Option<MacAddr>| mac.unwrap_or(MacAddr::ZERO).to_string();
                return Err(self.not_kept("mac", text(mac), text(link.mac)));
            }
            tokio::time::sleep(SETTLE_STEP).await;
        }
    }

    /// Sets the address of the network device.
    ///
    /// igbvf refuses it when its PF was reset meanwhile, and goes on doing so until it resets the VF
    /// (`drivers/net/ethernet/intel/igb/igb_main.c`, `igb_rcv_msg_from_vf`): setting the device up and down does that.
    async fn change_mac(
        &self,
        netlink: &Netlink,
        link: Option<u32>,
        mac: MacAddr,
    ) -> Result<(), Failure> {
        let change = LinkChange::Mac(mac);
        match self.change(netlink, link, &change).await {
            Err(Failure::Link { source, .. }) if source.errno() == Some(Errno::EADDRNOTAVAIL) => {
                tracing::warn!("VF {}: {}; resetting it", self.device, source);
                for change in [LinkChange::Up, LinkChange::Down, change] {
                    self.change(netlink, link, &change).await?;
                }
                Ok(())
            }
            done => done,
        }
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

    fn not_kept(&self, setting: &'static str, wanted: String, found: String) -> Failure {
        Failure::NotKept {
            setting,
            wanted,
            found,
            driver: self.pf.driver.clone(),
            pf: self.pf.address,
            vf: self.vf.get(),
        }
    }

    /// A refused change of the network device.
    pub fn link_failure(&self, source: NetlinkError) -> Failure {
        Failure::Link {
            device: self.device,
            source,
        }
    }
}

/// Lets the driver of a device start again, whatever it is.
pub fn rebind(root: &HostRoot, device: PciAddress) -> Result<(), Failure> {
    let presence = sysfs::presence(root, device).map_err(Failure::Sysfs)?;
    let driver = presence
        .and_then(|presence| presence.driver)
        .ok_or(DeviceError::NoDriver(device))?;
    sysfs::rebind(root, device, &driver).map_err(Failure::Sysfs)
}

/// The kernel then announces addresses that the link gets or keeps (Documentation/networking/ip-sysctl.rst, `arp_notify`, `ndisc_notify`).
fn notifying(ifname: &IfName) -> Vec<(String, &'static str)> {
    vec![
        (format!("net/ipv4/conf/{ifname}/arp_notify"), "1"),
        (format!("net/ipv6/conf/{ifname}/ndisc_notify"), "1"),
    ]
}

#[cfg(test)]
mod tests {
    use sriov_host::netlink::fake::{Failure as Refusal, FakeKernel, Request};

    use super::*;

    #[test]
    fn a_vf_that_its_pf_does_not_hear_is_reset_once() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (name, mac) = ("eth0", "02:00:00:00:00:01".parse().unwrap());
        for refusals in [1, 2] {
            let kernel = FakeKernel::default();
            kernel.add_link(Link {
                index: 7,
                name: name.into(),
                altnames: vec![],
                mac: None,
                guid: None,
                mtu: 1500,
                is_up: false,
                has_carrier: false,
                permanent_mac: None,
                device: None,
            });
            let mut left = refusals;
            kernel.fail_when(
                move |_, request| {
                    let is_mac = matches!(
                        request,
                        Request::SetLink {
                            change: LinkChange::Mac(_),
                            ..
                        }
                    );
                    let refuses = is_mac && left > 0;
                    left -= i32::from(refuses);
                    refuses
                },
                Refusal::errno(Errno::EADDRNOTAVAIL),
            );
            let target = Target {
                device: "0000:01:10.0".parse().unwrap(),
                pf: PfView {
                    address: "0000:01:00.0".parse().unwrap(),
                    name: "pf0".into(),
                    driver: "igb".into(),
                    ifindex: 3,
                },
                vf: VfIndex::new(0),
            };
            let changed = runtime.block_on(async {
                let netlink = Netlink::fake(&kernel, Duration::from_secs(1)).unwrap();
                target.change_mac(&netlink, Some(7), mac).await
            });
            assert_eq!(changed.is_ok(), refusals == 1, "{changed:?}");
            assert_eq!(kernel.requests().len(), 4);
        }
    }
}
