//! The search against all possible choices, for every machine of up to 14 devices, and the number of its steps.

use super::*;

const POLICIES: [AllocationPolicy; 3] = [
    AllocationPolicy::Packed,
    AllocationPolicy::Spread,
    AllocationPolicy::DistinctPf,
];

/// Devices of a PF: those that must be included, and the free ones.
type Size = (usize, usize);
/// The PFs of a NUMA node.
type Node = Vec<Size>;

/// All lists of items in descending order whose weights sum up to `total`; the items are in ascending order of weight.
fn multisets<T: Clone>(items: &[(usize, T)], total: usize) -> Vec<Vec<T>> {
    if total == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (last, (weight, item)) in items.iter().enumerate() {
        if *weight > total {
            break;
        }
        for mut rest in multisets(&items[..=last], total - weight) {
            rest.push(item.clone());
            all.push(rest);
        }
    }
    all
}

/// Every machine with this number of devices, each once: the order of nodes and PFs makes no difference.
fn machines(devices: usize, most_must: usize) -> Vec<Vec<Node>> {
    let mut nodes: Vec<(usize, Node)> = Vec::new();
    let sizes: Vec<(usize, Size)> = (1..=devices)
        .flat_map(|size| (0..=size.min(most_must)).map(move |must| (size, (must, size - must))))
        .collect();
    for size in 1..=devices {
        nodes.extend(multisets(&sizes, size).into_iter().map(|node| (size, node)));
    }
    multisets(&nodes, devices)
}

fn groups(machine: &[Node]) -> Vec<Vec<Group>> {
    let mut rank = 0..;
    let mut group = |(must, free): &Size| Group {
        must: *must,
        free: rank.by_ref().take(*free).collect(),
    };
    let mut groups = |node: &Node| node.iter().map(&mut group).collect();
    machine.iter().map(&mut groups).collect()
}

/// The least nodes and cost for each number of devices.
type Least = Vec<(usize, Cost)>;

/// A choice for the first groups of a machine: the last node that it uses, and nodes, devices and cost so far.
#[derive(Clone, Copy, Default)]
struct Partial {
    last: Option<usize>,
    nodes: usize,
    taken: usize,
    cost: Cost,
}

/// Tries all possible choices for the other groups. Of equal PFs of one node, the first has the most chosen devices.
fn try_all(
    groups: &[(usize, &Group)],
    policy: AllocationPolicy,
    most: usize,
    partial: Partial,
    least: &mut Least,
) {
    let Some(((node, group), rest)) = groups.split_first() else {
        let best = &mut least[partial.taken];
        *best = (*best).min((partial.nodes, partial.cost));
        return;
    };
    for taken in 0..=most.min(group.free.len()) {
        let mut partial = partial;
        partial.taken += taken;
        partial.cost += Cost::of(policy, group, taken);
        if group.must + taken > 0 && partial.last != Some(*node) {
            (partial.last, partial.nodes) = (Some(*node), partial.nodes + 1);
        }
        let is_equal = |(other, next): &(usize, &Group)| {
            other == node && (next.must, next.free.len()) == (group.must, group.free.len())
        };
        let is_limited = rest.first().is_some_and(is_equal);
        let most = if is_limited { taken } else { usize::MAX };
        try_all(rest, policy, most, partial, least);
    }
}

/// The search for the largest number holds the best choice for each smaller one.
fn check(machine: &[Node]) {
    let groups = groups(machine);
    let all = groups.iter().enumerate();
    let all = all.flat_map(|(node, groups)| groups.iter().map(move |group| (node, group)));
    let all: Vec<(usize, &Group)> = all.collect();
    let free: usize = all.iter().map(|(_, group)| group.free.len()).sum();
    for policy in POLICIES {
        let mut least = vec![(usize::MAX, Cost::default()); free + 1];
        try_all(&all, policy, usize::MAX, Partial::default(), &mut least);
        let mut search = Search::new(free, policy);
        for node in &groups {
            search.add_node(node.iter().cloned());
        }
        let mut found = vec![None; free + 1];
        for ((nodes, count), (cost, _)) in search.best.iter().rev() {
            found[*count] = Some((*nodes, *cost));
        }
        let least: Vec<_> = least.into_iter().map(Some).collect();
        assert_eq!(found, least, "{policy:?} {machine:?}");
    }
}

#[test]
fn no_choice_is_better_on_any_machine_of_14_devices() {
    let mut checked = 0;
    for devices in 1..=14 {
        let machines = machines(devices, 0);
        checked += machines.len();
        for machine in &machines {
            check(machine);
        }
    }
    // Number of multisets of multisets (OEIS A001970).
    assert_eq!(checked, 21_070);
}

#[test]
fn no_choice_is_better_whichever_devices_must_be_included() {
    let mut checked = 0;
    for devices in 1..=7 {
        let machines = machines(devices, devices);
        checked += machines.len();
        for machine in &machines {
            check(machine);
        }
    }
    assert_eq!(checked, 4_833);
}

/// Steps for some nodes, each with as many PFs and as many VFs of each.
fn steps(nodes: usize, pfs: usize, vfs: usize, wanted: usize) -> usize {
    let machine = vec![vec![(0, vfs); pfs]; nodes];
    let mut search = Search::new(wanted, AllocationPolicy::Spread);
    for node in groups(&machine) {
        search.add_node(node.into_iter());
    }
    let steps = search.steps;
    assert_eq!(search.into_best().unwrap().len(), wanted);
    steps
}

#[test]
fn steps_are_a_polynomial_of_nodes_and_devices() {
    for (nodes, pfs, vfs, wanted) in [
        (1, 2, 7, 1),
        (2, 4, 32, 8),
        (8, 4, 8, 16),
        (16, 4, 16, 16),
        (32, 2, 16, 16),
        (8, 2, 128, 4),
    ] {
        let steps = steps(nodes, pfs, vfs, wanted);
        let free = nodes * pfs * vfs;
        let limit = 2 * (nodes + 1) * (wanted + 1) * (free + nodes * pfs);
        assert!(
            steps <= limit,
            "{nodes} nodes: {steps} steps, at most {limit}"
        );
    }
}

#[test]
fn lowest_ids_are_taken_of_equal_choices() {
    let mut ranks = [Ranks::default(), Ranks::default()];
    for (ranks, list) in ranks.iter_mut().zip([[0, 64, 130], [0, 65, 129]]) {
        for rank in list {
            ranks.insert(rank);
        }
        assert_eq!(ranks.to_list(), list);
    }
    let mut best = BTreeMap::from([((), (Cost(1, 1), ranks[1].clone()))]);
    keep_better(&mut best, (), Cost(1, 1), &ranks[0]);
    assert_eq!(best[&()].1, ranks[0]);
    keep_better(&mut best, (), Cost(1, 1), &ranks[1]);
    assert_eq!(best[&()].1, ranks[0]);
    keep_better(&mut best, (), Cost(1, 0), &ranks[1]);
    assert_eq!(best[&()].1, ranks[1]);
}
