//! Grants devices to a pod: one transaction that checks the devices, makes the environment and the device nodes, and writes the files.
//!
//! No type of a front end is named here; each front end translates [`GrantError`] into its own codes.

pub mod cdi;
pub mod claim;
pub mod files;
pub mod granted;
mod recheck;
pub mod share;
pub mod upkeep;

use std::collections::BTreeSet;

use sriov_config::resource_list::ResourceName;
use sriov_device_info::claims::{ClaimStore, ClaimsError};
use sriov_host::HostRoot;
use sriov_host::sysfs::ScanError;
use sriov_inventory::id::DeviceId;
use sriov_inventory::owners::Holder;
use sriov_inventory::pool::Pool;
use sriov_inventory::unhealthy::Unhealthy;
use tokio::sync::mpsc;

use self::files::{DeviceFiles, FilesError};
use self::granted::Granted;
use self::recheck::{RecheckError, recheck};
use self::share::{Allocated, NotUsable, Share};
use crate::holders::claims;
use crate::holders::event::Event;

/// Grants the devices of this node.
#[derive(Clone, Debug)]
pub struct Granter {
    /// The machine.
    pub host: HostRoot,
    /// The files of granted devices.
    pub files: DeviceFiles,
    /// The devices that prepared claims hold.
    pub claims: ClaimStore,
    /// Receives each grant before its files are written.
    pub events: mpsc::UnboundedSender<Event>,
}

/// Devices cannot be granted.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// No device was requested.
    #[error("no device ids")]
    NoIds,
    /// A device was requested twice.
    #[error("device `{0}` is named twice")]
    NamedTwice(String),
    /// The pool has no such device.
    #[error("`{id}` is not a device of {pool}")]
    Unknown {
        /// The id.
        id: String,
        /// The pool.
        pool: ResourceName,
    },
    /// No pod could use the device now.
    #[error("`{id}`: {reason}")]
    Unhealthy {
        /// The device.
        id: DeviceId,
        /// Why.
        reason: Unhealthy,
    },
    /// A prepared claim of the DRA driver has the device.
    #[error("`{id}` is held by {holder}")]
    Claimed {
        /// The device.
        id: DeviceId,
        /// The claim.
        holder: String,
    },
    /// The prepared claims could not be read.
    #[error("cannot tell whether a claim has the device")]
    Claims(#[from] ClaimsError),
    /// The device changed, or lacks what its resource promises.
    #[error(transparent)]
    NotUsable(#[from] NotUsable),
    /// sysfs could not be read.
    #[error("cannot read device `{id}`")]
    Read {
        /// The device.
        id: DeviceId,
        /// Why.
        source: ScanError,
    },
    /// The files of the device could not be written.
    #[error(transparent)]
    Files(#[from] FilesError),
}

impl From<RecheckError> for GrantError {
    fn from(error: RecheckError) -> Self {
        match error {
            RecheckError::NotUsable(reason) => Self::NotUsable(reason),
            RecheckError::Read { id, source } => Self::Read { id, source },
        }
    }
}

impl Granter {
    /// Grants devices of a pool: all of them in the order of the request, or none.
    ///
    /// # Errors
    /// When a device is unknown, unhealthy, changed, or its files cannot be written.
    pub fn grant(&self, pool: &Pool, ids: &[String]) -> Result<Vec<Granted>, GrantError> {
        let devices = self.recheck_all(pool, ids)?;
        for device in &devices {
            ensure_healthy(pool, &device.device.id)?;
            self.ensure_unclaimed(&device.device.id)?;
        }
        // The whole answer is made before the first file is written.
        let shares = shares(pool, &devices)?;
        // Reported first: until a pod shows the devices, nobody else would claim their files.
        let granted = devices.iter().map(|device| device.device.id.clone());
        let event = Event::Allocated(pool.name.clone(), granted.collect());
        let _ = self.events.send(event);
        let devices = devices.iter().zip(shares);
        devices
            .map(|(device, share)| self.write_files(pool, device, share))
            .collect()
    }

    /// Checks that devices can still be granted; writes nothing.
    ///
    /// # Errors
    /// When a device is unknown, changed, or lacks what its resource promises.
    pub fn verify(&self, pool: &Pool, ids: &[String]) -> Result<(), GrantError> {
        let devices = self.recheck_all(pool, ids)?;
        shares(pool, &devices)?;
        Ok(())
    }

    /// The devices as they are now.
    fn recheck_all<'a>(
        &self,
        pool: &'a Pool,
        ids: &[String],
    ) -> Result<Vec<Allocated<'a>>, GrantError> {
        if ids.is_empty() {
            return Err(GrantError::NoIds);
        }
        let mut seen = BTreeSet::new();
        let mut devices = Vec::new();
        for id in ids {
            if !seen.insert(id) {
                return Err(GrantError::NamedTwice(id.clone()));
            }
            devices.push(self.recheck_one(pool, id)?);
        }
        Ok(devices)
    }

    fn recheck_one<'a>(&self, pool: &'a Pool, text: &str) -> Result<Allocated<'a>, GrantError> {
        let unknown = || GrantError::Unknown {
            id: text.to_owned(),
            pool: pool.name.clone(),
        };
        let id: DeviceId = text.parse().map_err(|_not_an_id| unknown())?;
        let Some(device) = pool.device(&id) else {
            // A removed device that is still held.
            ensure_healthy(pool, &id)?;
            return Err(unknown());
        };
        Ok(recheck(&self.host, device)?)
    }

    /// Refuses a device that a prepared claim has, by a look at the files of the DRA driver: both front ends write before they answer.
    fn ensure_unclaimed(&self, id: &DeviceId) -> Result<(), GrantError> {
        let Some(address) = id.address() else {
            return Ok(());
        };
        match claims::claim_of(&self.claims, address)? {
            Some(claim) => Err(GrantError::Claimed {
                id: id.clone(),
                holder: Holder::from(claim).to_string(),
            }),
            None => Ok(()),
        }
    }

    fn write_files(
        &self,
        pool: &Pool,
        device: &Allocated<'_>,
        share: Share,
    ) -> Result<Granted, GrantError> {
        let Share { providers, nodes } = share;
        let id = device.device.id.clone();
        if let Some(info) = share::device_info(device)? {
            self.files.write_info(&pool.name, &id, &info)?;
        }
        let cdi_name = self.files.write_cdi(&pool.name, &id, &nodes)?;
        let is_in_specification = self.files.cdi.is_some();
        let nodes = if is_in_specification {
            Vec::new()
        } else {
            nodes
        };
        Ok(Granted {
            id,
            providers,
            nodes,
            cdi_name,
        })
    }
}

fn ensure_healthy(pool: &Pool, id: &DeviceId) -> Result<(), GrantError> {
    match pool.unhealthy.get(id) {
        Some(reason) => Err(GrantError::Unhealthy {
            id: id.clone(),
            reason: reason.clone(),
        }),
        None => Ok(()),
    }
}

fn shares(pool: &Pool, devices: &[Allocated<'_>]) -> Result<Vec<Share>, NotUsable> {
    let devices = devices.iter();
    devices.map(|device| share::share(pool, device)).collect()
}
