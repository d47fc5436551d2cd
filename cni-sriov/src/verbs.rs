//! The verbs of the CNI specification. Each composes the stages below: request, device, journal, plan, kernel, IPAM, result.

mod add;
mod check;
mod del;
mod gc;
mod release;
mod status;

pub(crate) use self::add::add;
pub(crate) use self::check::check;
pub(crate) use self::del::del;
pub(crate) use self::gc::gc;
pub(crate) use self::status::status;
