//! A kernel in memory behind the real encoder and decoder, for tests of what uses [`Netlink`]; it needs no privileges.
//!
//! It has links, VFs, addresses and routes, supports the requests of [`Netlink`], and fails on demand.
//! It accepts every setting: tests with [`FakeKernel::fail_when`] and on the emulated node cover the refusals of drivers.

mod decode;
mod emit;
mod ifinfo;
mod socket;
mod state;
mod wire;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use nix::errno::Errno;

use self::socket::FakeSocket;
use self::state::State;
use super::connection::{Netlink, OpenError};
use super::devices::Devices;
use super::routes::Route;
use crate::ethtool::EthtoolSettings;
use crate::link::{Link, LinkChange, Qdisc};
use crate::netns::NetnsId;
use crate::pci::PciAddress;
use crate::vf::{VfChange, VfIndex, VfSettings};

/// One network namespace of a kernel in memory; clones are the same namespace.
#[derive(Clone, Default)]
pub struct FakeKernel(pub(super) Arc<Mutex<State>>);

/// A request, as the kernel decoded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// One link by its index.
    ReadLink(u32),
    /// One link by its name.
    ReadLinkNamed(String),
    /// One link and its VFs.
    ReadVfs(u32),
    /// All links.
    ListLinks,
    /// A change of nothing.
    Probe(u32),
    /// One setting of one VF.
    SetVf {
        /// The PF's link.
        pf: u32,
        /// The VF.
        vf: VfIndex,
        /// The setting.
        change: VfChange,
    },
    /// One change of one link.
    SetLink {
        /// The link.
        link: u32,
        /// The change.
        change: LinkChange,
    },
    /// A move to another namespace, with a name there.
    MoveLink {
        /// The link.
        link: u32,
        /// The namespace.
        target: NetnsId,
        /// The name there.
        name: String,
    },
    /// All addresses.
    ListAddresses,
    /// A new address.
    AddAddress {
        /// The link.
        link: u32,
        /// The address.
        address: IpNet,
    },
    /// An ARP request for an address.
    Resolve {
        /// The link.
        link: u32,
        /// The address.
        address: IpAddr,
    },
    /// All neighbours.
    ListNeighbours,
    /// All queue disciplines.
    ListQdiscs,
    /// All routes.
    ListRoutes,
    /// A new route.
    AddRoute {
        /// The link.
        link: u32,
        /// The route, with its table and scope.
        route: Route,
    },
}

/// A failure of a request, which then has no effect, except for a cut answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The kernel refuses the request.
    Refuse {
        /// The error.
        errno: Errno,
        /// The text for it, sent as an extended acknowledgement.
        text: Option<String>,
    },
    /// There is no answer.
    Silence,
    /// The first datagram of the answer is cut to this many bytes.
    Cut(usize),
    /// A list ends early, marked as one that changed while it was written.
    Interrupt,
    /// A list ends early, with this error in its end mark.
    Unfinished(Errno),
}

impl Failure {
    /// A refusal without text, as from igb.
    pub fn errno(errno: Errno) -> Self {
        Self::Refuse { errno, text: None }
    }
}

impl FakeKernel {
    /// Adds a link; with a GUID instead of a MAC address it is an InfiniBand link.
    pub fn add_link(&self, link: Link) {
        self.state().add_link(link);
    }

    /// Removes a link, as when its driver is unbound.
    pub fn remove_link(&self, index: u32) {
        self.state().links.remove(&index);
    }

    /// Adds an attribute (`IFLA_*`) to each message about a link: any bytes, as a newer kernel or a hostile pod might write.
    pub fn add_attribute(&self, index: u32, kind: u16, value: &[u8]) {
        if let Some(held) = self.state().links.get_mut(&index) {
            held.attributes.push((kind, value.to_vec()));
        }
    }

    /// Changes what the kernel reports as the device behind a link: in the message about it, and to ethtool.
    ///
    /// Before Linux 5.14 the message has none, and that of a virtio device is `virtioN`.
    pub fn set_parent(&self, index: u32, parent: Option<&str>, bus_info: Option<&str>) {
        if let Some(held) = self.state().links.get_mut(&index) {
            held.parent = parent.map(str::to_owned);
            held.bus_info = bus_info.map(str::to_owned);
        }
    }

    /// Sets what ethtool reports of a link.
    pub fn set_ethtool(&self, index: u32, settings: EthtoolSettings) {
        if let Some(held) = self.state().links.get_mut(&index) {
            held.ethtool = settings;
        }
    }

    /// Sets whether something is stacked on a link, in whatever namespace; `None` for a kernel that cannot report it.
    pub fn set_uppers(&self, index: u32, has_uppers: Option<bool>) {
        if let Some(held) = self.state().links.get_mut(&index) {
            held.has_uppers = has_uppers;
        }
    }

    /// Sets whether a link is up, and whether its driver reports a link.
    pub fn set_state(&self, index: u32, is_up: bool, has_carrier: bool) {
        if let Some(held) = self.state().links.get_mut(&index) {
            held.link.is_up = is_up;
            held.link.has_carrier = has_carrier;
        }
    }

    /// Attaches a program of tcx to a link.
    pub fn add_program(&self, index: u32) {
        if let Some(held) = self.state().links.get_mut(&index) {
            held.has_programs = true;
        }
    }

    /// Gives a link a neighbour.
    pub fn add_neighbour(&self, index: u32, address: IpAddr) {
        if let Some(held) = self.state().links.get_mut(&index) {
            held.neighbours.push(address);
        }
    }

    /// Gives a link a queue discipline.
    pub fn add_qdisc(&self, index: u32, qdisc: Qdisc) {
        if let Some(held) = self.state().links.get_mut(&index) {
            held.qdiscs.push(qdisc);
        }
    }

    /// Gives a link a VF with these settings; a setting that is `None` is not reported until it is set.
    pub fn add_vf(&self, pf: u32, vf: VfIndex, settings: VfSettings) {
        if let Some(pf) = self.state().links.get_mut(&pf) {
            pf.vfs.insert(vf, settings);
        }
    }

    /// Makes a PF accept the setting of this name ([`VfChange::setting`]) without reporting it, as most drivers do with GUIDs.
    pub fn hide(&self, pf: u32, setting: &'static str) {
        if let Some(pf) = self.state().links.get_mut(&pf) {
            pf.hidden.push(setting);
        }
    }

    /// Makes a PF accept the setting of this name without effect, as a driver does that cannot reach its VF.
    pub fn freeze(&self, pf: u32, setting: &'static str) {
        if let Some(pf) = self.state().links.get_mut(&pf) {
            pf.frozen.push(setting);
        }
    }

    /// Makes `id` the namespace `kernel`, as the target of a move.
    pub fn add_namespace(&self, id: NetnsId, kernel: &Self) {
        self.state().namespaces.push((id, kernel.clone()));
    }

    /// Makes requests fail for which `holds` returns true; its arguments are the number of the request, from 0, and the request.
    pub fn fail_when(
        &self,
        holds: impl FnMut(usize, &Request) -> bool + Send + 'static,
        failure: Failure,
    ) {
        self.state().failures.push((Box::new(holds), failure));
    }

    /// Sets the number of the namespace.
    pub fn set_cookie(&self, cookie: u64) {
        self.state().cookie = Some(cookie);
    }

    /// The link with this index.
    pub fn link(&self, index: u32) -> Option<Link> {
        self.state().links.get(&index).map(|held| held.link.clone())
    }

    /// The settings of a VF.
    pub fn vf(&self, pf: u32, vf: VfIndex) -> Option<VfSettings> {
        self.state().links.get(&pf)?.vfs.get(&vf).copied()
    }

    /// The addresses of a link.
    pub fn addresses(&self, link: u32) -> Vec<IpNet> {
        let state = self.state();
        let held = state.links.get(&link);
        held.map(|held| held.addresses.clone()).unwrap_or_default()
    }

    /// The routes over a link.
    pub fn routes(&self, link: u32) -> Vec<Route> {
        let state = self.state();
        let held = state.links.get(&link);
        held.map(|held| held.routes.clone()).unwrap_or_default()
    }

    /// All requests until now, also those that failed.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FakeKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeKernel").finish_non_exhaustive()
    }
}

impl Devices for FakeKernel {
    fn device(&self, link: u32) -> io::Result<Option<PciAddress>> {
        let state = self.state();
        let held = state.links.get(&link).ok_or(Errno::ENODEV)?;
        let name = held.bus_info.as_deref();
        Ok(name.and_then(|name| name.parse().ok()))
    }

    fn settings(&self, link: u32) -> io::Result<EthtoolSettings> {
        let state = self.state();
        let held = state.links.get(&link).ok_or(Errno::ENODEV)?;
        Ok(held.ethtool.clone())
    }

    fn has_uppers(&self, link: u32) -> io::Result<bool> {
        let state = self.state();
        let held = state.links.get(&link).ok_or(Errno::ENODEV)?;
        held.has_uppers.ok_or(Errno::EPERM.into())
    }

    fn has_programs(&self, link: u32) -> io::Result<bool> {
        let state = self.state();
        let held = state.links.get(&link).ok_or(Errno::ENODEV)?;
        Ok(held.has_programs)
    }

    fn netns_cookie(&self) -> Option<u64> {
        self.state().cookie
    }
}

impl Netlink {
    /// Connects to a kernel in memory instead of the real one, with the same encoder, decoder and deadline.
    pub fn fake(kernel: &FakeKernel, deadline: Duration) -> Result<Self, OpenError> {
        let socket = FakeSocket::open(kernel.clone()).map_err(OpenError::Socket)?;
        Ok(Self::over(socket, Box::new(kernel.clone()), deadline))
    }
}
