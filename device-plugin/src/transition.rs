//! Which PFs are kept as they were while their VFs come or go, so that kubelet never sees half of them: data to data, the clock is given.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sriov_host::PciAddress;
use sriov_host::snapshot::{HostSnapshot, SriovRole, Transition};
use tokio::time::Instant;

/// What is there counts when nothing came or went for this long while the kernel makes or removes VFs, whatever it says,
const UNFINISHED: Duration = Duration::from_secs(3);
/// and when a VF went alone: the next one of a pulled card follows sooner.
const TORN: Duration = Duration::from_millis(700);

/// The PFs whose VFs come or go: how many functions of them there are, and since when.
#[derive(Clone, Debug, Default)]
pub struct Transitions(BTreeMap<PciAddress, (usize, Instant)>);

impl Transitions {
    /// The PFs that are to be taken from the picture before.
    pub fn kept(
        &mut self,
        now: &HostSnapshot,
        before: &HostSnapshot,
        at: Instant,
    ) -> BTreeSet<PciAddress> {
        let mut past = std::mem::take(&mut self.0);
        let mut kept = BTreeSet::new();
        for (pf, transition) in &now.in_transition {
            let count = functions(now, *pf);
            let since = match past.remove(pf) {
                Some((then, since)) if then == count => since,
                Some(_) | None => at,
            };
            self.0.insert(*pf, (count, since));
            let patience = match transition {
                Transition::Unfinished => UNFINISHED,
                // Nobody was told of more.
                Transition::Torn if before.function(*pf).is_none() => Duration::ZERO,
                Transition::Torn => TORN,
            };
            if at.saturating_duration_since(since) < patience {
                kept.insert(*pf);
            }
        }
        kept
    }
}

/// How many functions there are of a PF, itself included.
fn functions(snapshot: &HostSnapshot, pf: PciAddress) -> usize {
    let is_of = |role: &SriovRole| matches!(role, SriovRole::Vf { pf: of, .. } if *of == pf);
    let functions = snapshot.functions.values();
    functions
        .filter(|function| function.address == pf || is_of(&function.role))
        .count()
}

#[cfg(test)]
mod tests {
    use sriov_host::snapshot::{PciClass, PciFunction, PciId};

    use super::*;

    const PF: &str = "0000:01:00.0";

    /// A PF, as long as it is there, with VFs.
    fn machine(functions: usize, transition: Option<Transition>) -> HostSnapshot {
        let pf: PciAddress = PF.parse().unwrap();
        let vf = |index: u8| format!("0000:01:10.{index}").parse().unwrap();
        let function = |index: u8| PciFunction {
            address: if index == 0 { pf } else { vf(index) },
            incarnation: 1,
            vendor: PciId(0x8086),
            device: PciId(0x10ca),
            class: PciClass(0x02_0000),
            driver: None,
            numa_node: None,
            iommu_group: None,
            role: if index == 0 {
                SriovRole::None
            } else {
                SriovRole::Vf { pf, index: None }
            },
            netdevs: Vec::new(),
            acpi_index: None,
            rdma: Vec::new(),
            pkey: None,
            vdpa: Vec::new(),
        };
        let all = (0..).take(functions).map(function);
        HostSnapshot {
            functions: all.map(|function| (function.address, function)).collect(),
            in_transition: transition.map(|how| (pf, how)).into_iter().collect(),
            ..HostSnapshot::default()
        }
    }

    /// Moments in milliseconds with what is there then, and whether what was there before is told instead.
    fn check(before: usize, steps: &[(u64, usize, Option<Transition>, bool)]) {
        let (before, start) = (machine(before, None), Instant::now());
        let mut transitions = Transitions::default();
        for (ms, functions, transition, is_kept) in steps {
            let now = machine(*functions, *transition);
            let kept = transitions.kept(&now, &before, start + Duration::from_millis(*ms));
            assert_eq!(!kept.is_empty(), *is_kept, "after {ms} ms");
        }
    }

    #[test]
    fn nothing_is_kept_of_what_rests() {
        check(4, &[(0, 4, None, false), (9, 2, None, false)]);
    }

    #[test]
    fn while_vfs_are_made_the_old_is_told_until_nothing_has_come_for_three_seconds() {
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
                // Another time begins anew.
                (9_300, 4, unfinished, true),
            ],
        );
        // At the start as well: what is not whole is not told.
        check(0, &[(0, 2, unfinished, true)]);
    }

    #[test]
    fn a_pulled_card_goes_as_one_and_a_vf_that_went_alone_is_gone_within_the_second() {
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
        // There is nothing to wait for where nobody knows of more.
        check(0, &[(0, 3, torn, false)]);
    }
}
