//! Attachments that the runtime still has: the list in a GC request.

use crate::fields::{Fields, Findings};

/// An attachment that the runtime still has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveAttachment {
    /// Container id.
    pub container_id: String,
    /// Name of the interface in the container.
    pub ifname: String,
}

/// Reads both keys, because the library sends both; Go writes `null` for a list that was never filled, which means absent.
pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> Option<Vec<LiveAttachment>> {
    let mut all = None;
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        let Some(value) = fields.value(key) else {
            continue;
        };
        let Some(items) = value.as_array() else {
            findings.mistake(key, format!("`{value}` is not a list"));
            continue;
        };
        let listed: &mut Vec<LiveAttachment> = all.get_or_insert_default();
        for (position, item) in items.iter().enumerate() {
            let path = format!("{key}[{position}]");
            let Some(item) = Fields::of(item, &path, findings) else {
                continue;
            };
            // An unreadable entry must not be mistaken for a missing one.
            let mut text = |key: &str| {
                let text = item.text(key, findings).map(str::to_owned);
                if text.is_none() && item.value(key).is_none() {
                    findings.mistake(&item.path(key), "it is missing");
                }
                text
            };
            if let (Some(container_id), Some(ifname)) = (text("containerID"), text("ifname")) {
                listed.push(LiveAttachment {
                    container_id,
                    ifname,
                });
            }
        }
    }
    all
}
