//! Health by the link of the PF: ports, representors, management devices, InfiniBand.

use super::*;

#[test]
fn pf_health_states_what_vfs_need_of_their_pf() {
    for needs in ["up", "ignore"] {
        for (is_up, carrier) in [(false, None), (true, Some(false))] {
            let mut case = Case::new();
            let config = case.config.replace(
                r#""selectors""#,
                &format!(r#""pfHealth": "{needs}", "selectors""#),
            );
            case.config = config.leak();
            case.pf().netdevs[0].is_up = Some(is_up);
            case.pf().netdevs[0].carrier = carrier;
            let is_unhealthy = needs == "up" && !is_up;
            let pools = case.judged().pools;
            assert_eq!(pools[0].unhealthy.len(), if is_unhealthy { 3 } else { 0 });
            assert_eq!(pools[2].unhealthy.len(), usize::from(is_unhealthy));
        }
    }
}

#[test]
fn one_usable_port_is_enough_and_representors_do_not_count() {
    let mut case = Case::new();
    case.port("pf0b", None);
    case.pf().netdevs[0].carrier = Some(false);
    assert!(case.judged().pools[0].unhealthy.is_empty());
    case.pf().netdevs[1].is_up = Some(false);
    let reasons: Vec<_> = case.judged().pools[0].unhealthy.values().cloned().collect();
    assert_eq!(
        reasons,
        vec![Unhealthy::PfWithoutCarrier("pf0".to_owned()); 3]
    );

    let mut case = Case::new();
    case.pf().netdevs.clear();
    case.port("eth4", Some("pf0vf0"));
    case.port("eth5", Some("p0"));
    case.pf().netdevs[0].is_up = Some(false);
    assert!(case.judged().pools[0].unhealthy.is_empty());
    case.pf().netdevs[1].is_up = Some(false);
    let reasons: Vec<_> = case.judged().pools[0].unhealthy.values().cloned().collect();
    assert_eq!(reasons, vec![Unhealthy::PfDown("eth5".to_owned()); 3]);
}

#[test]
fn infiniband_follows_the_rdma_port_and_not_ipoib() {
    for (is_active, expected) in [(true, 0), (false, 3)] {
        let mut case = Case::new();
        case.pf().netdevs[0].is_up = Some(false);
        case.pf().rdma = vec!["mlx5_0".to_owned()];
        case.pf().rdma_link = Some(RdmaLink::Infiniband { is_active });
        let unhealthy = &case.judged().pools[0].unhealthy;
        assert_eq!(unhealthy.len(), expected);
        for why in unhealthy.values() {
            assert_eq!(*why, Unhealthy::PfWithoutCarrier("mlx5_0".to_owned()));
        }
    }
}

/// Chelsio: VFs are below functions that have a management device and no port.
#[test]
fn management_device_that_is_down_does_not_matter() {
    let mut case = Case::new();
    case.pf().netdevs[0].link_type = LinkType::from_arphrd(0xfffe);
    case.pf().netdevs[0].is_up = Some(false);
    let pools = case.judged().pools;
    assert!(pools[0].unhealthy.is_empty(), "{:?}", pools[0].unhealthy);
    assert_eq!(pools[0].devices[0].link_type, Some(LinkType::Ether));
    let name = pools[0].devices[0]
        .pf
        .as_ref()
        .and_then(|pf| pf.name.clone());
    assert_eq!(name.unwrap().as_str(), "pf0");
}
