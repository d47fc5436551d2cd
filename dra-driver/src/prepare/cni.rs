//! Makes sure that the VFs of a claim are clean: by the CNI plugin's journal, and by the CNI plugin itself where its DEL was missed.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sriov_device_info::attachments::{self, Attachment, Phase};
use sriov_host::{HostRoot, PciAddress, sysfs};

use super::error::{CniError, UnprepareError};
use super::paths::Paths;

/// The kubelet gives a call 45 s.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);
/// Most bytes that are read of what the CNI plugin writes.
const MOST: u64 = 64 << 10;

/// Detaches a VF that the journal shows as attached; succeeds when the journal shows it as clean.
///
/// # Errors
/// When the VF stays attached, with the reason.
pub(super) fn ensure_clean(paths: &Paths, device: PciAddress) -> Result<(), UnprepareError> {
    let Some(found) = dirty(paths, device)? else {
        return Ok(());
    };
    tracing::warn!(%device, container = found.container_id, "the CNI plugin's DEL was missed, detaching the VF");
    let detached = del(&paths.cni_plugin, &found);
    match (detached, dirty(paths, device)?) {
        (_, None) => Ok(()),
        (detached, Some(left)) => Err(UnprepareError::Attached {
            device,
            container: left.container_id,
            ifname: left.ifname,
            source: detached.err().unwrap_or(CniError::StillThere),
        }),
    }
}

/// The attachment of a VF that is not clean.
fn dirty(paths: &Paths, device: PciAddress) -> Result<Option<Attachment>, UnprepareError> {
    let found = attachments::of(&paths.cni_dir, device);
    let found = found.map_err(|source| UnprepareError::Journal { device, source })?;
    Ok(found.filter(|found| match found.phase {
        // The VF is restored; the CNI plugin releases the addresses later.
        Phase::Released => false,
        Phase::Prepared | Phase::Attached | Phase::Dirty | Phase::Other => {
            is_current(&paths.host, device, found)
        }
    }))
}

/// Whether an attachment is of this boot and of this VF: a VF that was made again is new.
fn is_current(host: &HostRoot, device: PciAddress, found: &Attachment) -> bool {
    let is_this_boot = sysfs::boot_id(host).map_or(true, |boot| boot == found.boot_id);
    is_this_boot && sysfs::incarnation(host, device) == Some(found.incarnation)
}

/// Runs DEL for an attachment of the journal. The CNI plugin finds it by network, container and interface, and undoes it from its journal.
fn del(plugin: &Path, found: &Attachment) -> Result<(), CniError> {
    let failed = |source| CniError::Run {
        path: plugin.to_owned(),
        source,
    };
    let mut child = Command::new(plugin)
        .env_clear()
        .env("CNI_COMMAND", "DEL")
        .env("CNI_CONTAINERID", &found.container_id)
        .env("CNI_NETNS", &found.netns.path)
        .env("CNI_IFNAME", &found.ifname)
        .env("CNI_PATH", plugin.parent().unwrap_or(Path::new("/")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let config = json!({ "cniVersion": "1.0.0", "name": found.network, "type": "sriov" });
    // A plugin that ended before it read its configuration reports why.
    let _ = child
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(config.to_string().as_bytes()));
    let output = child.stdout.take();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        let read = output.map(|output| output.take(MOST).read_to_end(&mut text));
        drop(read);
        text
    });
    let is_success = wait(&mut child).map_err(failed)?;
    let is_success = is_success.ok_or(CniError::Overdue(DEADLINE.as_secs()))?;
    let text = reader.join().unwrap_or_default();
    if is_success {
        return Ok(());
    }
    Err(CniError::Failed(message(&text)))
}

/// Waits for the end; `None` when the program was killed, as it took too long.
fn wait(child: &mut Child) -> std::io::Result<Option<bool>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if start.elapsed() >= DEADLINE {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(PAUSE);
    }
}

/// The message and the details of a CNI error.
fn message(text: &[u8]) -> String {
    let error: Value = serde_json::from_slice(text).unwrap_or_default();
    let part = |key: &str| {
        error
            .get(key)
            .and_then(Value::as_str)
            .filter(|part| !part.is_empty())
    };
    let parts: Vec<&str> = ["msg", "details"].into_iter().filter_map(part).collect();
    if parts.is_empty() {
        return "it wrote no error".to_owned();
    }
    parts.join(": ")
}
