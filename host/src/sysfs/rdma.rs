//! The ports of the RDMA devices of a function: link layer and state, which exist with and without `IPoIB`.

use super::attribute::{AttributeError, Device};
use crate::snapshot::RdmaLink;

/// The link of the RDMA devices of a function; absent without ports.
///
/// One active port is enough. The texts are those of drivers/infiniband/core/sysfs.c, `state_show` and `link_layer_show`.
pub(super) fn link(device: &Device, rdma: &[String]) -> Result<Option<RdmaLink>, AttributeError> {
    let mut found = None;
    for name in rdma {
        let ports = format!("infiniband/{name}/ports");
        for port in device.sorted(&ports)? {
            match device
                .text(format!("{ports}/{port}/link_layer"))?
                .as_deref()
            {
                Some("InfiniBand") => {
                    let state = device.text(format!("{ports}/{port}/state"))?;
                    // `4: ACTIVE`; `5: ACTIVE_DEFER` is a port that lost its link for a moment.
                    let is_active = state.is_none_or(|state| state.starts_with(['4', '5']));
                    if is_active {
                        return Ok(Some(RdmaLink::Infiniband { is_active }));
                    }
                    found = Some(RdmaLink::Infiniband { is_active });
                }
                Some("Ethernet") => found = found.or(Some(RdmaLink::Ethernet)),
                Some(_) | None => {}
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn check(ports: &[(&str, &str, &str)], expected: Option<RdmaLink>) {
        let dir = tempfile::tempdir().unwrap();
        for (port, layer, state) in ports {
            let port = dir.path().join("infiniband/mlx5_0/ports").join(port);
            fs::create_dir_all(&port).unwrap();
            fs::write(port.join("link_layer"), format!("{layer}\n")).unwrap();
            if !state.is_empty() {
                fs::write(port.join("state"), format!("{state}\n")).unwrap();
            }
        }
        let device = Device::new(dir.path().to_owned());
        assert_eq!(link(&device, &["mlx5_0".to_owned()]).unwrap(), expected);
    }

    #[test]
    fn link_layer_and_state_are_those_of_the_best_port() {
        let infiniband = |is_active| Some(RdmaLink::Infiniband { is_active });
        check(&[], None);
        check(&[("1", "Ethernet", "1: DOWN")], Some(RdmaLink::Ethernet));
        check(&[("1", "InfiniBand", "4: ACTIVE")], infiniband(true));
        check(&[("1", "InfiniBand", "2: INIT")], infiniband(false));
        check(&[("1", "InfiniBand", "")], infiniband(true));
        check(
            &[
                ("1", "InfiniBand", "1: DOWN"),
                ("2", "InfiniBand", "4: ACTIVE"),
            ],
            infiniband(true),
        );
        check(
            &[
                ("1", "Ethernet", "4: ACTIVE"),
                ("2", "InfiniBand", "1: DOWN"),
            ],
            infiniband(false),
        );
    }
}
