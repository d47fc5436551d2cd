//! Claims on a constructed machine: what is written, what is refused, and calls that were interrupted anywhere.

mod killed;
mod machine;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;
use sriov_host::sysfs;
use sriov_inventory::owners::{ClaimHolder, Holder, PodDevices, PodHolder};
use sriov_inventory::unhealthy::Unhealthy;

use self::machine::{Machine, POD, UID, VFS, object, reference};
use super::*;

const SPECIFICATION: &str = "cdi/virtfn-claim_11111111-2222-3333-4444-555555555555.json";

#[tokio::test]
async fn claim_is_prepared_repeated_and_unprepared() {
    let config = json!({ "network": "market-data", "ifName": "md0", "env": { "FEED": "a" } });
    let (mut machine, claim) = Machine::with_claim(&config);
    let prepared = machine.preparer.prepare(&claim).await.unwrap();
    assert_eq!(
        prepared[0],
        PreparedDevice {
            request: "vf-0".into(),
            pool: "node-1".into(),
            device: "0000-01-10-0".into(),
            cdi_name: format!("sriov.virtfn.dev/claim={UID}-0000-01-10-0"),
        }
    );
    let metadata = format!("plugins/sriov.virtfn.dev/dra-device-metadata/{UID}");
    let expected = [
        SPECIFICATION.to_owned(),
        format!("cni/claims/{POD}.json"),
        "devinfo/dp/example.com-vf-0000:01:10.0-device.json".to_owned(),
        "devinfo/dp/example.com-vf-0000:01:10.2-device.json".to_owned(),
        format!("plugins/sriov.virtfn.dev/claims/{UID}.json"),
        format!("{metadata}/vf-0/metadata.json"),
        format!("{metadata}/vf-1/metadata.json"),
    ];
    let files = machine.files();
    assert_eq!(files, expected.into_iter().map(PathBuf::from).collect());
    let handed = machine.read(&format!("cni/claims/{POD}.json"));
    assert_eq!(
        handed["devices"][0]["network"],
        json!({ "namespace": "trading", "name": "market-data" })
    );
    assert_eq!(handed["devices"][0]["ifname"], "md0");
    assert_eq!(handed["devices"][1]["pci_address"], VFS[1]);
    let edits = &machine.read(SPECIFICATION)["devices"][0]["containerEdits"];
    let env: Vec<&str> = edits["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap())
        .collect();
    assert!(
        env.contains(&"PCIDEVICE_EXAMPLE_COM_VF=0000:01:10.0,0000:01:10.2"),
        "{env:?}"
    );
    assert!(
        env.contains(&"SRIOV_REQUEST_VF_0=0000:01:10.0") && env.contains(&"FEED=a"),
        "{env:?}"
    );
    let mount = &edits["mounts"][0];
    assert_eq!(
        mount["containerPath"],
        "/var/run/kubernetes.io/dra-device-attributes/resourceclaims/both/vf-0/sriov.virtfn.dev-metadata.json"
    );
    assert_eq!(
        mount["hostPath"],
        json!(
            machine
                .dir
                .path()
                .join(&metadata)
                .join("vf-0/metadata.json")
        )
    );

    // The second call needs no API server.
    machine.preparer.source.0 = None;
    assert_eq!(machine.preparer.prepare(&claim).await.unwrap(), prepared);
    assert_eq!(machine.files(), files);
    machine.preparer.unprepare(&claim).await.unwrap();
    assert!(machine.files().is_empty(), "{:?}", machine.files());
    machine.preparer.unprepare(&claim).await.unwrap();
}

#[tokio::test]
async fn claim_of_the_go_driver_gets_its_vhost_nodes() {
    let mut claim = object("both", UID, &VFS, &json!({}));
    let parameters =
        &mut claim["status"]["allocation"]["devices"]["config"][0]["opaque"]["parameters"];
    *parameters = json!({
        "apiVersion": "sriovnetwork.k8snetworkplumbingwg.io/v1alpha1", "kind": "VfConfig",
        "addVhostMount": true, "netAttachDefName": "market-data",
    });
    let mut machine = Machine::new(vec![claim]);
    let claim = reference("both", UID);
    machine.check_refused(&claim, "the parameters have mistakes: status.allocation.devices.config[0].opaque.parameters.apiVersion: these are parameters of dra-driver-sriov, which are accepted with --sriovnetwork-names=true").await;
    machine.preparer.paths.has_sriovnetwork_names = true;
    machine.preparer.prepare(&claim).await.unwrap();
    let edits =
        |device: usize| machine.read(SPECIFICATION)["devices"][device]["containerEdits"].clone();
    let nodes = json!([
        { "path": "/dev/vhost-net", "permissions": "rw" },
        { "path": "/dev/net/tun", "permissions": "rw" },
    ]);
    let (first, second) = (edits(0), edits(1));
    assert_eq!(first["deviceNodes"], nodes);
    assert_eq!(second["deviceNodes"], json!(null));
    let env = first["env"].to_string();
    for part in [
        "SRIOVNETWORK_NET_ATTACH_DEF_NAME=market-data",
        "SRIOVNETWORK_PCI_ADDRESSES=0000:01:10.0,0000:01:10.2",
        r#"\"vhost\":{\"net-mount\":\"/dev/vhost-net\""#,
    ] {
        assert!(env.contains(part), "{part}: {env}");
    }
    // A restart of the driver, or of the node, gives the same.
    fs::remove_file(machine.dir.path().join(SPECIFICATION)).unwrap();
    machine.preparer.restore().await;
    assert_eq!(edits(0), first);
}

#[tokio::test]
async fn files_that_a_reboot_removed_are_restored() {
    let (machine, claim) = Machine::with_claim(&json!({}));
    machine.preparer.prepare(&claim).await.unwrap();
    let files = machine.files();
    for dir in ["cdi", "devinfo"] {
        fs::remove_dir_all(machine.dir.path().join(dir)).unwrap();
    }
    machine.preparer.restore().await;
    assert_eq!(machine.files(), files);
}

#[tokio::test]
async fn two_claims_of_a_pod_are_released_one_by_one() {
    let claims = [("a", "uid-a"), ("b", "uid-b")];
    let objects = claims
        .iter()
        .zip(VFS)
        .map(|((name, uid), vf)| object(name, uid, &[vf], &json!({})));
    let machine = Machine::new(objects.collect());
    let claims = claims.map(|(name, uid)| reference(name, uid));
    machine.preparer.prepare(&claims[0]).await.unwrap();
    let one = machine.files();
    machine.preparer.prepare(&claims[1]).await.unwrap();
    let handed = machine.read(&format!("cni/claims/{POD}.json"));
    assert_eq!(handed["devices"].as_array().unwrap().len(), 2);
    machine.preparer.unprepare(&claims[1]).await.unwrap();
    assert_eq!(machine.files(), one);
    machine.preparer.unprepare(&claims[0]).await.unwrap();
    assert!(machine.files().is_empty());
}

#[tokio::test]
async fn device_that_somebody_holds_is_refused_with_its_holder() {
    let (machine, claim) = Machine::with_claim(&json!({}));
    let pod = Holder::from(PodHolder {
        resource: "example.com/vf".into(),
        namespace: "default".into(),
        pod: "old".into(),
        container: "app".into(),
    });
    let own = Holder::from(ClaimHolder {
        resource: "sriov.virtfn.dev".into(),
        namespace: "trading".into(),
        name: "both".into(),
        uid: String::new(),
    });
    let holders = [
        (VFS[0].parse().unwrap(), vec![own]),
        (VFS[1].parse().unwrap(), vec![pod]),
    ];
    let owners = Owners {
        pods: Some(PodDevices {
            holders: holders.into(),
            allocatable: None,
        }),
        ..Owners::default()
    };
    machine.send_owners.send_replace(Arc::new(owners));
    machine
        .check_refused(&claim, "device `0000-01-10-2` is held by default/old/app")
        .await;
    // Another claim, as the files on disk show it.
    machine.send_owners.send_replace(Arc::default());
    let other = json!([
        object("other", "uid-o", &VFS[..1], &json!({})),
        object("both", UID, &VFS, &json!({}))
    ]);
    let machine = Machine::new(serde_json::from_value(other).unwrap());
    machine
        .preparer
        .prepare(&reference("other", "uid-o"))
        .await
        .unwrap();
    machine
        .check_refused(
            &claim,
            "device `0000-01-10-0` is held by claim trading/other",
        )
        .await;
}

#[tokio::test]
async fn device_that_no_pod_could_use_is_refused() {
    let (machine, claim) = Machine::with_claim(&json!({}));
    machine.send_pools.send_modify(|pools| {
        let pool = &mut Arc::make_mut(pools).pools[0];
        pool.unhealthy
            .insert(VFS[1].parse().unwrap(), Unhealthy::PfDown("eth0".into()));
        Arc::make_mut(&mut pool.devices).remove(0);
    });
    machine.check_refused(&claim, "device `0000-01-10-0` is in no pool that this driver publishes; device `0000-01-10-2`: its PF `eth0` is down").await;
    machine
        .check_refused(
            &reference("none", "u"),
            "the claim `trading/none` does not exist",
        )
        .await;
    let (machine, claim) = Machine::with_claim(&json!({}));
    let vf = VFS[1].parse().unwrap();
    fs::remove_dir_all(sysfs::device_path(&machine.preparer.paths.host, vf)).unwrap();
    machine
        .check_refused(&claim, "device `0000:01:10.2` is gone")
        .await;
}

/// Directories that cannot be made, one for each step that writes below it.
const BLOCKED: [&str; 4] = [
    "cni/claims",
    "devinfo",
    "plugins/sriov.virtfn.dev/dra-device-metadata",
    "cdi",
];

fn state(machine: &Machine) -> ClaimState {
    let paths = &machine.preparer.paths;
    let object: ResourceClaim =
        serde_json::from_value(object("both", UID, &VFS, &json!({}))).unwrap();
    let claim = paths.read_claim(&object, &reference("both", UID)).unwrap();
    let pools = machine.preparer.pools.borrow().clone();
    let node = Node {
        name: &paths.node,
        pools: &pools,
        owners: &Owners::default(),
        drivers: &BTreeMap::new(),
        has_sriovnetwork_names: false,
    };
    plan(&claim, &node).unwrap()
}

#[tokio::test]
async fn call_that_ended_at_any_step_is_continued_or_undone() {
    let (complete, claim) = Machine::with_claim(&json!({}));
    let answer = complete.preparer.prepare(&claim).await.unwrap();
    for blocked in BLOCKED {
        for is_continued in [true, false] {
            let (machine, claim) = Machine::with_claim(&json!({}));
            let (paths, pools) = (
                &machine.preparer.paths,
                machine.preparer.pools.borrow().clone(),
            );
            let blocker = machine.dir.path().join(blocked);
            fs::create_dir_all(blocker.parent().unwrap()).unwrap();
            fs::write(&blocker, "").unwrap();
            // As if it had been killed: nobody undoes it.
            steps::prepare(paths, &mut state(&machine), &pools).unwrap_err();
            assert!(paths.state().read(UID).unwrap().is_some(), "{blocked}");
            fs::remove_file(&blocker).unwrap();
            if is_continued {
                assert_eq!(
                    machine.preparer.prepare(&claim).await.unwrap(),
                    answer,
                    "{blocked}"
                );
                assert_eq!(machine.files(), complete.files(), "{blocked}");
            }
            machine.preparer.unprepare(&claim).await.unwrap();
            assert!(
                machine.files().is_empty(),
                "{blocked}: {:?}",
                machine.files()
            );
        }
    }
}

#[tokio::test]
async fn failed_step_leaves_nothing() {
    for blocked in &BLOCKED[1..] {
        let (machine, claim) = Machine::with_claim(&json!({}));
        let blocker = machine.dir.path().join(blocked);
        fs::create_dir_all(blocker.parent().unwrap()).unwrap();
        fs::write(&blocker, "").unwrap();
        let before = machine.files();
        let error = machine.preparer.prepare(&claim).await.unwrap_err();
        assert!(chain(&error).contains("cannot write"), "{}", chain(&error));
        let left: BTreeSet<_> = machine.files().difference(&before).cloned().collect();
        // A directory that is a file cannot be removed from either: the claim stays recorded then.
        let is_recorded = machine.preparer.paths.state().read(UID).unwrap().is_some();
        assert_eq!(left.is_empty(), !is_recorded, "{blocked}: {left:?}");
    }
}

fn attach(machine: &Machine, vf: &str, phase: &str) {
    let incarnation =
        sysfs::incarnation(&machine.preparer.paths.host, vf.parse().unwrap()).unwrap();
    let saved = json!({
        "version": 1, "phase": phase, "boot_id": "b", "incarnation": incarnation, "network": "trading", "container_id": "c1",
        "ifname": "net1", "netns": { "path": "/run/netns/p" }, "pf": "0000:01:00.0", "vf": 0,
    });
    fs::create_dir_all(&machine.preparer.paths.cni_dir).unwrap();
    fs::write(
        machine.preparer.paths.cni_dir.join(format!("{vf}.json")),
        saved.to_string(),
    )
    .unwrap();
}

fn cni_plugin(machine: &Machine, script: &str) {
    let path = &machine.preparer.paths.cni_plugin;
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let journal = machine.preparer.paths.cni_dir.display();
    fs::write(
        path,
        format!("#!/bin/sh\nread -r config\njournal={journal}\n{script}\n"),
    )
    .unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn missed_del_is_made_up_before_the_claim_is_released() {
    let (machine, claim) = Machine::with_claim(&json!({}));
    machine.preparer.prepare(&claim).await.unwrap();
    attach(&machine, VFS[1], "attached");
    let held = machine.files();
    // Without the program, with an error of it, and with a success that changes nothing.
    let names = "VF 0000:01:10.2 is still attached to container `c1` as `net1`: ";
    for (script, reason) in [
        (None, "cannot run the CNI plugin"),
        (
            Some(r#"echo '{"code":11,"msg":"VF is locked","details":"by another call"}'; exit 1"#),
            "the CNI plugin failed: VF is locked: by another call",
        ),
        (Some("exit 1"), "the CNI plugin failed: it wrote no error"),
        (
            Some("exit 0"),
            "the CNI plugin succeeded, and its journal still has the VF",
        ),
    ] {
        if let Some(script) = script {
            cni_plugin(&machine, script);
        }
        let error = chain(&machine.preparer.unprepare(&claim).await.unwrap_err());
        assert!(error.starts_with(&format!("{names}{reason}")), "{error}");
        assert_eq!(machine.files(), held);
    }
    let checks = r#"test "$CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME" = "DEL c1 /run/netns/p net1" || exit 1
case $config in *'"name":"trading"'*) rm "$journal/0000:01:10.2.json";; esac"#;
    cni_plugin(&machine, checks);
    machine.preparer.unprepare(&claim).await.unwrap();
    assert!(machine.files().is_empty(), "{:?}", machine.files());
}

#[tokio::test]
async fn vf_that_is_free_in_the_journal_needs_no_del() {
    for phase in ["released", "attached"] {
        let (machine, claim) = Machine::with_claim(&json!({}));
        machine.preparer.prepare(&claim).await.unwrap();
        attach(&machine, VFS[0], phase);
        if phase == "attached" {
            // The VF was made again: its attachment is of the former one.
            let file = machine
                .preparer
                .paths
                .cni_dir
                .join(format!("{}.json", VFS[0]));
            let text = fs::read_to_string(&file).unwrap();
            fs::write(&file, text.replace("\"incarnation\":", "\"incarnation\":9")).unwrap();
        }
        machine.preparer.unprepare(&claim).await.unwrap();
    }
}

#[tokio::test]
async fn unreadable_journal_keeps_the_claim() {
    let (machine, claim) = Machine::with_claim(&json!({}));
    machine.preparer.prepare(&claim).await.unwrap();
    let file = machine
        .preparer
        .paths
        .cni_dir
        .join(format!("{}.json", VFS[0]));
    fs::write(file, "{\"phase\":").unwrap();
    let error = chain(&machine.preparer.unprepare(&claim).await.unwrap_err());
    assert!(
        error.starts_with("cannot read the CNI plugin's journal of VF 0000:01:10.0"),
        "{error}"
    );
}
