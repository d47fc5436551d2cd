//! Firmware of a device from devlink: the DDP package that an E810 runs.

use std::io;

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::request;
use crate::nla::{attribute, attributes, number16, push};
use crate::pci::PciAddress;

// include/uapi/linux/genetlink.h
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
// include/uapi/linux/devlink.h
const INFO_GET: u8 = 51;
const BUS: u16 = 1;
const DEVICE: u16 = 2;
const RUNNING: u16 = 101;
const VERSION_NAME: u16 = 103;
const VERSION_VALUE: u16 = 104;
/// `genlmsghdr`.
const HEADER: usize = 4;

/// Name of the DDP profile that a device runs (`fw.app.name`, Documentation/networking/devlink/ice.rst); `None` if it has none or does not support devlink.
///
/// # Errors
/// When the kernel refuses to answer.
pub fn ddp_profile(device: PciAddress) -> io::Result<Option<String>> {
    let known = |answer: io::Result<Vec<Vec<u8>>>| match answer {
        Ok(answers) => Ok(answers.into_iter().next()),
        // The kernel has no devlink, no such device in it, or no information.
        Err(error)
            if matches!(
                error.raw_os_error().map(Errno::from_raw),
                Some(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP)
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    };
    let family = generic(CONTROL, GET_FAMILY, &[(FAMILY_NAME, "devlink")]);
    let Some(family) = known(family)?.as_deref().and_then(family_id) else {
        return Ok(None);
    };
    let device = device.to_string();
    let info = generic(family, INFO_GET, &[(BUS, "pci"), (DEVICE, &device)]);
    Ok(known(info)?.as_deref().and_then(profile))
}

fn generic(kind: u16, command: u8, texts: &[(u16, &str)]) -> io::Result<Vec<Vec<u8>>> {
    // The command, its version, and padding.
    let mut body = vec![command, 1, 0, 0];
    for (kind, text) in texts {
        push(&mut body, *kind, &[text.as_bytes(), &[0]].concat());
    }
    Ok(request::over(SockProtocol::NetlinkGeneric, kind, 0, &body)?.bodies)
}

fn family_id(answer: &[u8]) -> Option<u16> {
    number16(attribute(answer.get(HEADER..)?, FAMILY_ID)?, 0)
}

/// Finds the DDP profile among the running versions, which are pairs of name and value.
fn profile(answer: &[u8]) -> Option<String> {
    let running = attributes(answer.get(HEADER..)?).filter(|(kind, _)| *kind == RUNNING);
    let text = |version, kind| {
        let text: &[u8] = attribute(version, kind)?;
        let text = text.strip_suffix(&[0]).unwrap_or(text);
        Some(String::from_utf8_lossy(text).into_owned())
    };
    running
        .filter(|(_, version)| text(version, VERSION_NAME).as_deref() == Some("fw.app.name"))
        .find_map(|(_, version)| text(version, VERSION_VALUE))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(kind: u16, name: &str, value: &str) -> Vec<u8> {
        let (mut inner, mut outer) = (Vec::new(), Vec::new());
        for (kind, text) in [(VERSION_NAME, name), (VERSION_VALUE, value)] {
            push(&mut inner, kind, &[text.as_bytes(), &[0]].concat());
        }
        push(&mut outer, 0x8000 | kind, &inner);
        outer
    }

    #[test]
    fn running_package_is_found_among_all_versions() {
        const STORED: u16 = 102;
        let answer =
            |versions: &[Vec<u8>]| [&[INFO_GET, 1, 0, 0], versions.concat().as_slice()].concat();
        let stored = version(STORED, "fw.app.name", "ICE OS Default Package");
        let others = [
            version(RUNNING, "fw.mgmt", "6.1.4"),
            version(RUNNING, "fw.app", "1.3.30.0"),
        ];
        let comms = version(RUNNING, "fw.app.name", "ICE COMMS Package");
        assert_eq!(
            profile(&answer(&[others.concat(), stored.clone(), comms])).as_deref(),
            Some("ICE COMMS Package")
        );
        assert_eq!(profile(&answer(&[others.concat(), stored])), None);
        assert_eq!(profile(&[]), None);
    }

    #[test]
    fn missing_device_has_no_profile() {
        let nowhere = "ffff:ff:1f.7".parse().unwrap();
        assert_eq!(ddp_profile(nowhere).unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (profile(&bytes), family_id(&bytes));
        }
    }
}
