//! XDP programs of a link: the nested attribute in a message about it, and the one that detaches them.

use std::collections::BTreeMap;

use crate::link::XdpMode;
use crate::nla::{attribute, number32, push};

// IFLA_XDP_*, include/uapi/linux/if_link.h
const FD: u16 = 1;
const ATTACHED: u16 = 2;
const FLAGS: u16 = 3;
const PROGRAM: u16 = 4;
/// Type of the program's identifier, `XDP_ATTACHED_*` and `XDP_FLAGS_*_MODE` of each mode.
const MODES: [(XdpMode, u16, u8, u32); 3] = [
    (XdpMode::Native, 5, 1, 1 << 2),
    (XdpMode::Generic, 6, 2, 1 << 1),
    (XdpMode::Offloaded, 7, 3, 1 << 3),
];

/// Identifiers of the programs that are attached.
pub(super) fn read(xdp: &[u8]) -> BTreeMap<XdpMode, u32> {
    let number = |kind| attribute(xdp, kind).and_then(|value| number32(value, 0));
    let attached = attribute(xdp, ATTACHED).and_then(|value| value.first().copied());
    let program = |(mode, kind, only, _): (_, _, u8, _)| {
        // Before Linux 4.20 there is one identifier and the mode.
        let only = || number(PROGRAM).filter(|_| attached == Some(only));
        Some((mode, number(kind).or_else(only)?))
    };
    MODES.into_iter().filter_map(program).collect()
}

/// Detaches the program of a mode.
pub(super) fn detach(mode: XdpMode) -> Vec<u8> {
    let flags = MODES.iter().find(|(other, ..)| *other == mode);
    let flags = flags.map_or(0, |(.., flags)| *flags);
    let mut xdp = Vec::new();
    push(&mut xdp, FD, &(-1_i32).to_ne_bytes());
    push(&mut xdp, FLAGS, &flags.to_ne_bytes());
    xdp
}

/// The mode of a request to detach a program.
#[cfg(any(test, feature = "fake"))]
pub(super) fn detached(xdp: &[u8]) -> Option<XdpMode> {
    let is_detach = attribute(xdp, FD) == Some(&(-1_i32).to_ne_bytes());
    let flags = attribute(xdp, FLAGS).and_then(|value| number32(value, 0));
    let mode = MODES.iter().find(|(.., other)| Some(*other) == flags)?;
    is_detach.then_some(mode.0)
}

/// As the kernel writes them (`rtnl_xdp_fill`, `net/core/rtnetlink.c`).
#[cfg(any(test, feature = "fake"))]
pub(super) fn encode(programs: &BTreeMap<XdpMode, u32>) -> Vec<u8> {
    const MULTIPLE: u8 = 4;
    let mut xdp = Vec::new();
    let mut attached = 0;
    for (mode, kind, only, _) in MODES {
        if let Some(program) = programs.get(&mode) {
            attached = if attached == 0 { only } else { MULTIPLE };
            push(&mut xdp, kind, &program.to_ne_bytes());
        }
    }
    push(&mut xdp, ATTACHED, &[attached]);
    if let (Some(program), true) = (programs.values().next(), attached < MULTIPLE) {
        push(&mut xdp, PROGRAM, &program.to_ne_bytes());
    }
    xdp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_in_each_mode() {
        for programs in [
            vec![],
            vec![(XdpMode::Native, 7)],
            vec![(XdpMode::Generic, 8)],
            vec![(XdpMode::Native, 7), (XdpMode::Offloaded, 9)],
        ] {
            let programs = programs.into_iter().collect();
            assert_eq!(read(&encode(&programs)), programs);
        }
    }

    #[test]
    fn old_kernel_has_one_identifier_and_a_mode() {
        let mut xdp = Vec::new();
        push(&mut xdp, ATTACHED, &[2]);
        push(&mut xdp, PROGRAM, &8_u32.to_ne_bytes());
        assert_eq!(read(&xdp), BTreeMap::from([(XdpMode::Generic, 8)]));
    }
}
