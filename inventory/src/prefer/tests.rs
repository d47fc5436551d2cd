//! Named cases, and each policy against all possible choices.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::pool::Pf;

const POLICIES: [AllocationPolicy; 3] = [
    AllocationPolicy::Packed,
    AllocationPolicy::Spread,
    AllocationPolicy::DistinctPf,
];

fn device(address: &str, numa_node: Option<u32>, pf: &str) -> PoolDevice {
    PoolDevice {
        numa_node,
        pf: Some(Arc::new(Pf::example(pf.parse().unwrap()))),
        ..PoolDevice::example(address.parse().unwrap())
    }
}

/// Two PFs with three and one VF on node 0, one PF with two on node 1.
fn devices() -> Vec<PoolDevice> {
    vec![
        device("0000:01:10.0", Some(0), "0000:01:00.0"),
        device("0000:01:10.2", Some(0), "0000:01:00.0"),
        device("0000:01:10.4", Some(0), "0000:01:00.0"),
        device("0000:02:10.0", Some(0), "0000:02:00.0"),
        device("0000:03:10.0", Some(1), "0000:03:00.0"),
        device("0000:03:10.2", Some(1), "0000:03:00.0"),
    ]
}

fn check(policy: AllocationPolicy, must: &[&str], size: usize, expected: &[&str]) {
    let long = |ids: &[&str]| {
        ids.iter()
            .map(|id| format!("0000:{id}"))
            .collect::<Vec<_>>()
    };
    let all: Vec<String> = devices()
        .iter()
        .map(|device| device.id.to_string())
        .collect();
    assert_eq!(
        prefer(&devices(), &all, &long(must), size, policy),
        long(expected),
        "{policy:?} {must:?} {size}"
    );
}

#[test]
fn packed_leaves_few_devices_over_and_stays_on_its_pf() {
    let packed = AllocationPolicy::Packed;
    check(packed, &[], 0, &[]);
    check(packed, &[], 1, &["02:10.0"]);
    check(packed, &[], 2, &["03:10.0", "03:10.2"]);
    check(packed, &[], 3, &["01:10.0", "01:10.2", "01:10.4"]);
    check(packed, &["02:10.0"], 2, &["01:10.0", "02:10.0"]);
    check(packed, &["01:10.4"], 2, &["01:10.0", "01:10.4"]);
    check(
        packed,
        &[],
        9,
        &[
            "01:10.0", "01:10.2", "01:10.4", "02:10.0", "03:10.0", "03:10.2",
        ],
    );
}

#[test]
fn spread_takes_the_least_used_pf_first() {
    let spread = AllocationPolicy::Spread;
    check(spread, &[], 1, &["01:10.0"]);
    check(spread, &[], 2, &["01:10.0", "02:10.0"]);
    check(spread, &[], 3, &["01:10.0", "01:10.2", "02:10.0"]);
    check(spread, &["01:10.4"], 2, &["01:10.4", "02:10.0"]);
}

#[test]
fn distinct_pf_prefers_two_pfs_of_one_node() {
    let distinct = AllocationPolicy::DistinctPf;
    check(distinct, &[], 2, &["01:10.0", "02:10.0"]);
    check(distinct, &["03:10.2"], 2, &["03:10.0", "03:10.2"]);
    check(distinct, &[], 1, &["02:10.0"]);
}

#[test]
fn pfs_in_a_pool_count_as_distinct() {
    let mut pfs = vec![
        device("0000:01:00.0", Some(0), "0000:01:00.0"),
        device("0000:02:00.0", Some(0), "0000:01:00.0"),
    ];
    for device in &mut pfs {
        device.pf = None;
    }
    let ids = ["0000:01:00.0", "0000:02:00.0"].map(str::to_owned);
    assert_eq!(
        prefer(&pfs, &ids, &[], 2, AllocationPolicy::DistinctPf),
        ids
    );
}

/// The cost of a choice: NUMA nodes first, then the measure of the policy.
fn badness(chosen: &[&PoolDevice], policy: AllocationPolicy) -> (usize, i64) {
    let nodes: BTreeSet<_> = chosen.iter().map(|device| device.numa_node).collect();
    let mut pfs: BTreeMap<_, i64> = BTreeMap::new();
    for device in chosen {
        *pfs.entry((device.numa_node, device.pf_address()))
            .or_default() += 1;
    }
    let count = i64::try_from(pfs.len()).unwrap();
    let worse = match policy {
        AllocationPolicy::Packed => count,
        AllocationPolicy::Spread => pfs.values().map(|count| count * count).sum(),
        AllocationPolicy::DistinctPf => -count,
    };
    (nodes.len(), worse)
}

proptest! {
    #[test]
    fn no_other_choice_is_better(
        places in prop::collection::vec((prop::option::of(0_u32..3), 0_u8..4, 0_u8..4), 1..=14),
        size in 0_usize..16,
        seed in any::<u64>(),
    ) {
        let devices: Vec<PoolDevice> = places
            .iter()
            .enumerate()
            .map(|(number, (node, pf, _))| device(&format!("0000:09:{number:02x}.0"), *node, &format!("0000:0{pf}:00.0")))
            .collect();
        let id = |device: &PoolDevice| device.id.to_string();
        let all: Vec<String> = devices.iter().map(id).collect();
        let wanted = size.min(devices.len());
        let must: Vec<String> = devices.iter().zip(&places).filter(|(_, (_, _, must))| *must == 0).map(|(device, _)| id(device)).take(wanted).collect();
        for policy in POLICIES {
            let chosen = prefer(&devices, &all, &must, size, policy);
            prop_assert_eq!(chosen.len(), wanted);
            prop_assert!(chosen.is_sorted() && must.iter().all(|id| chosen.contains(id)));
            let mut shuffled = all.clone();
            shuffled.rotate_left(usize::try_from(seed % 14).unwrap() % all.len());
            prop_assert_eq!(&prefer(&devices, &shuffled, &must, size, policy), &chosen);
            let of = |ids: &[String]| devices.iter().filter(|device| ids.contains(&id(device))).collect::<Vec<_>>();
            let ours = badness(&of(&chosen), policy);
            for set in 0_u32..1 << devices.len() {
                if set.count_ones() != u32::try_from(wanted).unwrap() {
                    continue;
                }
                let others: Vec<&PoolDevice> = devices.iter().enumerate().filter(|(number, _)| set & (1 << number) != 0).map(|(_, device)| device).collect();
                if must.iter().all(|must| others.iter().any(|other| id(other) == *must)) {
                    let best = badness(&others, policy);
                    prop_assert!(ours <= best, "{:?}: {:?} is {:?}, {:?} is {:?}", policy, chosen, ours, others, best);
                }
            }
        }
    }
}
