//! The choice of a device of a pod's resource claims, for a network configuration without a device.

use super::is_identifier;
use crate::fields::{Fields, Findings};

/// A claim and a request of it, as far as the configuration names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimSource {
    /// Name of a claim: of the `ResourceClaim`, or the name that the pod gives it.
    pub claim: Option<String>,
    /// Name of a request of a claim.
    pub request: Option<String>,
}

/// Reads both keys: `args.cni` takes precedence, where Multus puts the `cni-args` of a pod's annotation
/// (CNI conventions, "Dynamic plugin specific fields").
pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> ClaimSource {
    let args = fields.object("args", findings);
    let args = args.and_then(|args| args.object("cni", findings));
    let mut read = |key: &str| {
        let in_args = args.as_ref().and_then(|args| name(args, key, findings));
        let own = name(fields, key, findings);
        in_args.or(own)
    };
    ClaimSource {
        claim: read("claim"),
        request: read("request"),
    }
}

fn name(fields: &Fields<'_>, key: &str, findings: &mut Findings) -> Option<String> {
    let text = fields.text(key, findings).filter(|text| !text.is_empty())?;
    if !is_identifier(text) {
        findings.mistake(
            &fields.path(key),
            format!("`{text}` is not a name: expected letters, digits, `-` and `.`"),
        );
    }
    Some(text.to_owned())
}
