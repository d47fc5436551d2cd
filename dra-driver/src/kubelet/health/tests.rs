//! What a stream sends, and when.

use std::collections::BTreeMap;

use sriov_config::resource_list::{PfHealth, Publish, ResourceName};
use sriov_inventory::id::DeviceId;
use sriov_inventory::pool::Pool;
use tokio::time::{Instant, advance};

use super::health_v1::dra_resource_health_server::DraResourceHealth;
use super::*;

const ID: &str = "0000:01:10.0";

fn pools(reasons: &[(&str, Unhealthy)]) -> Arc<Pools> {
    let reasons = reasons
        .iter()
        .map(|(id, reason)| (id.parse::<DeviceId>().unwrap(), reason.clone()));
    let pool = Pool {
        name: ResourceName::new("example.com", "vf").unwrap(),
        publish: Publish::Dra,
        pf_health: PfHealth::Carrier,
        additional_info: Arc::default(),
        devices: Arc::default(),
        unhealthy: reasons.collect::<BTreeMap<_, _>>(),
    };
    Arc::new(Pools {
        pools: vec![pool],
        ..Pools::default()
    })
}

fn health() -> (watch::Sender<Arc<Pools>>, watch::Sender<bool>, Health) {
    let (send, receive) = watch::channel(pools(&[(ID, Unhealthy::PfDown("eth0".into()))]));
    let (over, is_over) = watch::channel(false);
    let health = Health {
        pools: receive,
        node: "node-1".into(),
        is_over,
    };
    (send, over, health)
}

#[tokio::test(start_paused = true)]
async fn list_is_sent_after_each_change_and_each_heartbeat() {
    let (send, over, health) = health();
    let start = Instant::now();
    let mut stream = Box::pin(health.lists());
    let first = stream.next().await.unwrap();
    assert_eq!(first[0].reason.as_deref(), Some("its PF `eth0` is down"));
    assert_eq!(first[0].device, "0000-01-10-0");
    // The same list again is not a change.
    send.send_replace(pools(&[(ID, Unhealthy::PfDown("eth0".into()))]));
    assert_eq!(stream.next().await.unwrap(), first);
    assert_eq!(start.elapsed(), HEARTBEAT);
    advance(Duration::from_secs(1)).await;
    send.send_replace(pools(&[(ID, Unhealthy::Gone)]));
    assert_ne!(stream.next().await.unwrap(), first);
    assert_eq!(start.elapsed(), HEARTBEAT + Duration::from_secs(1));
    over.send_replace(true);
    assert_eq!(stream.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn report_names_pool_device_timeout_and_reason() {
    let (_send, _over, health) = health();
    let request = Request::new(health_v1::NodeWatchResourcesRequest {});
    let mut stream = health
        .node_watch_resources(request)
        .await
        .unwrap()
        .into_inner();
    let list = stream.next().await.unwrap().unwrap();
    let [device] = &list.devices[..] else {
        panic!("{list:?}");
    };
    let identifier = device.device.as_ref().unwrap();
    assert_eq!(
        (&*identifier.pool_name, &*identifier.device_name),
        ("node-1", "0000-01-10-0")
    );
    assert_eq!(device.health(), health_v1::HealthStatus::Unhealthy);
    assert_eq!(device.health_check_timeout_seconds, 60);
    assert_eq!(device.message, "its PF `eth0` is down");
    assert_eq!(HEARTBEAT.as_secs() * 3, u64::try_from(TIMEOUT).unwrap());
}
