//! CHECK: compares the kernel with the journal and with the result of the whole chain, and names what drifted.

use std::path::Path;

use ipnet::IpNet;
use serde_json::Value;
use sriov_host::netlink::{Link, Netlink, Route};
use sriov_host::netns::Netns;
use sriov_host::sysfs;
use sriov_host::vf::VfSettings;

use crate::Setup;
use crate::apply::Target;
use crate::device;
use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::Journal;
use crate::request::Request;
use crate::result::{Attached, Interface};
use crate::saved::{Phase, SavedAttachmentV1};

/// Where the reference plugin `tuning` keeps what was before it (plugins/meta/tuning of the CNI plugins, `defaultDataDir`).
const TUNING: &str = "run/cni/tuning";

/// Something that is not as it was attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    what: String,
    wanted: String,
    found: String,
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            what,
            wanted,
            found,
        } = self;
        write!(f, "{what}: wanted {wanted}, found {found}")
    }
}

/// Compares; nothing is changed.
///
/// # Errors
/// [`Failure::Drifted`] with all that differs, or the first thing that makes a comparison impossible.
pub async fn check(setup: &Setup, journal: &Journal, request: &Request) -> Result<(), Failure> {
    let conf = request.conf();
    if conf.prev_result.is_none() {
        return Err(Failure::Config(
            "prevResult: it is missing, CHECK compares with it".to_owned(),
        ));
    }
    let result = Attached::previous(conf)?;
    let netns_path = request.netns.clone().unwrap_or_default();
    let netns = Netns::open(&netns_path).map_err(Failure::Netns)?;
    let device = device::address(&conf.device)?;
    let _lock = journal.lock(device)?;
    let saved = journal
        .read(device)
        .map_err(Failure::Journal)?
        .filter(|saved| {
            saved.phase == Phase::Attached
                && saved.is_of(&conf.name, &request.container_id, request.ifname.as_str())
        });
    let saved = saved.ok_or(Failure::NotAttached(device))?;
    let mut drifts = Vec::new();
    let is_fresh = sysfs::boot_id(&setup.host).map_err(Failure::Sysfs)? != saved.boot_id
        || sysfs::incarnation(&setup.host, device) != Some(saved.incarnation);
    if is_fresh {
        drifts.push(drift(
            format!("VF {device}"),
            "the one that was attached",
            "one that was made since, or none",
        ));
    }
    if netns.id() != saved.netns.id {
        drifts.push(drift(
            format!("CNI_NETNS `{}`", netns_path.display()),
            "the network namespace of the attachment",
            "another one",
        ));
    }
    if drifts.is_empty() {
        drifts = compare(setup, request, &saved, &netns, &result).await?;
    }
    let mut failures = Vec::new();
    if !drifts.is_empty() {
        failures.push(Failure::Drifted { device, drifts });
    }
    failures.extend(Ipam::of(request).check().map_err(Failure::Ipam).err());
    Failure::all(failures)
}

async fn compare(
    setup: &Setup,
    request: &Request,
    saved: &SavedAttachmentV1,
    netns: &Netns,
    result: &Attached,
) -> Result<Vec<Drift>, Failure> {
    let failed = |source| Failure::Link {
        device: saved.device,
        source,
    };
    let mut drifts = Vec::new();
    if !saved.wanted.is_empty() {
        let host = setup.host_netlink()?;
        let target = Target {
            device: saved.device,
            pf: device::pf_view(&setup.host, saved.pf)?,
            vf: saved.vf,
        };
        let now = target.settings(&host).await?.unwrap_or_default();
        drifts.extend(settings(saved, &now));
    }
    let name = request.ifname.as_str();
    let sandbox = request.netns.as_deref().unwrap_or(Path::new(""));
    let (interface, ips) = result.of_interface(name, sandbox);
    let Some(interface) = interface else {
        drifts.push(drift(
            "prevResult".to_owned(),
            &format!("interface `{name}`"),
            "none of that name",
        ));
        return Ok(drifts);
    };
    if saved.baseline.link.is_none() {
        let vf = sysfs::presence(&setup.host, saved.device).map_err(Failure::Sysfs)?;
        let driver = vf.and_then(|vf| vf.driver);
        if !driver.as_deref().is_some_and(device::is_userspace) {
            drifts.push(drift(
                format!("driver of the VF {}", saved.device),
                "one for user space",
                driver.as_deref().unwrap_or("none"),
            ));
        }
        return Ok(drifts);
    }
    let pod = Netlink::in_netns(netns, setup.request_deadline).map_err(Failure::Open)?;
    let link = pod.link_named(&request.ifname).await.map_err(failed)?;
    let Some(link) = link.filter(|link| link.device == Some(saved.device)) else {
        let elsewhere = pod.link_of_device(saved.device).await.map_err(failed)?;
        drifts.push(drift(
            format!("network device of the VF {}", saved.device),
            &format!("`{name}`"),
            &elsewhere.map_or("none in the pod".to_owned(), |link| {
                format!("`{}`", link.name)
            }),
        ));
        return Ok(drifts);
    };
    let mtu = interface.mtu.filter(|_| !tuning_sets_mtu(setup, request));
    drifts.extend(of_link(interface, mtu, &link));
    if !ips.is_empty() {
        let found = pod.addresses(link.index).await.map_err(failed)?;
        drifts.extend(addresses(name, &ips, &found));
    }
    let wanted = result.readable_routes();
    if !wanted.is_empty() {
        let found = pod.routes().await.map_err(failed)?;
        drifts.extend(routes(&wanted, &found));
    }
    Ok(drifts)
}

/// What the PF says of the VF; what it does not tell cannot have drifted.
fn settings(saved: &SavedAttachmentV1, now: &VfSettings) -> Vec<Drift> {
    let differing = saved.wanted.iter().filter_map(|wanted| {
        let found = wanted.found(now).filter(|found| found != wanted)?;
        let what = format!("{} of VF {} at {}", wanted.setting(), saved.vf, saved.pf);
        Some(drift(what, &wanted.to_string(), &found.to_string()))
    });
    differing.collect()
}

/// Whether the reference plugin `tuning` set an MTU after this plugin: it keeps the one before for its DEL, and does not tell its own in the result.
fn tuning_sets_mtu(setup: &Setup, request: &Request) -> bool {
    let Request {
        container_id,
        ifname,
        ..
    } = request;
    let record = setup
        .host
        .join(TUNING)
        .join(format!("{container_id}_{ifname}.json"));
    let record: Option<Value> = std::fs::read(record)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    record.is_some_and(|record| record.get("mtu").is_some())
}

/// The result speaks for the whole chain: a later plugin may have set another address.
///
/// `mtu` is that of the result, if this plugin was the last to set one.
fn of_link(wanted: &Interface, mtu: Option<u32>, link: &Link) -> Vec<Drift> {
    let name = &link.name;
    let mut drifts = Vec::new();
    let mac = link.mac.map(|mac| mac.to_string());
    if let (Some(wanted), Some(mac)) = (&wanted.mac, mac)
        && !wanted.eq_ignore_ascii_case(&mac)
    {
        drifts.push(drift(format!("mac of `{name}`"), wanted, &mac));
    }
    if let Some(wanted) = mtu.filter(|mtu| *mtu > 0 && *mtu != link.mtu) {
        drifts.push(drift(
            format!("mtu of `{name}`"),
            &wanted.to_string(),
            &link.mtu.to_string(),
        ));
    }
    if !link.is_up {
        drifts.push(drift(format!("state of `{name}`"), "up", "down"));
    }
    drifts
}

fn addresses(name: &str, wanted: &[IpNet], found: &[IpNet]) -> Vec<Drift> {
    let missing = wanted.iter().filter(|address| !found.contains(address));
    let all = found.iter().map(ToString::to_string).collect::<Vec<_>>();
    missing
        .map(|address| {
            drift(
                format!("address of `{name}`"),
                &address.to_string(),
                &list(&all),
            )
        })
        .collect()
}

fn routes(wanted: &[Route], found: &[Route]) -> Vec<Drift> {
    let missing = wanted
        .iter()
        .filter(|wanted| !found.iter().any(|found| is_route(wanted, found)));
    missing
        .map(|route| {
            let same = found.iter().filter(|found| found.dst == route.dst);
            let same: Vec<String> = same.map(ToString::to_string).collect();
            drift("route".to_owned(), &route.to_string(), &list(&same))
        })
        .collect()
}

/// Only what the result names must agree: a plugin that leaves out the gateway means that of its addresses.
fn is_route(wanted: &Route, found: &Route) -> bool {
    let agree = |wanted: Option<u32>, found: Option<u32>| wanted.is_none() || wanted == found;
    wanted.dst.trunc() == found.dst.trunc()
        && (wanted.gw.is_none() || wanted.gw == found.gw)
        && agree(wanted.table, found.table)
        && agree(wanted.priority, found.priority)
        && agree(wanted.mtu, found.mtu)
        && agree(wanted.advmss, found.advmss)
}

fn list(items: &[String]) -> String {
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}

fn drift(what: String, wanted: &str, found: &str) -> Drift {
    Drift {
        what,
        wanted: wanted.to_owned(),
        found: found.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use sriov_host::vf::VfChange;

    use super::*;
    use crate::saved::tests::GOLDEN;

    fn lines(drifts: &[Drift]) -> Vec<String> {
        drifts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_setting_that_drifted_is_named_with_both_values() {
        let saved: SavedAttachmentV1 = serde_json::from_str(GOLDEN).unwrap();
        let mut now = VfSettings::default();
        for change in &saved.wanted {
            if let VfChange::Mac(mac) = change {
                now.mac = Some(*mac);
            } else if let VfChange::Vlan(vlan) = change {
                now.vlan = Some(*vlan);
            } else if let VfChange::Trust(on) = change {
                now.trust = Some(*on);
            }
        }
        assert!(settings(&saved, &now).is_empty());
        // What the driver does not report has not drifted.
        assert!(settings(&saved, &VfSettings::default()).is_empty());
        now.trust = Some(true);
        assert_eq!(
            lines(&settings(&saved, &now)),
            ["trust of VF 0 at 0000:01:00.0: wanted trust off, found trust on"]
        );
    }

    #[test]
    fn the_link_is_compared_with_the_result_of_the_chain() {
        let link = Link {
            index: 5,
            name: "net1".into(),
            altnames: vec![],
            mac: Some("02:00:00:00:00:07".parse().unwrap()),
            mtu: 1400,
            is_up: true,
            has_carrier: true,
            permanent_mac: None,
            guid: None,
            device: None,
        };
        let interface = Interface {
            mac: Some("02:00:00:00:00:07".into()),
            mtu: Some(1500),
            ..Interface::default()
        };
        assert!(of_link(&interface, Some(1400), &link).is_empty());
        // An old version of the result says nothing of the MTU, and this plugin may have set none.
        assert!(of_link(&interface, None, &link).is_empty());
        let down = Link {
            is_up: false,
            mtu: 1500,
            mac: Some("02:00:00:00:00:08".parse().unwrap()),
            ..link
        };
        assert_eq!(
            lines(&of_link(&interface, Some(1400), &down)),
            [
                "mac of `net1`: wanted 02:00:00:00:00:07, found 02:00:00:00:00:08",
                "mtu of `net1`: wanted 1400, found 1500",
                "state of `net1`: wanted up, found down"
            ]
        );
    }

    #[test]
    fn addresses_and_routes_must_be_there_and_others_may() {
        let ips: Vec<IpNet> = vec!["192.0.2.1/24".parse().unwrap()];
        let more: Vec<IpNet> = vec!["fe80::1/64".parse().unwrap(), ips[0]];
        assert!(addresses("net1", &ips, &more).is_empty());
        assert_eq!(
            lines(&addresses("net1", &ips, &[])),
            ["address of `net1`: wanted 192.0.2.1/24, found none"]
        );
        let route = |dst: &str, gw: Option<&str>| Route {
            dst: dst.parse().unwrap(),
            gw: gw.map(|gw| gw.parse().unwrap()),
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
        };
        let found = [route("10.0.0.0/8", Some("192.0.2.254"))];
        assert!(routes(&[route("10.0.0.0/8", None)], &found).is_empty());
        assert_eq!(
            lines(&routes(&[route("10.0.0.0/8", Some("192.0.2.1"))], &found)),
            ["route: wanted 10.0.0.0/8 via 192.0.2.1, found 10.0.0.0/8 via 192.0.2.254"]
        );
        let metric = Route {
            priority: Some(7),
            ..route("10.0.0.0/8", None)
        };
        assert_eq!(routes(&[metric], &found).len(), 1);
    }
}
