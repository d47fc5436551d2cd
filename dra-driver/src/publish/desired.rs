//! The slices that this node should have: the devices of its pools, with the attributes that a held device had when it was free.

use std::collections::BTreeMap;
use std::sync::Arc;

use sriov_config::resource_list::{AllocationPolicy, ResourceName};
use sriov_inventory::id::DeviceId;
use sriov_inventory::owners::{Holder, Owners};
use sriov_inventory::pool::{Pool, PoolDevice, Pools};
use sriov_inventory::unhealthy::Unhealthy;

use super::attributes::{self, SPEED};
use super::device::{Content, Device, SliceKey, Taint, name_of};
use super::layout::{self, Placed};
use crate::settings::DriverName;

/// Slices by key.
pub(crate) type Slices = BTreeMap<SliceKey, Content>;

/// The facts from which the slices are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered<'a> {
    /// The pools of this front end.
    pub(crate) pools: &'a Pools,
    pub(crate) policies: &'a BTreeMap<ResourceName, AllocationPolicy>,
    pub(crate) owners: &'a Owners,
    /// Whether the API server stores taints; servers before Kubernetes 1.36 drop them.
    pub(crate) keeps_taints: bool,
}

/// Makes the slices, with what was published before.
#[derive(Debug)]
pub(crate) struct Desired {
    driver: DriverName,
    /// Whether the attributes of `dra-driver-sriov` are published as well.
    is_compatible: bool,
    /// All devices of the newest slices, by name.
    published: BTreeMap<String, Placed>,
}

impl Desired {
    /// Nothing was published yet.
    pub(crate) fn new(driver: DriverName, is_compatible: bool) -> Self {
        Self {
            driver,
            is_compatible,
            published: BTreeMap::new(),
        }
    }

    /// Takes devices that an earlier process published, and that this one has not.
    pub(crate) fn recall<'a>(&mut self, slices: impl Iterator<Item = (&'a SliceKey, &'a Content)>) {
        for (key, content) in slices {
            for (rank, device) in content.iter().enumerate() {
                let placed = Placed {
                    group: key.group(),
                    part: 0,
                    rank,
                    device: Arc::clone(device),
                };
                let name = device.name.clone();
                self.published.entry(name).or_insert(placed);
            }
        }
    }

    /// The slices for what is offered now.
    pub(crate) fn slices(&mut self, offered: Offered<'_>) -> Slices {
        let mut now: BTreeMap<String, Placed> = BTreeMap::new();
        for (position, pool) in offered.pools.pools.iter().enumerate() {
            let policy = offered.policies.get(&pool.name).copied();
            let policy = policy.unwrap_or_default();
            let turns = layout::interleaved(pool.devices.iter());
            for (device, turn) in pool.devices.iter().zip(turns) {
                let rank = (position, policy, turn);
                if let Some(placed) = self.present(offered, pool, device, rank) {
                    now.entry(name_of(&device.id)).or_insert(placed);
                }
            }
            for id in pool.unhealthy.keys() {
                let name = name_of(id);
                if !now.contains_key(&name)
                    && !pool.devices.iter().any(|device| device.id == *id)
                    && let Some(placed) = self.absent(offered, pool, id)
                {
                    now.insert(name, placed);
                }
            }
        }
        self.published = now;
        layout::slices(self.published.values().cloned().collect())
    }

    /// A device that is present; absent when it must not be published.
    fn present(
        &self,
        offered: Offered<'_>,
        pool: &Pool,
        device: &PoolDevice,
        (position, policy, turn): (usize, AllocationPolicy, usize),
    ) -> Option<Placed> {
        let taints = self.taints(offered, pool, &device.id)?;
        let name = name_of(&device.id);
        let before = self.published.get(&name).map(|placed| &placed.device);
        let is_held = offered.owners.is_held(&device.id) != Some(false);
        let attributes = match before {
            // A pod must not change the attributes by which its claim was matched.
            Some(before) if is_held => before.attributes.clone(),
            Some(_) | None => {
                let mut now = attributes::attributes(pool, device, self.is_compatible);
                let speed = before.and_then(|before| before.attributes.get(SPEED));
                if let (false, Some(speed)) = (now.contains_key(SPEED), speed) {
                    now.insert(SPEED.to_owned(), speed.clone());
                }
                now
            }
        };
        let index = device.vf_index.map(|index| usize::from(index.get()));
        let order = match policy {
            AllocationPolicy::Packed => index.unwrap_or(turn),
            AllocationPolicy::Spread | AllocationPolicy::DistinctPf => turn,
        };
        Some(Placed {
            group: layout::group(&pool.name, policy, device),
            part: layout::part_of(device, policy),
            rank: (position << u16::BITS) + order,
            device: shared(
                before,
                Device {
                    name,
                    attributes,
                    taints,
                },
            ),
        })
    }

    /// A device that is gone or left the pool while a claim has it; absent when it must not be published.
    fn absent(&self, offered: Offered<'_>, pool: &Pool, id: &DeviceId) -> Option<Placed> {
        let taints = self.taints(offered, pool, id)?;
        let name = name_of(id);
        if let Some(before) = self.published.get(&name) {
            let attributes = before.device.attributes.clone();
            let device = shared(
                Some(&before.device),
                Device {
                    name,
                    attributes,
                    taints,
                },
            );
            return Some(Placed {
                device,
                ..before.clone()
            });
        }
        let attributes = attributes::of_gone(pool, id);
        Some(Placed {
            group: SliceKey::empty().group(),
            part: 0,
            rank: 0,
            device: Arc::new(Device {
                name,
                attributes,
                taints,
            }),
        })
    }

    /// The taints of a device; absent when it must not be published.
    fn taints(&self, offered: Offered<'_>, pool: &Pool, id: &DeviceId) -> Option<Vec<Taint>> {
        let Offered {
            owners,
            keeps_taints,
            ..
        } = offered;
        let mut taints = Vec::new();
        if owners.holders(id).any(|holder| holder.pod().is_some()) {
            taints.push(self.taint("held-by-device-plugin", "pod"));
        } else if let Some(why) = pool.unhealthy.get(id) {
            taints.push(self.taint("unhealthy", &reason(why)));
        }
        if keeps_taints || taints.is_empty() {
            return Some(taints);
        }
        // Multus, and a sandbox that restarts, find the device of a claim in the slice.
        let is_claim = |holder: &Holder| holder.pod().is_none();
        let may_be_allocated = owners.pods.is_none() || owners.holders(id).any(is_claim);
        may_be_allocated.then(Vec::new)
    }

    fn taint(&self, key: &str, value: &str) -> Taint {
        Taint {
            key: format!("{}/{key}", self.driver),
            value: value.to_owned(),
        }
    }
}

/// The device as it was published, if nothing changed: unchanged devices exist once in memory.
fn shared(before: Option<&Arc<Device>>, now: Device) -> Arc<Device> {
    match before {
        Some(before) if **before == now => Arc::clone(before),
        Some(_) | None => Arc::new(now),
    }
}

/// The reason as the value of a label.
fn reason(why: &Unhealthy) -> String {
    why.word().replace('_', "-")
}

#[cfg(test)]
mod tests;
