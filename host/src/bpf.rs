//! The system call `bpf` (bpf(2)): loads a program, keeps it in a file, and runs it once; counts the programs that are attached to a device.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;

use crate::nla::number32;

// enum bpf_cmd and enum bpf_prog_type, include/uapi/linux/bpf.h
const PROG_LOAD: u32 = 5;
const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const PROG_TEST_RUN: u32 = 10;
const PROG_QUERY: u32 = 16;
const BTF_LOAD: u32 = 18;
const RAW_TRACEPOINT: u32 = 17;
/// The kernel offers the helper functions of the program only under this licence.
const LICENSE: &[u8] = b"Dual MIT/GPL\0";

/// All parts of a program, each as the kernel's bytes.
pub(crate) struct Program {
    pub(crate) instructions: Vec<u8>,
    /// BTF.
    pub(crate) types: Vec<u8>,
    /// `struct bpf_func_info`.
    pub(crate) functions: Vec<u8>,
    /// `struct bpf_core_relo`.
    pub(crate) relocations: Vec<u8>,
}

/// `union bpf_attr`: numbers and addresses at fixed offsets.
struct Attributes([u8; 144]);

impl Attributes {
    fn new() -> Self {
        Self([0; 144])
    }

    fn number(mut self, at: usize, value: u32) -> Self {
        self.put(at, &value.to_ne_bytes());
        self
    }

    fn length(self, at: usize, bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.number(at, length)
    }

    fn address(mut self, at: usize, bytes: &[u8]) -> Self {
        let address = bytes.as_ptr().expose_provenance();
        let address = u64::try_from(address).unwrap_or_default();
        self.put(at, &address.to_ne_bytes());
        self
    }

    fn descriptor(self, at: usize, of: &OwnedFd) -> Self {
        self.number(at, of.as_raw_fd().cast_unsigned())
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at.saturating_add(value.len())) {
            place.copy_from_slice(value);
        }
    }

    fn read(&self, at: usize) -> u32 {
        number32(&self.0, at).unwrap_or_default()
    }

    /// Executes a command. All addresses are of slices with their lengths, which the caller holds until this returns.
    fn execute(&mut self, command: u32) -> io::Result<libc::c_long> {
        #[expect(unsafe_code, reason = "nix has no such call")]
        // SAFETY: the kernel reads and writes `self`, whose size is passed, and reads the slices whose addresses are in it.
        let done =
            unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), self.0.len()) };
        Ok(Errno::result(done)?)
    }
}

/// Loads a program: the kernel corrects its offsets and proves that it is harmless.
pub(crate) fn load(program: &Program) -> io::Result<OwnedFd> {
    let Program {
        instructions,
        functions,
        relocations,
        types,
    } = program;
    let types = opened(
        Attributes::new().address(0, types).length(16, types),
        BTF_LOAD,
    )?;
    let attributes = Attributes::new()
        .number(0, RAW_TRACEPOINT)
        .number(4, count(instructions, 8))
        .address(8, instructions)
        .address(16, LICENSE)
        .descriptor(72, &types)
        .number(76, 8)
        .address(80, functions)
        .number(88, count(functions, 8))
        .number(116, count(relocations, 16))
        .address(128, relocations)
        .number(136, 16);
    opened(attributes, PROG_LOAD)
}

/// Keeps a program in a file of the kernel's file system for BPF, until somebody removes the file.
pub(crate) fn pin(program: &OwnedFd, file: &Path) -> io::Result<()> {
    let path = terminated(file)?;
    let mut attributes = Attributes::new()
        .address(0, path.as_bytes_with_nul())
        .descriptor(8, program);
    attributes.execute(OBJ_PIN)?;
    Ok(())
}

/// The program of such a file.
pub(crate) fn pinned(file: &Path) -> io::Result<OwnedFd> {
    let path = terminated(file)?;
    let attributes = Attributes::new().address(0, path.as_bytes_with_nul());
    opened(attributes, OBJ_GET)
}

fn terminated(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Runs a program with one argument and returns its result.
pub(crate) fn run(program: &OwnedFd, argument: u64) -> io::Result<u32> {
    let context = argument.to_ne_bytes();
    let mut attributes = Attributes::new()
        .descriptor(0, program)
        .length(40, &context)
        .address(48, &context);
    attributes.execute(PROG_TEST_RUN)?;
    Ok(attributes.read(4))
}

/// Number of programs that are attached to a link at a place (`enum bpf_attach_type`), in the namespace of this process.
pub(crate) fn count_attached(link: u32, place: u32) -> io::Result<u32> {
    let mut attributes = Attributes::new().number(0, link).number(4, place);
    attributes.execute(PROG_QUERY)?;
    Ok(attributes.read(24))
}

fn opened(mut attributes: Attributes, command: u32) -> io::Result<OwnedFd> {
    let descriptor = attributes.execute(command)?;
    let descriptor = RawFd::try_from(descriptor).map_err(|_too_large| Errno::EBADF)?;
    #[expect(unsafe_code, reason = "the kernel returns a bare number")]
    // SAFETY: the kernel has just opened the descriptor for this call, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn count(bytes: &[u8], size: usize) -> u32 {
    u32::try_from(bytes.len() / size).unwrap_or(u32::MAX)
}
