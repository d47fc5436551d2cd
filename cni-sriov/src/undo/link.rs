//! The network device on its way home: found wherever it is, moved to the host, made what it was.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use sriov_host::ifname::InvalidIfName;
use sriov_host::netlink::{Link, LinkChange, Netlink, NetlinkError};
use sriov_host::netns::Netns;
use sriov_host::{IfName, MacAddr, PciAddress, sysfs};

use crate::Setup;
use crate::failure::Failure;
use crate::saved::{SavedAttachmentV1, SavedLink};

/// Time that the kernel gets to give the network device of a deleted namespace back.
const RETURN: Duration = Duration::from_secs(10);
/// Alternative name of a device whose own name was taken when it came home: `was.` and that name.
const RIGHTFUL: &str = "was.";

/// What is peculiar about a way home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Homecoming {
    /// The PF forgot the address of the VF.
    pub(super) is_unpinned: bool,
    /// The driver must reset the VF first: it lost what it accepted.
    pub(super) resets: bool,
}

/// The name that a device on the host should have, and its other names: it may have come home while another had its name.
pub fn rightful_name(link: &Link) -> (String, Vec<String>) {
    let (rightful, others): (Vec<String>, Vec<String>) = link
        .altnames
        .iter()
        .cloned()
        .partition(|name| name.starts_with(RIGHTFUL));
    let name = rightful
        .first()
        .and_then(|name| name.strip_prefix(RIGHTFUL));
    (name.unwrap_or(&link.name).to_owned(), others)
}

/// Finds the network device, brings it to the host, makes it what it was, and reads it back.
pub(super) async fn bring_home(
    setup: &Setup,
    saved: &SavedAttachmentV1,
    host: &Netlink,
    was: &SavedLink,
    how: Homecoming,
) -> Result<(), Failure> {
    let failed = |source| Failure::Link {
        device: saved.device,
        source,
    };
    let name: IfName = was
        .name
        .parse()
        .map_err(|error: InvalidIfName| Failure::Config(error.to_string()))?;
    if index_on_host(setup, saved.device)?.is_none() {
        leave_pod(setup, saved, &name).await?;
    }
    let deadline = Instant::now() + RETURN;
    let index = loop {
        if let Some(index) = index_on_host(setup, saved.device)? {
            break index;
        }
        if Instant::now() > deadline {
            return Err(Failure::NoLink(saved.device));
        }
        // The namespace is going: the kernel gives the device back when it is gone.
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let read = async || {
        let link = host.link(index).await.map_err(failed)?;
        link.ok_or(Failure::NoLink(saved.device))
    };
    let link = read().await?;
    let changes = changes_home(&link, was, &name, how);
    for change in &changes {
        let done = host.set_link(index, change).await;
        let is_taken = |error: &NetlinkError| error.errno() == Some(Errno::EEXIST);
        match (change, done) {
            (LinkChange::Name(_), Err(error)) if is_taken(&error) => {
                keep_claim(host, &link, saved.device, &name).await?;
            }
            // Another took the alternative name meanwhile, or udev was quicker.
            (LinkChange::AddAltName(other), Err(error)) if is_taken(&error) => {
                tracing::warn!("VF {}: `{other}` is another's name now", saved.device);
            }
            (_, done) => done.map_err(failed)?,
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    match difference(&read().await?, was) {
        None => Ok(()),
        Some(what) => Err(Failure::Dirty {
            device: saved.device,
            what,
        }),
    }
}

/// The name is another's now: the device gets one that is in nobody's way, and keeps a claim on its own.
async fn keep_claim(
    host: &Netlink,
    link: &Link,
    device: PciAddress,
    name: &IfName,
) -> Result<(), Failure> {
    tracing::warn!("VF {device}: the name `{name}` is taken, the claim to it is kept");
    let spare = spare_name(device);
    let mut changes = vec![LinkChange::AddAltName(format!("{RIGHTFUL}{name}"))];
    if let Some(spare) = spare.parse().ok().filter(|_| link.name != spare) {
        changes.push(LinkChange::Name(spare));
    }
    for change in changes {
        match host.set_link(link.index, &change).await {
            Err(source) if source.errno() != Some(Errno::EEXIST) => {
                return Err(Failure::Link { device, source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn index_on_host(setup: &Setup, device: PciAddress) -> Result<Option<u32>, Failure> {
    sysfs::netdev_index(&setup.host, device).map_err(Failure::Sysfs)
}

/// Moves the device out of the pod, whatever it is called there; nothing to do when the pod or the device in it is gone.
async fn leave_pod(setup: &Setup, saved: &SavedAttachmentV1, name: &IfName) -> Result<(), Failure> {
    let failed = |source| Failure::Link {
        device: saved.device,
        source,
    };
    let netns = Netns::open(Path::new(&saved.netns.path));
    let Some(netns) = netns.ok().filter(|netns| netns.id() == saved.netns.id) else {
        return Ok(());
    };
    let pod = Netlink::in_netns(&netns, setup.request_deadline).map_err(Failure::Open)?;
    let Some(found) = find(&pod, saved).await.map_err(failed)? else {
        return Ok(());
    };
    let host = Netns::current().map_err(Failure::Netns)?;
    move_home(&pod, &found, &host, name, saved.device)
        .await
        .map_err(failed)
}

/// By the name it got first: the list of all links of the pod is needed only when the pod renamed it.
async fn find(pod: &Netlink, saved: &SavedAttachmentV1) -> Result<Option<Link>, NetlinkError> {
    if let Ok(name) = saved.ifname.parse() {
        let named = pod.link_named(&name).await?;
        if let Some(link) = named.filter(|link| link.device == Some(saved.device)) {
            return Ok(Some(link));
        }
    }
    pod.link_of_device(saved.device).await
}

/// Its name, or one of its alternative names, may be taken on the host: the device leaves the pod in any case.
async fn move_home(
    pod: &Netlink,
    link: &Link,
    host: &Netns,
    name: &IfName,
    device: PciAddress,
) -> Result<(), NetlinkError> {
    let refused = match pod.move_link(link.index, host, name).await {
        Err(error) if error.errno() == Some(Errno::EEXIST) => error,
        done => return done,
    };
    // The kernel moves first and renames then (net/core/rtnetlink.c, `do_setlink`): with the name taken it has moved.
    let still = pod.link(link.index).await?;
    if still.is_none_or(|still| still.device != Some(device)) {
        return Ok(());
    }
    // It has not: an alternative name, or the one of the pod, is taken too.
    let Ok(spare) = spare_name(device).parse() else {
        return Err(refused);
    };
    for altname in &link.altnames {
        let dropped = LinkChange::DropAltName(altname.clone());
        pod.set_link(link.index, &dropped).await?;
    }
    pod.set_link(link.index, &LinkChange::Down).await?;
    pod.set_link(link.index, &LinkChange::Name(spare)).await?;
    match pod.move_link(link.index, host, name).await {
        Err(error) if error.errno() == Some(Errno::EEXIST) => Ok(()),
        done => done,
    }
}

/// A name that says which device it is; at most 15 bytes, as the kernel wants it.
pub fn spare_name(device: PciAddress) -> String {
    format!(
        "vf{:x}-{:02x}{:02x}{}",
        device.domain(),
        device.bus(),
        device.device(),
        device.function()
    )
}

/// What makes a device on the host what it was: down for the changes, up again only if it was.
fn changes_home(link: &Link, was: &SavedLink, name: &IfName, how: Homecoming) -> Vec<LinkChange> {
    let Homecoming {
        is_unpinned,
        resets,
    } = how;
    let mut changes = Vec::new();
    if let Some(altnames) = &was.altnames {
        let strange = link.altnames.iter().filter(|name| !altnames.contains(name));
        changes.extend(strange.map(|name| LinkChange::DropAltName(name.clone())));
    }
    if link.name != was.name {
        changes.push(LinkChange::Name(name.clone()));
    }
    if let Some(altnames) = &was.altnames {
        let lost = altnames.iter().filter(|name| !link.altnames.contains(name));
        changes.extend(lost.map(|name| LinkChange::AddAltName(name.clone())));
    }
    changes.extend(was.mtu.filter(|mtu| *mtu != link.mtu).map(LinkChange::Mtu));
    if let Some(mac) = was.mac {
        if is_unpinned && link.mac == was.mac {
            // The PF forgot the address when it was unpinned, and the kernel does not pass on one that is there already:
            // the driver hears of it again only by way of another (net/core/dev.c, `netif_set_mac_address`).
            changes.push(LinkChange::Mac(mac.neighbour()));
        }
        if is_unpinned || link.mac != was.mac {
            changes.push(LinkChange::Mac(mac));
        }
    }
    if link.is_up && (!changes.is_empty() || !was.is_up) {
        changes.insert(0, LinkChange::Down);
    }
    if resets && !link.is_up {
        changes.splice(0..0, [LinkChange::Up, LinkChange::Down]);
    }
    if was.is_up && (!link.is_up || !changes.is_empty()) {
        changes.push(LinkChange::Up);
    }
    changes
}

/// What of the device is still not as it was; its names may be another's for good.
fn difference(link: &Link, was: &SavedLink) -> Option<String> {
    let text = |mac: Option<MacAddr>| mac.unwrap_or(MacAddr::ZERO).to_string();
    if was.mac.is_some() && link.mac != was.mac {
        let (was, is) = (text(was.mac), text(link.mac));
        return Some(format!("its network device had mac {was}, it has {is}"));
    }
    match was.mtu {
        Some(mtu) if mtu != link.mtu => {
            return Some(format!(
                "its network device had mtu {mtu}, it has {}",
                link.mtu
            ));
        }
        Some(_) | None => {}
    }
    let state = |is_up| if is_up { "up" } else { "down" };
    let (was, is) = (state(was.is_up), state(link.is_up));
    (was != is).then(|| format!("its network device was {was}, it is {is}"))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn link() -> Link {
        Link {
            index: 5,
            name: "eth2".into(),
            altnames: vec!["a".into()],
            mac: Some("02:00:00:00:00:07".parse().unwrap()),
            mtu: 1500,
            is_up: false,
            has_carrier: false,
            permanent_mac: None,
            guid: None,
            device: None,
        }
    }

    fn was() -> SavedLink {
        SavedLink {
            name: "eth2".into(),
            altnames: Some(vec!["a".into()]),
            mac: link().mac,
            mtu: Some(1500),
            is_up: false,
        }
    }

    fn check(link: &Link, was: &SavedLink, is_unpinned: bool, expected: &Expect) {
        let how = Homecoming {
            is_unpinned,
            resets: false,
        };
        let changes = changes_home(link, was, &"eth2".parse().unwrap(), how);
        let lines: Vec<String> = changes.iter().map(|change| format!("{change}\n")).collect();
        expected.assert_eq(&lines.concat());
    }

    #[test]
    fn what_is_as_it_was_is_not_touched() {
        check(&link(), &was(), false, &expect![""]);
        let up = Link {
            is_up: true,
            ..link()
        };
        let was_up = SavedLink {
            is_up: true,
            ..was()
        };
        check(&up, &was_up, false, &expect![""]);
        check(
            &up,
            &was(),
            false,
            &expect![[r"
            set it down
        "]],
        );
        check(
            &link(),
            &was_up,
            false,
            &expect![[r"
            set it up
        "]],
        );
    }

    #[test]
    fn an_address_that_was_unpinned_is_set_again() {
        check(
            &link(),
            &was(),
            true,
            &expect![[r"
                set its MAC address to 02:00:00:00:00:06
                set its MAC address to 02:00:00:00:00:07
            "]],
        );
    }

    #[test]
    fn a_driver_that_lost_what_it_accepted_resets_the_vf_first() {
        let how = Homecoming {
            is_unpinned: true,
            resets: true,
        };
        let mac = link().mac.unwrap();
        assert_eq!(
            changes_home(&link(), &was(), &"eth2".parse().unwrap(), how),
            [
                LinkChange::Up,
                LinkChange::Down,
                LinkChange::Mac(mac.neighbour()),
                LinkChange::Mac(mac)
            ]
        );
    }

    #[test]
    fn what_the_pod_changed_is_changed_back() {
        let changed = Link {
            name: "net1".into(),
            altnames: vec!["b".into()],
            mac: Some("02:00:00:00:00:01".parse().unwrap()),
            mtu: 9000,
            is_up: true,
            ..link()
        };
        let was_up = SavedLink {
            is_up: true,
            ..was()
        };
        check(
            &changed,
            &was_up,
            false,
            &expect![[r"
                set it down
                remove the alternative name `b`
                rename it to `eth2`
                add the alternative name `a`
                set its MTU to 1500
                set its MAC address to 02:00:00:00:00:07
                set it up
            "]],
        );
    }

    #[test]
    fn what_is_not_known_is_left_alone() {
        let unknown = SavedLink {
            altnames: None,
            mac: None,
            mtu: None,
            ..was()
        };
        let changed = Link {
            altnames: vec!["b".into()],
            mtu: 9000,
            ..link()
        };
        check(&changed, &unknown, true, &expect![""]);
        assert_eq!(difference(&changed, &unknown), None);
    }

    #[test]
    fn a_claim_to_a_name_is_honoured() {
        let spare = Link {
            name: "vf0-01100".into(),
            altnames: vec!["a".into(), "was.eth2".into()],
            ..link()
        };
        assert_eq!(
            rightful_name(&spare),
            ("eth2".to_owned(), vec!["a".to_owned()])
        );
        assert_eq!(
            rightful_name(&link()),
            ("eth2".to_owned(), vec!["a".to_owned()])
        );
        // The claim goes with the name regained.
        check(
            &spare,
            &was(),
            false,
            &expect![[r"
                remove the alternative name `was.eth2`
                rename it to `eth2`
            "]],
        );
    }

    #[test]
    fn a_spare_name_is_a_name() {
        for device in ["0000:01:10.0", "ffff:ff:1f.7"] {
            spare_name(device.parse().unwrap())
                .parse::<IfName>()
                .unwrap();
        }
    }

    #[test]
    fn a_difference_is_named() {
        let other = Link {
            mtu: 9000,
            ..link()
        };
        assert_eq!(
            difference(&other, &was()).unwrap(),
            "its network device had mtu 1500, it has 9000"
        );
    }
}
