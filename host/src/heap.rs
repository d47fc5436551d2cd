//! The heap of this process: how the allocator keeps what is free, and when it gives it back; no allocator of its own.

/// Lets all threads allocate from one arena: what one freed serves the next.
///
/// Of itself glibc makes an arena for each thread, and holes in one are of no use to another, `mallopt(3)`.
pub fn share_one_arena() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "glibc has this by no other name")]
    // SAFETY: two numbers; no memory is handed over.
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
    }
}

/// Gives whole pages without anything in them back to the kernel, `malloc_trim(3)`.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "glibc has this by no other name")]
    // SAFETY: a number; only what is free is given back.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
