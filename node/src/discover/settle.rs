//! Holds a PF back as it was while its VFs are being created or removed, so that nobody is offered half of them. The caller passes the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sriov_host::PciAddress;
use sriov_host::snapshot::{HostSnapshot, SriovRole, Transition};

/// While the kernel creates or removes VFs, a PF counts as settled when its number of functions did not change for this long,
const UNFINISHED: Duration = Duration::from_secs(3);
/// and for this long when a VF was removed by itself: the next one of an unplugged card follows sooner.
const TORN: Duration = Duration::from_millis(700);

/// The PFs that are not settled: their number of functions, and since when it is so.
#[derive(Clone, Debug, Default)]
pub(super) struct Settling(BTreeMap<PciAddress, (usize, Instant)>);

impl Settling {
    /// The PFs to take from the snapshot before.
    pub(super) fn unsettled(
        &mut self,
        now: &HostSnapshot,
        before: &HostSnapshot,
        at: Instant,
    ) -> BTreeSet<PciAddress> {
        let mut past = std::mem::take(&mut self.0);
        let mut unsettled = BTreeSet::new();
        for (pf, transition) in &now.in_transition {
            let count = functions(now, *pf);
            let since = match past.remove(pf) {
                Some((then, since)) if then == count => since,
                Some(_) | None => at,
            };
            self.0.insert(*pf, (count, since));
            let patience = match transition {
                Transition::Unfinished => UNFINISHED,
                // No VFs were offered yet.
                Transition::Torn if before.function(*pf).is_none() => Duration::ZERO,
                Transition::Torn => TORN,
            };
            if at.saturating_duration_since(since) < patience {
                unsettled.insert(*pf);
            }
        }
        unsettled
    }
}

/// The number of functions of a PF, including itself.
fn functions(snapshot: &HostSnapshot, pf: PciAddress) -> usize {
    let is_of = |role: &SriovRole| matches!(role, SriovRole::Vf { pf: of, .. } if *of == pf);
    let functions = snapshot.functions.values();
    functions
        .filter(|function| function.address == pf || is_of(&function.role))
        .count()
}

#[cfg(test)]
mod tests {
    use sriov_host::snapshot::PciFunction;

    use super::*;

    const PF: &str = "0000:01:00.0";

    /// A PF with VFs: `functions` in all, none of them when the PF was removed.
    fn machine(functions: usize, transition: Option<Transition>) -> HostSnapshot {
        let pf: PciAddress = PF.parse().unwrap();
        let vf = |index: u8| format!("0000:01:10.{index}").parse().unwrap();
        let function = |index: u8| PciFunction {
            role: if index == 0 {
                SriovRole::None
            } else {
                SriovRole::Vf { pf, index: None }
            },
            ..PciFunction::example(if index == 0 { pf } else { vf(index) })
        };
        let all = (0..).take(functions).map(function);
        HostSnapshot {
            functions: all.map(|function| (function.address, function)).collect(),
            in_transition: transition.map(|how| (pf, how)).into_iter().collect(),
            ..HostSnapshot::default()
        }
    }

    /// Time in milliseconds, number of functions then, their transition, and whether the snapshot before is used instead.
    fn check(before: usize, steps: &[(u64, usize, Option<Transition>, bool)]) {
        let (before, start) = (machine(before, None), Instant::now());
        let mut settling = Settling::default();
        for (ms, functions, transition, is_held) in steps {
            let now = machine(*functions, *transition);
            let unsettled = settling.unsettled(&now, &before, start + Duration::from_millis(*ms));
            assert_eq!(!unsettled.is_empty(), *is_held, "after {ms} ms");
        }
    }

    #[test]
    fn a_settled_pf_is_taken_at_once() {
        check(4, &[(0, 4, None, false), (9, 2, None, false)]);
    }

    #[test]
    fn new_vfs_are_offered_after_three_seconds_without_change() {
        let unfinished = Some(Transition::Unfinished);
        check(
            1,
            &[
                (0, 2, unfinished, true),
                (2_900, 2, unfinished, true),
                (2_950, 3, unfinished, true),
                (5_900, 3, unfinished, true),
                (5_950, 3, unfinished, false),
                (9_000, 3, unfinished, false),
                (9_100, 4, unfinished, true),
                (9_200, 4, None, false),
                // A second transition starts again.
                (9_300, 4, unfinished, true),
            ],
        );
        // Also at the first scan.
        check(0, &[(0, 2, unfinished, true)]);
    }

    #[test]
    fn unplugged_card_is_removed_in_one_update() {
        let (torn, unfinished) = (Some(Transition::Torn), Some(Transition::Unfinished));
        check(
            4,
            &[
                (0, 3, torn, true),
                (600, 2, torn, true),
                (1_200, 1, torn, true),
                (1_400, 1, unfinished, true),
                (2_600, 0, None, false),
            ],
        );
        check(
            4,
            &[
                (0, 3, torn, true),
                (699, 3, torn, true),
                (700, 3, torn, false),
            ],
        );
        // No wait when no VFs were offered before.
        check(0, &[(0, 3, torn, false)]);
    }
}
