//! Whether anything is stacked on a network device: VLAN devices, macvlans, bonds and the like, in whatever namespace they are.
//!
//! sysfs and netlink show only the upper devices of the same namespace, and nobody can list all namespaces.
//! The kernel keeps one list of upper devices for each network device (`adj_list.upper`, `include/linux/netdevice.h`).
//! A small BPF program walks from this process to the device and compares the head of that list with itself; it runs once and changes nothing.
//! The kernel itself corrects the offsets of the fields (`core_relos`, Linux 5.17), from its own description of its types (BTF).

mod pinned;
mod program;

use std::io;

use crate::bpf;

/// Whether anything is stacked on the link with this index, in the network namespace of this process.
///
/// # Errors
/// When the kernel cannot say it: before Linux 5.17, without `CONFIG_DEBUG_INFO_BTF`, in lockdown mode "confidentiality",
/// without `CAP_BPF` and `CAP_PERFMON`, or because there is no such link.
pub fn exist(link: u32) -> io::Result<bool> {
    let program = pinned::program(&program::new())?;
    match bpf::run(&program, link.into())? {
        program::NONE => Ok(false),
        program::SOME => Ok(true),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_no_upper_device() {
        // Only root may load the program, and not each kernel has BTF.
        if let Ok(found) = exist(1) {
            assert!(!found);
            assert!(exist(0x7fff_fff0).is_err());
        }
    }
}
