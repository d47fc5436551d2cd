//! The whole way of a request through the real encoder and decoder, to a kernel in memory that fails on demand.

mod hostile;
mod links;
mod vfs;

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::connection::TRIES;
use super::fake::{Failure, FakeKernel, Request};
use super::*;
use crate::mac::MacAddr;
use crate::netns::Netns;
use crate::vf::{VfChange, VfIndex, VfSettings};

const PF: u32 = 3;
const VF: VfIndex = VfIndex::new(2);
/// Long enough for a busy machine where an answer comes.
const PATIENT: Duration = Duration::from_secs(20);
/// Short where none comes.
const IMPATIENT: Duration = Duration::from_millis(50);

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // A deadline passes at once where nothing is left to do.
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(work)
}

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.into(),
        mac: Some(MacAddr::new([2, 0, 0, 0, 0, 1])),
        mtu: 1500,
        ..Link::default()
    }
}

/// A PF with four VFs.
fn kernel() -> FakeKernel {
    let kernel = FakeKernel::default();
    kernel.add_link(link(PF, "pf0"));
    for vf in 0..4 {
        kernel.add_vf(PF, VfIndex::new(vf), VfSettings::default());
    }
    kernel
}

fn chain(error: &NetlinkError) -> String {
    format!("{error}: {}", error.source().unwrap())
}

#[test]
fn silence_ends_at_the_deadline_and_the_next_request_works() {
    run(async {
        let kernel = kernel();
        kernel.fail_when(|number, _| number == 0, Failure::Silence);
        let netlink = Netlink::fake(&kernel, IMPATIENT).unwrap();
        let error = netlink.vf_settings(PF, VF).await.unwrap_err();
        assert_eq!(error.kind(), &NetlinkErrorKind::Deadline);
        assert_eq!(error.errno(), None);
        assert!(netlink.vf_settings(PF, VF).await.unwrap().is_some());
    });
}

#[test]
fn answer_that_was_cut_is_requested_again() {
    run(async {
        let kernel = kernel();
        kernel.fail_when(|number, _| number == 0, Failure::Cut(24));
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        assert_eq!(netlink.link(PF).await.unwrap(), kernel.link(PF));
        assert_eq!(kernel.requests(), vec![Request::ReadLink(PF); 2]);
    });
}

#[test]
fn list_that_changed_meanwhile_is_requested_again() {
    let device: crate::PciAddress = "0000:01:10.4".parse().unwrap();
    run(async {
        let kernel = kernel();
        kernel.add_link(Link {
            device: Some(device),
            ..link(7, "eth2")
        });
        kernel.fail_when(|number, _| number < 2, Failure::Interrupt);
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        let found = netlink.link_of_device(device).await.unwrap();
        assert_eq!(found.map(|link| link.index), Some(7));
        assert_eq!(kernel.requests(), vec![Request::ListLinks; 3]);
    });
}

#[test]
fn request_to_a_busy_driver_is_repeated() {
    for errno in [Errno::EBUSY, Errno::EAGAIN] {
        run(async {
            let kernel = kernel();
            kernel.fail_when(|number, _| number < 3, Failure::errno(errno));
            let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
            let trust = VfChange::Trust(true);
            netlink.set_vf(PF, VF, &trust).await.unwrap();
            assert_eq!(kernel.vf(PF, VF).unwrap().trust, Some(true));
            assert_eq!((kernel.requests().len(), netlink.requests()), (4, 4));
        });
    }
}

#[test]
fn request_is_repeated_only_if_that_may_help() {
    let bound = usize::try_from(TRIES).unwrap();
    let words = || Some("out of VLAN filters".to_owned());
    for (failure, tries) in [
        (Failure::errno(Errno::EBUSY), bound),
        (Failure::Interrupt, bound),
        (Failure::errno(Errno::EOPNOTSUPP), 1),
        (Failure::errno(Errno::EINVAL), 1),
        (Failure::errno(Errno::EPERM), 1),
        (
            Failure::Refuse {
                errno: Errno::ENOSPC,
                text: words(),
            },
            1,
        ),
        (Failure::Silence, 1),
    ] {
        run(async {
            let kernel = kernel();
            kernel.fail_when(|_, _| true, failure.clone());
            let netlink = Netlink::fake(&kernel, IMPATIENT).unwrap();
            netlink.addresses(PF).await.unwrap_err();
            assert_eq!(kernel.requests().len(), tries, "{failure:?}");
            assert_eq!(netlink.requests(), tries, "{failure:?}");
        });
    }
}

#[test]
fn unfinished_list_is_an_error() {
    run(async {
        let kernel = kernel();
        kernel.fail_when(|_, _| true, Failure::Unfinished(Errno::EMSGSIZE));
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        let error = netlink.addresses(PF).await.unwrap_err();
        assert_eq!(error.errno(), Some(Errno::EMSGSIZE));
    });
}

#[test]
fn connection_ends_with_its_owner() {
    let kernel = kernel();
    run(async {
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        netlink.link(PF).await.unwrap();
        assert_eq!(Arc::strong_count(&kernel.0), 3);
        drop(netlink);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&kernel.0), 1);
    });
}
