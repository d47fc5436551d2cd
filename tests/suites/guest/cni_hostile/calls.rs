//! What iproute2 cannot do: an XDP program without an object file, a BPF link, and offloads.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use sriov_host::ethtool::Ethtool;
use sriov_host::netns::Netns;

// enum bpf_cmd, include/uapi/linux/bpf.h
const PROG_LOAD: u32 = 5;
const OBJ_PIN: u32 = 6;
const LINK_CREATE: u32 = 28;

/// Numbers and addresses at their offsets in `union bpf_attr`.
fn bpf(
    command: u32,
    numbers: &[(usize, u32)],
    addresses: &[(usize, &[u8])],
) -> io::Result<OwnedFd> {
    let mut attributes = [0_u8; 128];
    for (at, number) in numbers {
        attributes[*at..at + 4].copy_from_slice(&number.to_ne_bytes());
    }
    for (at, bytes) in addresses {
        let address = u64::try_from(bytes.as_ptr().expose_provenance()).unwrap();
        attributes[*at..at + 8].copy_from_slice(&address.to_ne_bytes());
    }
    // SAFETY: the kernel reads the attributes, whose size is passed, and the slices whose addresses are in them.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_mut_ptr(),
            attributes.len(),
        )
    };
    let descriptor = Errno::result(done)?;
    if command == OBJ_PIN {
        return Ok(std::fs::File::open("/dev/null")?.into());
    }
    // SAFETY: the kernel has just opened the descriptor for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor.try_into().unwrap()) })
}

// enum bpf_prog_type
const SCHED_CLS: u32 = 3;
const XDP: u32 = 6;
const RAW_TRACEPOINT: u32 = 17;

/// A program that drops each frame: its result is `TC_ACT_SHOT` or `XDP_DROP`.
fn load(kind: u32) -> io::Result<OwnedFd> {
    load_with(kind, if kind == XDP { 1 } else { 2 })
}

/// A program with this result.
fn load_with(kind: u32, result: u8) -> io::Result<OwnedFd> {
    let instructions = [0xb7, 0, 0, 0, result, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    bpf(
        PROG_LOAD,
        &[(0, kind), (4, 2)],
        &[(8, &instructions), (16, b"GPL\0")],
    )
}

/// A file by which iproute2 finds the program.
pub(super) fn pinned_xdp() -> &'static str {
    const DIR: &str = "/tmp/hostile-bpf";
    const FILE: &str = "/tmp/hostile-bpf/drop";
    if !Path::new(FILE).exists() {
        std::fs::create_dir_all(DIR).unwrap();
        let mounted = Command::new("/bin/mount")
            .args(["-t", "bpf", "bpf", DIR])
            .status();
        assert!(mounted.unwrap().success());
        pin(&load(XDP).unwrap(), Path::new(FILE));
    }
    FILE
}

fn pin(program: &OwnedFd, file: &Path) {
    let number = program.as_raw_fd().cast_unsigned();
    let path = format!("{}\0", file.display());
    bpf(OBJ_PIN, &[(8, number)], &[(0, path.as_bytes())]).unwrap();
}

/// Replaces the program that looks for upper devices with one that always has this result.
pub(super) fn forge(file: &Path, result: u8) {
    std::fs::remove_file(file).unwrap();
    pin(&load_with(RAW_TRACEPOINT, result).unwrap(), file);
}

/// Attaches an XDP program with a BPF link.
pub(super) fn link_xdp(netns: &str, name: &OsStr) -> io::Result<OwnedFd> {
    const ATTACH_XDP: u32 = 37;
    const SKB_MODE: u32 = 1 << 1;
    link(netns, name, XDP, &[(8, ATTACH_XDP), (12, SKB_MODE)])
}

/// Attaches a program behind the device, without a queue discipline (Linux 6.6).
pub(super) fn link_tcx(netns: &str, name: &OsStr) -> io::Result<OwnedFd> {
    const ATTACH_TCX_INGRESS: u32 = 46;
    link(netns, name, SCHED_CLS, &[(8, ATTACH_TCX_INGRESS)])
}

fn link(netns: &str, name: &OsStr, kind: u32, how: &[(usize, u32)]) -> io::Result<OwnedFd> {
    let program = load(kind)?;
    in_netns(netns, || {
        let index = nix::net::if_::if_nametoindex(name.as_bytes())?;
        let number = program.as_raw_fd().cast_unsigned();
        bpf(
            LINK_CREATE,
            &[&[(0, number), (4, index)], how].concat(),
            &[],
        )
    })
}

/// Switches off generic segmentation and receive checksums, as `ethtool -K` does.
pub(super) fn disable_offloads(netns: &str, name: &OsStr) -> io::Result<()> {
    const SET_RX_CHECKSUM: u32 = 0x15;
    const SET_GSO: u32 = 0x24;
    in_netns(netns, || {
        let socket = Ethtool::open()?;
        for command in [SET_RX_CHECKSUM, SET_GSO] {
            let mut value = [command, 0_u32];
            // SAFETY: all zeros is a value of this plain C structure.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
                *to = from.cast_signed();
            }
            request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
            let fd = std::os::fd::AsFd::as_fd(&socket).as_raw_fd();
            // SAFETY: the kernel reads one `ifreq` and the two numbers that it points to.
            let done = unsafe { libc::ioctl(fd, libc::SIOCETHTOOL, &raw mut request) };
            Errno::result(done)?;
        }
        Ok(())
    })
}

fn in_netns<T: Send>(netns: &str, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let path = Path::new("/run/netns").join(netns);
    let netns = Netns::open(&path).map_err(io::Error::other)?;
    netns.run(work).map_err(io::Error::other)?
}
