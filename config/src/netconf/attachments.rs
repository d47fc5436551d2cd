//! Attachments that the runtime still has: the list that GC gets.

use crate::fields::{Fields, Findings};

/// An attachment that the runtime still knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveAttachment {
    /// Container id.
    pub container_id: String,
    /// Name of the interface in the container.
    pub ifname: String,
}

/// Both keys count, as the library sends both; `null` is what Go makes of a list that nobody filled, and so absent.
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
            // An attachment that cannot be read must not pass for one that is not listed.
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
