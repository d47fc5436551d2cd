//! The heap of this process: tuning of glibc's allocator.

/// Makes all threads allocate from one arena, so that they reuse each other's free memory.
///
/// By default glibc creates an arena for each thread, and free memory of one is not available to another, `mallopt(3)`.
pub fn share_one_arena() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "glibc has no safe interface for this")]
    // SAFETY: the arguments are two numbers; no memory is passed.
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
    }
}

/// Takes memory from the kernel in one step that is usually enough, and returns none: for a process that ends soon.
///
/// Pages that are never written to cost nothing.
pub fn take_much() {
    share_one_arena();
    #[cfg(target_env = "gnu")]
    {
        /// More than a call of the CNI plugin needs, with its buffers for netlink.
        const ENOUGH: i32 = 4 << 20;
        for parameter in [
            nix::libc::M_TOP_PAD,
            nix::libc::M_MMAP_THRESHOLD,
            nix::libc::M_TRIM_THRESHOLD,
        ] {
            #[expect(unsafe_code, reason = "glibc has no safe interface for this")]
            // SAFETY: the arguments are two numbers; no memory is passed.
            unsafe {
                nix::libc::mallopt(parameter, ENOUGH);
            }
        }
    }
}

/// Returns unused pages to the kernel, `malloc_trim(3)`.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "glibc has no safe interface for this")]
    // SAFETY: the argument is a number; only free memory is returned.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
