//! A route of a result, as far as this plugin uses it.

use serde_json::{Map, Value};
use sriov_host::netlink::Route;

/// Scope of a route without gateway (`RT_SCOPE_LINK`, include/uapi/linux/rtnetlink.h).
pub(super) const SCOPE_LINK: u8 = 253;

/// Reads a route; `None` when it is not one.
pub(super) fn read_route(route: &Map<String, Value>) -> Option<Route> {
    let number = |key: &str| {
        route
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|number| u32::try_from(number).ok())
    };
    let gw = route
        .get("gw")
        .and_then(Value::as_str)
        .filter(|gw| !gw.is_empty());
    Some(Route {
        dst: route.get("dst")?.as_str()?.parse().ok()?,
        gw: gw.map(str::parse).transpose().ok()?,
        mtu: number("mtu").filter(|mtu| *mtu > 0),
        advmss: number("advmss").filter(|advmss| *advmss > 0),
        priority: number("priority"),
        table: number("table"),
        scope: number("scope").and_then(|scope| u8::try_from(scope).ok()),
    })
}
