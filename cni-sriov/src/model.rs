//! Data that every stage names: a VF as it is, a VF as it was, an attachment as it is saved. No I/O.

mod addresses;
mod baseline;
mod driver;
#[cfg(test)]
pub(crate) mod examples;
mod saved;
mod unknown_keys;
mod view;

pub(crate) use self::addresses::Addresses;
pub(crate) use self::baseline::{
    Baseline, SavedLink, claim_to, driver_defaults, guessed_settings, spare_name,
};
pub(crate) use self::driver::Driver;
pub(crate) use self::saved::{FORMAT, Phase, SavedAttachmentV1, SavedClaim, SavedIpam, SavedNetns};
pub(crate) use self::view::{PfView, VfSide, VfView};
