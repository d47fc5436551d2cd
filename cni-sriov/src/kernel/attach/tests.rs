//! Changes of the network device against a kernel in memory.

use sriov_host::netlink::fake::{Failure as Refusal, FakeKernel, Request};

use std::time::Duration;

use super::*;
use crate::model::{VfSide, examples};

#[test]
fn vf_that_refuses_an_address_is_reset_once() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mac = "02:00:00:00:00:01".parse().unwrap();
    for refusals in [1, 2] {
        let kernel = FakeKernel::default();
        kernel.add_link(Link {
            index: 7,
            ..examples::link()
        });
        let mut left = refusals;
        kernel.fail_when(
            move |_, request| {
                let is_mac = matches!(
                    request,
                    Request::SetLink {
                        change: LinkChange::Mac(_),
                        ..
                    }
                );
                let refuses = is_mac && left > 0;
                left -= i32::from(refuses);
                refuses
            },
            Refusal::errno(Errno::EADDRNOTAVAIL),
        );
        let side = VfSide::Netdev(examples::link());
        let target = Target::of_view(&examples::view("igb", side));
        let changed = runtime.block_on(async {
            let netlink = Netlink::fake(&kernel, Duration::from_secs(1)).unwrap();
            change_mac(&target, &netlink, 7, mac).await
        });
        assert_eq!(changed.is_ok(), refusals == 1, "{changed:?}");
        assert_eq!(kernel.requests().len(), 4);
    }
}
