//! Programs of tcx: BPF programs that see or drop all frames of a network device, without a queue discipline (Linux 6.6).
//!
//! They are not part of what netlink reports, and they survive a move to another namespace.

use std::io;

use nix::errno::Errno;

use crate::bpf;

// enum bpf_attach_type, include/uapi/linux/bpf.h
const INGRESS: u32 = 46;
const EGRESS: u32 = 47;

/// Whether programs are attached to a link, in the network namespace of this process.
///
/// # Errors
/// When there is no such link, or without `CAP_NET_ADMIN`.
pub fn has_programs(link: u32) -> io::Result<bool> {
    for place in [INGRESS, EGRESS] {
        match bpf::count_attached(link, place) {
            Ok(0) => {}
            Ok(_) => return Ok(true),
            // The kernel has no tcx.
            Err(error) if errno(&error) == Some(Errno::EINVAL) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_no_programs() {
        // Only root may query.
        if let Ok(found) = has_programs(1) {
            assert!(!found);
        }
    }
}
