//! Sends the netlink requests that the kernel needs for an attachment, and nothing else: the least time that any CNI plugin can take.
//!
//! All values are known beforehand: `guest-floor PF VF LINK STEP...` executes the steps in their order.
//! The environment is that of a CNI plugin; the step `ipam` runs the IPAM plugin `static` with it.

use std::error::Error;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

type Done<T> = Result<T, Box<dyn Error>>;

// include/uapi/linux/rtnetlink.h, if_link.h, if_addr.h, netlink.h
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const REQUEST_ACK: u16 = 1 | 4;
const CREATE_REPLACE: u16 = 0x400 | 0x100;
const ADDRESS: u16 = 1;
const IFNAME: u16 = 3;
const VFINFO_LIST: u16 = 22;
const NET_NS_FD: u16 = 28;
const VF_INFO: u16 = 1;
const VF_MAC: u16 = 1;
const VF_VLAN: u16 = 2;
const VF_SPOOFCHK: u16 = 4;
const VF_TRUST: u16 = 9;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const IFA_LOCAL: u16 = 2;

fn main() -> Done<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [pf, vf, link, steps @ ..] = words.as_slice() else {
        return Err("usage: guest-floor PF VF LINK STEP...".into());
    };
    let mut floor = Floor {
        pf: pf.parse()?,
        vf: vf.parse()?,
        link: link.parse()?,
        host: File::open("/proc/self/ns/net")?,
        in_host: open()?,
        pod: File::open(std::env::var("CNI_NETNS")?)?,
        in_pod: None,
    };
    steps.iter().try_for_each(|step| floor.execute(step))
}

/// A netlink socket in the present network namespace.
fn open() -> Done<OwnedFd> {
    let protocol = SockProtocol::NetlinkRoute;
    let flags = SockFlag::SOCK_CLOEXEC;
    let opened = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    Ok(opened)
}

struct Floor {
    /// Index of the PF.
    pf: u32,
    /// Number of the VF.
    vf: u32,
    /// Index of the VF's network device.
    link: u32,
    host: File,
    in_host: OwnedFd,
    pod: File,
    in_pod: Option<OwnedFd>,
}

impl Floor {
    fn execute(&mut self, step: &str) -> Done<()> {
        let (what, value) = step.split_once('=').unwrap_or((step, ""));
        let number = |number: u32| number.to_ne_bytes().to_vec();
        let link = self.link;
        match what {
            "vlan" => self.set_vf(VF_VLAN, &[number(value.parse()?), number(0)].concat()),
            "spoofchk" => self.set_vf(VF_SPOOFCHK, &number(value.parse()?)),
            "trust" => self.set_vf(VF_TRUST, &number(value.parse()?)),
            // The kernel's structure has 32 bytes for the address.
            "vf-mac" => self.set_vf(VF_MAC, &[mac(value)?, vec![0; 26]].concat()),
            "in" => {
                let pod = self.pod.as_raw_fd().to_ne_bytes();
                let name = std::env::var("CNI_IFNAME")?;
                let parts = [part(NET_NS_FD, &pod), part(IFNAME, &text(&name))].concat();
                set_link(&self.in_host, link, 0, &parts)
            }
            "out" => {
                let host = self.host.as_raw_fd().to_ne_bytes();
                let parts = [part(NET_NS_FD, &host), part(IFNAME, &text(value))].concat();
                set_link(self.enter()?, link, 0, &parts)
            }
            "mac" => set_link(&self.in_host, link, 0, &part(ADDRESS, &mac(value)?)),
            "pod-mac" => set_link(self.enter()?, link, 0, &part(ADDRESS, &mac(value)?)),
            "up" => set_link(self.enter()?, link, IFF_UP, &[]),
            "address" => add_address(self.enter()?, link, value),
            "ipam" => ipam(value),
            _ => Err(format!("unknown step `{step}`").into()),
        }
    }

    /// One setting of the VF at its PF; each begins with the number of the VF.
    fn set_vf(&self, kind: u16, value: &[u8]) -> Done<()> {
        let setting = part(kind, &[&self.vf.to_ne_bytes(), value].concat());
        let list = part(VFINFO_LIST, &part(VF_INFO, &setting));
        set_link(&self.in_host, self.pf, 0, &list)
    }

    /// A socket in the pod's network namespace.
    fn enter(&mut self) -> Done<&OwnedFd> {
        if self.in_pod.is_none() {
            setns(&self.pod, CloneFlags::CLONE_NEWNET)?;
            self.in_pod = Some(open()?);
        }
        self.in_pod.as_ref().ok_or("no socket".into())
    }
}

fn set_link(socket: &OwnedFd, index: u32, flags: u32, parts: &[u8]) -> Done<()> {
    let numbers = [0, index, flags, flags].map(u32::to_ne_bytes).concat();
    request(socket, RTM_SETLINK, 0, &[&numbers, parts].concat())
}

fn add_address(socket: &OwnedFd, index: u32, address: &str) -> Done<()> {
    let (address, length) = address.split_once('/').ok_or("no prefix length")?;
    let address: std::net::Ipv4Addr = address.parse()?;
    let head = [AF_INET, length.parse()?, 0, 0];
    let parts = part(IFA_LOCAL, &address.octets());
    let body = [&head, &index.to_ne_bytes(), parts.as_slice()].concat();
    request(socket, RTM_NEWADDR, CREATE_REPLACE, &body)
}

/// Sends one request and waits for its acknowledgement.
fn request(socket: &OwnedFd, kind: u16, flags: u16, body: &[u8]) -> Done<()> {
    const HEADER: usize = 16;
    let length = u32::try_from(HEADER + body.len())?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((REQUEST_ACK | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &message, &kernel, MsgFlags::empty())?;
    let mut answer = [0; 4096];
    recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let error = answer.get(HEADER..HEADER + 4).unwrap_or_default();
    match i32::from_ne_bytes(error.try_into()?) {
        0 => Ok(()),
        error => Err(std::io::Error::from_raw_os_error(-error).into()),
    }
}

/// An attribute with its header, aligned.
fn part(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or_default();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

fn mac(text: &str) -> Done<Vec<u8>> {
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16));
    Ok(bytes.collect::<Result<_, _>>()?)
}

/// Runs the IPAM plugin with this program's environment and streams.
fn ipam(program: &str) -> Done<()> {
    let status = Command::new(program).status()?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| format!("{program}: {status}").into())
}
