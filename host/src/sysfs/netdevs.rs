//! The network devices of one PCI function or auxiliary device, as sysfs shows them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::attribute::{AttributeError, Device};
use crate::ifname::IfName;
use crate::raw_name::RawName;
use crate::snapshot::{LinkType, Netdev, uplink};

/// `IFF_UP` (`include/uapi/linux/if.h`).
const IFF_UP: u32 = 1;

/// The part of a network device that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// All of it.
    All,
    /// All but its state.
    Identity,
}

/// Network devices below `net/`, or for a virtio function below the virtio device.
pub(super) fn netdevs(device: &Device, is_vf: bool) -> Result<Vec<Netdev>, AttributeError> {
    below_device(device, is_vf, Depth::All)
}

/// The same without their state, for callers that read it by netlink.
pub(super) fn identities(device: &Device, is_vf: bool) -> Result<Vec<Netdev>, AttributeError> {
    below_device(device, is_vf, Depth::Identity)
}

fn below_device(device: &Device, is_vf: bool, depth: Depth) -> Result<Vec<Netdev>, AttributeError> {
    let netdevs = read(device, "net", is_vf, depth)?;
    if netdevs.is_empty() && device.link("driver")?.as_deref() == Some("virtio-pci") {
        return below_names(device, &device.names(".")?, is_vf, depth);
    }
    Ok(netdevs)
}

/// Reads the network devices when the names in the device's directory are known.
pub(super) fn among(
    device: &Device,
    names: &[String],
    is_vf: bool,
) -> Result<Vec<Netdev>, AttributeError> {
    below_names(device, names, is_vf, Depth::All)
}

fn below_names(
    device: &Device,
    names: &[String],
    is_vf: bool,
    depth: Depth,
) -> Result<Vec<Netdev>, AttributeError> {
    let mut netdevs = Vec::new();
    for name in names {
        let number = name.strip_prefix("virtio").unwrap_or_default();
        if name == "net" {
            netdevs.extend(read(device, "net", is_vf, depth)?);
        } else if number.starts_with(|c: char| c.is_ascii_digit()) {
            netdevs.extend(read(device, &format!("{name}/net"), is_vf, depth)?);
        }
    }
    // A list grows to a capacity of four, most functions have one, and there are thousands of functions.
    netdevs.shrink_to_fit();
    Ok(netdevs)
}

/// Directories in which network devices may be.
fn dirs(device: &Device) -> Result<Vec<String>, AttributeError> {
    let mut dirs = vec!["net".to_owned()];
    if device.link("driver")?.as_deref() == Some("virtio-pci") {
        let names = device.names(".")?.into_iter();
        let virtio = names.filter(|name| name.starts_with("virtio"));
        dirs.extend(virtio.map(|name| format!("{name}/net")));
    }
    Ok(dirs)
}

/// Names of the devices that are stacked on its network devices, in this network namespace only (`upper_*`).
pub(super) fn uppers(device: &Device) -> Result<Vec<RawName>, AttributeError> {
    const PREFIX: &[u8] = b"upper_";
    let mut uppers = Vec::new();
    for dir in dirs(device)? {
        for name in device.raw_names(&dir)? {
            let links = device.raw_names(below(&dir, &name, "."))?;
            let names = links
                .iter()
                .filter_map(|link| link.as_bytes().strip_prefix(PREFIX));
            uppers.extend(names.map(RawName::from_bytes));
        }
    }
    Ok(uppers)
}

/// Interface index of its first network device, and nothing else.
pub(super) fn first_index(device: &Device) -> Result<Option<u32>, AttributeError> {
    for dir in dirs(device)? {
        for name in device.raw_names(&dir)? {
            if let Some(index) = device.decimal(below(&dir, &name, "ifindex"))? {
                return Ok(Some(index));
            }
        }
    }
    Ok(None)
}

/// Speed of the uplink in Mbit/s; absent while the kernel does not know it (`SPEED_UNKNOWN`, -1).
///
/// Not part of [`among`]: the kernel queries the driver, so that each representor would cost a firmware command.
pub(super) fn speed(device: &Device, netdevs: &[Netdev]) -> Result<Option<u32>, AttributeError> {
    let Some(uplink) = uplink(netdevs) else {
        return Ok(None);
    };
    let speed: Option<i64> = device.decimal(format!("net/{}/speed", uplink.name))?;
    Ok(speed.and_then(|speed| u32::try_from(speed).ok()))
}

fn read(
    device: &Device,
    dir: &str,
    is_vf: bool,
    depth: Depth,
) -> Result<Vec<Netdev>, AttributeError> {
    let names = device.raw_names(dir)?;
    let mut netdevs = Vec::with_capacity(names.len());
    // A VF has one port and no representors.
    let (has_ports, is_alone) = (!is_vf, names.len() < 2);
    for name in names {
        let below = |attribute| below(dir, &name, attribute);
        // Representors are children of the PF.
        let of_switch = |attribute| {
            let text = if has_ports {
                device.text(below(attribute))?
            } else {
                None
            };
            Ok(text.filter(|text: &String| !text.is_empty()))
        };
        let (Some(ifindex), Some(kind)) = (
            device.decimal(below("ifindex"))?,
            device.decimal(below("type"))?,
        ) else {
            continue;
        };
        let state = |attribute| match depth {
            Depth::All => device.text(below(attribute)),
            Depth::Identity => Ok(None),
        };
        let flags = state("flags")?;
        let flags =
            flags.and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok());
        // Two ports of one function have numbers; their names may have any order.
        let port: Option<u32> = if has_ports && !is_alone {
            device.decimal(below("dev_port"))?
        } else {
            None
        };
        let netdev = Netdev {
            name: ifname(&name, ifindex),
            ifindex,
            link_type: LinkType::from_arphrd(kind),
            is_up: flags.map(|flags| flags & IFF_UP != 0),
            carrier: state("carrier")?.map(|text| text == "1"),
            altnames: Vec::new(),
            phys_switch_id: of_switch("phys_switch_id")?,
            phys_port_name: of_switch("phys_port_name")?,
        };
        netdevs.push((port, netdev));
    }
    netdevs.sort_by(|(a, first), (b, second)| (a, &first.name).cmp(&(b, &second.name)));
    Ok(netdevs.into_iter().map(|(_, netdev)| netdev).collect())
}

/// The name of a network device, or a stand-in with its index if the name is not text: any pod may give such a name.
fn ifname(name: &OsStr, index: u32) -> IfName {
    let name = name.to_str().and_then(|name| name.parse().ok());
    name.unwrap_or_else(|| IfName::stand_in(index))
}

fn below(dir: &str, name: &OsStr, attribute: &str) -> PathBuf {
    let mut path = OsString::with_capacity(dir.len() + name.len() + attribute.len() + 2);
    for part in [OsStr::new(dir), OsStr::new("/"), name, OsStr::new("/")] {
        path.push(part);
    }
    path.push(attribute);
    path.into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn ports_of_one_function_are_sorted_by_their_number() {
        let dir = tempfile::tempdir().unwrap();
        // As `mlx4_en` shows the ports of a ConnectX-3.
        for (name, port) in [("a1", "1"), ("b0", "0")] {
            let net = dir.path().join("net").join(name);
            fs::create_dir_all(&net).unwrap();
            for (file, text) in [("ifindex", "7"), ("type", "1"), ("dev_port", port)] {
                fs::write(net.join(file), text).unwrap();
            }
        }
        let device = Device::new(dir.path().to_owned());
        let names = |is_vf| {
            let netdevs = netdevs(&device, is_vf).unwrap().into_iter();
            netdevs.map(|it| it.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["b0", "a1"]);
        // The numbers of a VF's ports are not read.
        assert_eq!(names(true), ["a1", "b0"]);
    }

    #[test]
    fn lone_representor_is_told_from_an_uplink() {
        let dir = tempfile::tempdir().unwrap();
        let net = dir.path().join("net/eth4");
        fs::create_dir_all(&net).unwrap();
        for (file, text) in [
            ("ifindex", "7"),
            ("type", "1"),
            ("phys_switch_id", "b8"),
            ("phys_port_name", "pf0vf0"),
        ] {
            fs::write(net.join(file), text).unwrap();
        }
        let device = Device::new(dir.path().to_owned());
        let found = netdevs(&device, false).unwrap();
        assert!(found[0].is_representor());
    }
}
