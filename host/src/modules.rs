//! Keeps this process from loading kernel modules by the names of network devices, which pods choose.
//!
//! For a request by the name of a device that does not exist, the kernel loads the module of this name if the caller has `CAP_SYS_MODULE`
//! (`dev_load`, `net/core/dev_ioctl.c`); without it, only modules with the alias `netdev-<name>`.
//! A pod that renames its device between two requests would otherwise choose the module.

use std::io;

use nix::errno::Errno;
use nix::libc;

/// `_LINUX_CAPABILITY_VERSION_3`, include/uapi/linux/capability.h.
const VERSION_3: u32 = 0x2008_0522;
const CAP_SYS_MODULE: u32 = 16;

/// Drops the effective capability from the calling thread and the threads that it starts; programs that it executes as root have it again.
///
/// # Errors
/// When the kernel refuses.
pub fn load_none() -> io::Result<()> {
    // `__user_cap_header_struct`: the version, and 0 for the calling thread.
    let mut header = [VERSION_3, 0];
    // Two of `__user_cap_data_struct`: effective, permitted, inheritable.
    let mut data = [0_u32; 6];
    call(libc::SYS_capget, &mut header, &mut data)?;
    if let Some(effective) = data.first_mut() {
        *effective &= !(1 << CAP_SYS_MODULE);
    }
    call(libc::SYS_capset, &mut header, &mut data)
}

fn call(number: libc::c_long, header: &mut [u32; 2], data: &mut [u32; 6]) -> io::Result<()> {
    #[expect(unsafe_code, reason = "nix has no such call")]
    // SAFETY: both structures have the sizes of version 3, and the kernel reads and writes nothing else.
    let done = unsafe { libc::syscall(number, header.as_mut_ptr(), data.as_mut_ptr()) };
    Ok(Errno::result(done).map(drop)?)
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    fn effective() -> u64 {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    }

    #[test]
    fn one_capability_is_dropped() {
        let dropped = thread::spawn(|| {
            let before = effective();
            load_none().unwrap();
            (before, effective())
        });
        let (before, after) = dropped.join().unwrap();
        assert_eq!(after, before & !(1 << CAP_SYS_MODULE));
    }
}
