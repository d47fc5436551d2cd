//! Which devices a container should get: on one NUMA node, and packed onto as few PFs as can be.

use std::collections::{BTreeMap, BTreeSet};

use crate::pools::PoolDevice;

/// Chooses `size` of the available devices, sorted; all that must be included are.
///
/// An impossible size gives what there is: kubelet then refuses by itself.
pub fn prefer(
    devices: &[PoolDevice],
    available: &[String],
    must: &[String],
    size: usize,
) -> Vec<String> {
    let known: BTreeMap<String, &PoolDevice> = devices
        .iter()
        .map(|device| (device.address.to_string(), device))
        .collect();
    let mut chosen: BTreeSet<&String> = must.iter().collect();
    let mut candidates: Vec<&String> = available
        .iter()
        .filter(|id| !chosen.contains(*id))
        .collect();
    candidates.sort();
    candidates.dedup();
    let place = |id: &String| known.get(id).map(|device| (device.numa_node, device.pf));
    while chosen.len() < size && !candidates.is_empty() {
        let best = candidates.iter().enumerate().max_by_key(|(position, id)| {
            let node = place(id).map(|(node, _)| node);
            let pf = place(id).and_then(|(_, pf)| pf);
            let count = |holds: &dyn Fn(&String) -> bool,
                         ids: &mut dyn Iterator<Item = &String>| {
                ids.filter(|id| holds(id)).count()
            };
            let same_node = |id: &String| place(id).map(|(node, _)| node) == node;
            let same_pf = |id: &String| place(id).and_then(|(_, pf)| pf) == pf;
            let missing = size - chosen.len();
            // With devices already chosen stay with them; else begin where all fit, and there where the least is left over.
            let fits = count(&same_node, &mut candidates.iter().copied()).min(missing);
            let fits_pf = count(&same_pf, &mut candidates.iter().copied());
            (
                count(&same_node, &mut chosen.iter().copied()),
                fits,
                count(&same_pf, &mut chosen.iter().copied()),
                fits_pf >= missing,
                std::cmp::Reverse(fits_pf),
                std::cmp::Reverse(*position),
            )
        });
        let Some((position, _)) = best else { break };
        chosen.insert(candidates.remove(position));
    }
    chosen.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::Gives;

    fn devices() -> Vec<PoolDevice> {
        let device = |address: &str, node, pf: &str| PoolDevice {
            address: address.parse().unwrap(),
            driver: String::new(),
            numa_node: Some(node),
            pf: Some(pf.parse().unwrap()),
            representor: None,
            gives: Gives::default(),
        };
        vec![
            device("0000:01:10.0", 0, "0000:01:00.0"),
            device("0000:01:10.2", 0, "0000:01:00.0"),
            device("0000:02:10.0", 0, "0000:02:00.0"),
            device("0000:03:10.0", 1, "0000:03:00.0"),
        ]
    }

    #[test]
    fn one_node_first_then_few_pfs() {
        let all: Vec<String> = devices()
            .iter()
            .map(|device| device.address.to_string())
            .collect();
        let ids = |ids: &[&str]| {
            ids.iter()
                .map(|id| format!("0000:{id}"))
                .collect::<Vec<_>>()
        };
        for (must, size, chosen) in [
            (ids(&[]), 2, ids(&["01:10.0", "01:10.2"])),
            (ids(&["02:10.0"]), 2, ids(&["01:10.0", "02:10.0"])),
            (ids(&["03:10.0"]), 1, ids(&["03:10.0"])),
            (ids(&[]), 3, ids(&["01:10.0", "01:10.2", "02:10.0"])),
            (
                ids(&[]),
                9,
                ids(&["01:10.0", "01:10.2", "02:10.0", "03:10.0"]),
            ),
            (ids(&[]), 0, ids(&[])),
        ] {
            assert_eq!(
                prefer(&devices(), &all, &must, size),
                chosen,
                "{must:?} {size}"
            );
        }
    }
}
