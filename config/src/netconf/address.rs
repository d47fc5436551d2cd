//! MAC address and GUID for the VF, from the network configuration, the runtime or `CNI_ARGS`.

use sriov_host::{Guid, MacAddr};

use crate::fields::{Fields, Findings};

/// Reads the MAC address: `runtimeConfig.mac` takes precedence over `MAC=` of `CNI_ARGS`, and that over `mac`; each must be valid.
pub(super) fn mac(
    fields: &Fields<'_>,
    runtime: Option<&Fields<'_>>,
    cni_args: Option<&str>,
    findings: &mut Findings,
) -> Option<MacAddr> {
    let of = |fields: &Fields<'_>, findings: &mut Findings| {
        fields
            .text("mac", findings)
            .filter(|text| !text.is_empty())
            .map(|text| (fields.path("mac"), text.to_owned()))
    };
    let in_runtime = runtime.and_then(|runtime| of(runtime, findings));
    let in_args = args_mac(cni_args, findings).map(|text| ("CNI_ARGS MAC".to_owned(), text));
    let in_conf = of(fields, findings);
    let mut chosen = None;
    for (path, text) in [in_runtime, in_args, in_conf].into_iter().flatten() {
        match text.parse::<MacAddr>() {
            Ok(mac) if mac.is_station() => chosen = chosen.or(Some(mac)),
            Ok(mac) => findings.mistake(
                &path,
                format!("`{mac}` cannot be the address of one station: it is zero or multicast"),
            ),
            Err(error) => findings.mistake(&path, error.to_string()),
        }
    }
    chosen
}

/// Reads `infinibandGUID` of the CNI conventions.
pub(super) fn guid(runtime: &Fields<'_>, findings: &mut Findings) -> Option<Guid> {
    let text = runtime
        .text("infinibandGUID", findings)
        .filter(|text| !text.is_empty())?;
    let path = runtime.path("infinibandGUID");
    match text.parse::<Guid>() {
        Ok(guid) if guid.is_usable() => return Some(guid),
        Ok(guid) => findings.mistake(
            &path,
            format!("`{guid}` cannot be the GUID of one port: it is all zeros or all ones"),
        ),
        Err(error) => findings.mistake(&path, error.to_string()),
    }
    None
}

/// `CNI_ARGS` is `K=V;K=V`; an unknown key is a mistake unless `IgnoreUnknown` is true (`pkg/types/args.go` of the CNI library).
fn args_mac(cni_args: Option<&str>, findings: &mut Findings) -> Option<String> {
    let mut mac = None;
    let mut unknown = Vec::new();
    let mut ignore = false;
    for pair in cni_args.filter(|args| !args.is_empty())?.split(';') {
        match pair.split_once('=') {
            Some((_, value)) if value.contains('=') => {
                findings.mistake("CNI_ARGS", format!("`{pair}` is not `KEY=VALUE`"));
            }
            Some(("MAC", value)) => mac = Some(value.to_owned()).filter(|value| !value.is_empty()),
            Some(("IgnoreUnknown", value)) => match value.to_ascii_lowercase().as_str() {
                "1" | "true" => ignore = true,
                "0" | "false" => ignore = false,
                _ => findings.mistake(
                    "CNI_ARGS",
                    format!("IgnoreUnknown `{value}` is not one of 1, 0, true, false"),
                ),
            },
            Some((key, _)) => unknown.push(key),
            None => findings.mistake("CNI_ARGS", format!("`{pair}` is not `KEY=VALUE`")),
        }
    }
    if !ignore && !unknown.is_empty() {
        findings.mistake(
            "CNI_ARGS",
            format!(
                "unknown keys {}, and IgnoreUnknown is not true",
                unknown.join(", ")
            ),
        );
    }
    mac
}
