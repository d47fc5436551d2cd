//! Finds the best number of devices of each PF, for each number of NUMA nodes and devices so far: dynamic programming.
//!
//! The cost of a choice is the sum of the costs of its PFs, so the best choice for some nodes extends the best choice for fewer of them.
//! The work is at most the number of nodes times the wanted devices times the free devices.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::AddAssign;

use sriov_config::resource_list::AllocationPolicy;

/// The devices of one PF on one NUMA node.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Number of those that must be included.
    pub(super) must: usize,
    /// Ranks of the other available ones among all available devices, in ascending order.
    pub(super) free: Vec<usize>,
}

/// The cost of a choice: the measure of the policy first, then the devices left over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost(pub(super) i64, pub(super) i64);

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
        self.1 += other.1;
    }
}

impl Cost {
    /// The cost of a group of which `taken` free devices are chosen.
    pub(super) fn of(policy: AllocationPolicy, group: &Group, taken: usize) -> Self {
        let (chosen, left) = (group.must + taken, group.free.len() - taken);
        if chosen == 0 {
            return Self::default();
        }
        match policy {
            // Few PFs; then those with the least left over.
            AllocationPolicy::Packed => Self(1, signed(left)),
            // Even numbers; then PFs with the most left over.
            AllocationPolicy::Spread => Self(signed(chosen * chosen), -signed(left)),
            // Many PFs; then those with the least left over.
            AllocationPolicy::DistinctPf => Self(-1, signed(left)),
        }
    }
}

/// A set of ranks, ordered so that of two sets of one size the one with the lower ranks is greater.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Ranks(Vec<u64>);

impl Ranks {
    fn insert(&mut self, rank: usize) {
        let word = rank / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(bits) = self.0.get_mut(word) {
            *bits |= 1 << (63 - rank % 64);
        }
    }

    fn to_list(&self) -> Vec<usize> {
        let words = self.0.iter().enumerate();
        let bits = words.flat_map(|(word, bits)| {
            let is_set = move |bit: &usize| bits & (1 << (63 - bit)) != 0;
            let bits = (0..64_usize).filter(is_set);
            bits.map(move |bit| word * 64 + bit)
        });
        bits.collect()
    }
}

/// Numbers of NUMA nodes and of chosen devices.
type Numbers = (usize, usize);

/// The search over the nodes so far.
#[derive(Debug)]
pub(super) struct Search {
    wanted: usize,
    policy: AllocationPolicy,
    best: BTreeMap<Numbers, (Cost, Ranks)>,
    /// Number of choices that were compared.
    pub(super) steps: usize,
}

impl Search {
    /// A search for `wanted` devices in addition to those that must be included.
    pub(super) fn new(wanted: usize, policy: AllocationPolicy) -> Self {
        let nothing = ((0, 0), (Cost::default(), Ranks::default()));
        Self {
            wanted,
            policy,
            best: BTreeMap::from([nothing]),
            steps: 0,
        }
    }

    /// Adds the PFs of one more NUMA node.
    pub(super) fn add_node(&mut self, groups: impl Iterator<Item = Group>) {
        let before = std::mem::take(&mut self.best);
        // Whether a device of this node is chosen, then the numbers.
        let unused = before
            .into_iter()
            .map(|(numbers, choice)| ((false, numbers), choice));
        let mut best: BTreeMap<(bool, Numbers), (Cost, Ranks)> = unused.collect();
        for group in groups {
            let mut extended = BTreeMap::new();
            for ((is_used, (nodes, count)), choice) in &best {
                let most = group.free.len().min(self.wanted - count);
                let mut ranks = choice.1.clone();
                for taken in 0..=most {
                    self.steps += 1;
                    let last = taken.checked_sub(1).and_then(|last| group.free.get(last));
                    if let Some(rank) = last {
                        ranks.insert(*rank);
                    }
                    let mut cost = choice.0;
                    cost += Cost::of(self.policy, &group, taken);
                    let is_used = *is_used || group.must + taken > 0;
                    keep_better(
                        &mut extended,
                        (is_used, (*nodes, count + taken)),
                        cost,
                        &ranks,
                    );
                }
            }
            best = extended;
        }
        for ((is_used, (nodes, count)), (cost, ranks)) in best {
            let numbers = (nodes + usize::from(is_used), count);
            keep_better(&mut self.best, numbers, cost, &ranks);
        }
    }

    /// The ranks of the best choice on as few nodes as possible.
    pub(super) fn into_best(self) -> Option<Vec<usize>> {
        let mut choices = self.best.iter();
        let (_, (_, ranks)) = choices.find(|((_, count), _)| *count == self.wanted)?;
        Some(ranks.to_list())
    }
}

/// Keeps a choice if it is better than the one with the same numbers: it costs less, or the same with lower ranks.
fn keep_better<K: Ord>(
    best: &mut BTreeMap<K, (Cost, Ranks)>,
    numbers: K,
    cost: Cost,
    ranks: &Ranks,
) {
    let now = best.get(&numbers);
    let is_better =
        |(least, lowest): &(Cost, Ranks)| (cost, Reverse(ranks)) < (*least, Reverse(lowest));
    if now.is_none_or(is_better) {
        best.insert(numbers, (cost, ranks.clone()));
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
