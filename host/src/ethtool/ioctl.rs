//! The two system calls: the name of a link by its index, and one ethtool request by that name.

use std::ffi::c_char;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

/// A name as the kernel keeps it, any bytes with zeros behind them.
pub(super) type Name = [c_char; libc::IFNAMSIZ];

/// Name of the link with this index, in the namespace of the socket.
pub(super) fn name(socket: BorrowedFd<'_>, link: u32) -> Result<Name, Errno> {
    // SAFETY: all zeros is a value of this plain C structure.
    #[expect(unsafe_code, reason = "libc has no constructor for it")]
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_ifru.ifru_ifindex = i32::try_from(link).map_err(|_too_large| Errno::ENODEV)?;
    call(socket, libc::SIOCGIFNAME, &mut request)?;
    Ok(request.ifr_name)
}

/// Sends an ethtool request; `buffer` begins with the command and is as long as the structure of this command, or longer.
pub(super) fn ethtool(socket: BorrowedFd<'_>, name: Name, buffer: &mut [u32]) -> Result<(), Errno> {
    // SAFETY: all zeros is a value of this plain C structure.
    #[expect(unsafe_code, reason = "libc has no constructor for it")]
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name = name;
    request.ifr_ifru.ifru_data = buffer.as_mut_ptr().cast();
    call(socket, libc::SIOCETHTOOL, &mut request)
}

fn call(
    socket: BorrowedFd<'_>,
    request: libc::Ioctl,
    argument: &mut libc::ifreq,
) -> Result<(), Errno> {
    let argument = std::ptr::from_mut(argument);
    #[expect(unsafe_code, reason = "nix has no such request")]
    // SAFETY: the descriptor is open, and the kernel reads and writes one `ifreq`, which is the caller's alone.
    // For SIOCETHTOOL it also writes to `ifru_data`, which points to a buffer that the caller holds exclusively
    // and that is as long as the structure of its command (`dev_ethtool`, net/ethtool/ioctl.c).
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), request, argument) };
    Errno::result(done).map(drop)
}
