//! Restorations at the PF.

use sriov_host::Guid;
use sriov_host::vf::VfRate;
use sriov_host::vlan::Vlan;

use super::*;
use crate::model::{SavedLink, examples};

fn plan(
    touched: &[VfChange],
    baseline: &Baseline,
    now: &VfSettings,
    pf_driver: &str,
) -> SettingsPlan {
    plan_settings(touched, baseline, now, &Driver::new(pf_driver))
}

#[test]
fn restored_guid_needs_a_rebind_of_the_driver() {
    let guid = Guid::from_number(7);
    let was = Guid::from_number(9);
    let settings = VfSettings {
        node_guid: Some(was),
        port_guid: Some(was),
        ..VfSettings::default()
    };
    let baseline = Baseline {
        settings: Some(settings),
        ..Baseline::default()
    };
    let touched = [VfChange::NodeGuid(guid), VfChange::PortGuid(guid)];
    let planned = plan(&touched, &baseline, &VfSettings::default(), "mlx5_core");
    assert_eq!(
        planned.before_link,
        [VfChange::PortGuid(was), VfChange::NodeGuid(was)]
    );
    assert!(planned.rebinds);
    // GUIDs that are restored already need no rebind.
    assert!(!plan(&touched, &baseline, &settings, "mlx5_core").rebinds);
}

#[test]
fn each_touched_setting_is_restored_and_no_other() {
    let own: MacAddr = "02:00:00:00:00:07".parse().unwrap();
    let settings = VfSettings {
        mac: Some(own),
        vlan: Some(Vlan::default()),
        spoofchk: Some(true),
        trust: Some(true),
        rate: Some(VfRate { min: 0, max: 50 }),
        ..VfSettings::default()
    };
    let link = SavedLink {
        mac: Some(own),
        ..examples::saved_link()
    };
    let baseline = Baseline {
        settings: Some(settings),
        link: Some(link),
        driver: None,
    };
    let vlan = Vlan {
        id: 100.try_into().unwrap(),
        ..Vlan::default()
    };
    let touched = [
        VfChange::Vlan(vlan),
        VfChange::Rate(VfRate { min: 10, max: 50 }),
        VfChange::Spoofchk(true),
        VfChange::Trust(false),
        VfChange::Mac("02:00:00:00:00:01".parse().unwrap()),
    ];
    let now = VfSettings {
        vlan: Some(vlan),
        spoofchk: Some(true),
        trust: Some(false),
        ..settings
    };
    assert_eq!(
        plan(&touched, &baseline, &now, "igb").before_link,
        [
            VfChange::Trust(true),
            VfChange::Vlan(Vlan::default()),
            VfChange::Mac(MacAddr::ZERO)
        ]
    );
    assert_eq!(
        plan(&[VfChange::Trust(false)], &baseline, &now, "igb").before_link,
        [VfChange::Trust(true)]
    );
    // A setting that was refused, and so is unchanged, is not set again.
    assert_eq!(
        plan(&[VfChange::Spoofchk(false)], &baseline, &now, "igb"),
        SettingsPlan::default()
    );
}

#[test]
fn unreported_setting_goes_back_to_the_driver_default() {
    let unreported = Baseline::default();
    let planned = plan(
        &[VfChange::Trust(true), VfChange::Spoofchk(false)],
        &unreported,
        &VfSettings::default(),
        "virtio",
    );
    assert_eq!(
        planned.before_link,
        [VfChange::Spoofchk(true), VfChange::Trust(false)]
    );
}

#[test]
fn address_that_an_operator_pinned_is_pinned_again() {
    let pinned: MacAddr = "02:00:00:00:00:09".parse().unwrap();
    let baseline = Baseline {
        settings: Some(VfSettings {
            mac: Some(pinned),
            ..VfSettings::default()
        }),
        ..Baseline::default()
    };
    let planned = plan(
        &[VfChange::Mac(MacAddr::ZERO)],
        &baseline,
        &VfSettings::default(),
        "igb",
    );
    assert_eq!(planned.before_link, [VfChange::Mac(MacAddr::ZERO)]);
    assert_eq!(planned.after_link, [VfChange::Mac(pinned)]);
    let planned = plan(
        &[VfChange::Mac(MacAddr::ZERO)],
        &baseline,
        &VfSettings::default(),
        "i40e",
    );
    assert_eq!(
        (planned.before_link, planned.after_link),
        (vec![VfChange::Mac(pinned)], vec![])
    );
}

/// A VF whose PF reports `admin`, with a network device that has `own`.
fn baseline_of(admin: Option<&str>, own: &str) -> Baseline {
    Baseline {
        settings: Some(VfSettings {
            mac: admin.map(|mac| mac.parse().unwrap()),
            ..VfSettings::default()
        }),
        link: Some(SavedLink {
            mac: Some(own.parse().unwrap()),
            ..examples::saved_link()
        }),
        driver: None,
    }
}

const OWN: &str = "02:00:00:00:00:07";
const OPERATORS: &str = "02:00:00:00:00:09";

#[test]
fn own_address_of_the_vf_is_not_set_at_the_pf() {
    let touched = [VfChange::Mac("02:00:00:00:00:01".parse().unwrap())];
    let mac = |text: &str| VfChange::Mac(text.parse().unwrap());
    let zero = VfChange::Mac(MacAddr::ZERO);
    for (admin, driver, restored, verified) in [
        (Some(OWN), "ice", zero, None),
        (Some(OWN), "i40e", zero, None),
        (Some(OWN), "bnxt_en", zero, None),
        // This driver reports nothing but what the PF has set.
        (Some(OWN), "mlx5_core", mac(OWN), Some(mac(OWN))),
        (Some(OPERATORS), "ice", mac(OPERATORS), Some(mac(OPERATORS))),
        // Nothing is known of the address, and nothing is compared.
        (None, "ice", zero, None),
        (Some("00:00:00:00:00:00"), "mlx5_core", zero, None),
    ] {
        let baseline = baseline_of(admin, OWN);
        let planned = plan(&touched, &baseline, &VfSettings::default(), driver);
        assert_eq!(planned.before_link, [restored], "{admin:?} {driver}");
        let wanted = settings_to_verify(&touched, &baseline, &Driver::new(driver));
        assert_eq!(wanted, Vec::from_iter(verified), "{admin:?} {driver}");
    }
}

#[test]
fn own_address_is_compared_where_the_vf_sets_it_again() {
    let touched = [VfChange::Mac("02:00:00:00:00:01".parse().unwrap())];
    for (admin, verified) in [
        (Some(OWN), Some(OWN)),
        (Some(OPERATORS), Some(OPERATORS)),
        (Some("00:00:00:00:00:00"), None),
        (None, None),
    ] {
        let baseline = baseline_of(admin, OWN);
        let wanted = settings_to_verify(&touched, &baseline, &Driver::new("igb"));
        let expected = verified.map(|mac| VfChange::Mac(mac.parse().unwrap()));
        assert_eq!(wanted, Vec::from_iter(expected), "{admin:?}");
    }
}
