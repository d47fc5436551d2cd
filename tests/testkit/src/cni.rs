//! Calls the CNI plugin on the node, and reads the results on PF, pod and disk.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::multus::{Answer, Attachment, call, call_with};
use crate::node::{Netns, Pf, ip_json};

/// Directory of the plugin and the IPAM plugins.
pub const BIN: &str = "/opt/cni/bin";
/// The plugin's state directory.
pub const STATE: &str = "/var/lib/cni/sriov";
/// Directory of the recording IPAM plugin of [`Recorder`].
pub const RECORDER_BIN: &str = "/tmp/recorder";

/// An attachment of the VF `device` to the pod, as `net1`.
pub fn attachment(pod: &Netns, device: &str) -> Attachment {
    Attachment {
        pod: pod.name.clone(),
        container_id: format!("c-{}", pod.name),
        netns: pod.path(),
        ifname: "net1".into(),
        device_id: device.into(),
        mac: None,
    }
}

/// A configuration for the device; `more` adds or replaces fields.
pub fn config(device: &str, fields: &Value) -> Value {
    let mut config =
        json!({ "cniVersion": "1.0.0", "name": "test", "type": "sriov", "deviceID": device });
    if let (Some(config), Some(fields)) = (config.as_object_mut(), fields.as_object()) {
        config.extend(fields.clone());
    }
    config
}

/// Calls the plugin.
///
/// # Panics
/// If it cannot be started, or does not print exactly one document.
#[expect(clippy::expect_used, reason = "a test cannot go on")]
pub fn run(verb: &str, fields: &Value, attachment: &Attachment) -> Answer {
    let config = config(&attachment.device_id, fields);
    call(Path::new(BIN), verb, &config, attachment).expect("the plugin answers")
}

/// Calls the plugin with other variables; an empty value removes the variable from the environment.
///
/// # Panics
/// If it cannot be started, or does not print exactly one document.
#[expect(clippy::expect_used, reason = "a test cannot go on")]
pub fn run_with(
    verb: &str,
    fields: &Value,
    attachment: &Attachment,
    variables: &[(&str, &str)],
) -> Answer {
    let config = config(&attachment.device_id, fields);
    call_with(Path::new(BIN), verb, &config, attachment, variables).expect("the plugin answers")
}

/// Calls the plugin, which must succeed, and returns its document.
///
/// # Panics
/// If it fails.
pub fn succeed(verb: &str, fields: &Value, attachment: &Attachment) -> Value {
    let answer = run(verb, fields, attachment);
    assert_eq!(
        answer.code,
        Some(0),
        "{verb}: {} {}",
        answer.document,
        answer.log
    );
    answer.document
}

/// Calls the plugin, which must fail with one complete error document, and returns the document.
///
/// # Panics
/// If it succeeds, or its error document breaks the specification.
pub fn refuse_verb(verb: &str, fields: &Value, attachment: &Attachment) -> Value {
    let answer = run(verb, fields, attachment);
    assert_eq!(
        answer.code,
        Some(1),
        "{verb}: {} {}",
        answer.document,
        answer.log
    );
    for key in ["cniVersion", "code", "msg", "details"] {
        assert!(answer.document.get(key).is_some(), "{}", answer.document);
    }
    answer.document
}

/// Calls ADD, which must fail.
///
/// # Panics
/// The same as for [`refuse_verb`].
pub fn refuse(fields: &Value, attachment: &Attachment) -> Value {
    refuse_verb("ADD", fields, attachment)
}

/// The VF at its PF, as iproute2 prints it.
///
/// # Panics
/// If the PF does not exist.
#[expect(clippy::expect_used, reason = "a test cannot go on")]
pub fn at_pf(pf: &Pf, index: usize) -> Value {
    let link = ip_json(None, &["link", "show", "dev", &pf.netdev]).expect("the PF is there");
    link.pointer(&format!("/0/vfinfo_list/{index}"))
        .cloned()
        .unwrap_or_default()
}

/// The pod's `net1` with its addresses.
pub fn in_pod(pod: &Netns) -> Value {
    let link = ip_json(Some(&pod.name), &["address", "show", "dev", "net1"]);
    link.ok()
        .and_then(|link| link.get(0).cloned())
        .unwrap_or_default()
}

/// Names of the files in the plugin's state directory, without the locks and the hand-over of claims.
pub fn state() -> Vec<String> {
    let names = |dir: PathBuf, but: &'static [&'static str]| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !but.contains(&name.as_str()))
    };
    let dir = Path::new(STATE);
    let mut all: Vec<String> = names(dir.to_owned(), &["pci", "owed", "claims"])
        .chain(names(dir.join("pci"), &["vf_lock"]))
        .chain(names(dir.join("owed"), &[]))
        .collect();
    all.sort();
    all
}

/// Checks that no entry of the journal, no allocation and no temporary file is left.
///
/// # Panics
/// If a file is left.
pub fn assert_nothing_left() {
    assert_eq!(state(), Vec::<String>::new());
}

/// An IPAM plugin that records each call and prints a given result.
#[derive(Debug)]
pub struct Recorder {
    dir: tempfile::TempDir,
}

impl Recorder {
    /// Installs it as `recorder`; ADD prints `result`.
    pub fn new(result: &Value) -> std::io::Result<Self> {
        Self::named("recorder", result)
    }

    /// Installs it under a name; ADD prints `result`.
    pub fn named(name: &str, result: &Value) -> std::io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir()?;
        let at = dir.path().display();
        std::fs::write(dir.path().join("result"), result.to_string())?;
        let script = format!(
            "#!/bin/busybox sh\ncat > {at}/stdin\necho \"$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_NETNS $CNI_ARGS\" >> {at}/calls\nif [ -e {at}/fail-$CNI_COMMAND ]; then cat {at}/fail-$CNI_COMMAND; exit 1; fi\n[ -e {at}/at-$CNI_COMMAND ] && . {at}/at-$CNI_COMMAND\n[ \"$CNI_COMMAND\" = ADD ] && cat {at}/result\nexit 0\n"
        );
        std::fs::create_dir_all(RECORDER_BIN)?;
        let program = Path::new(RECORDER_BIN).join(name);
        // A new file each time: a file that is being executed cannot be written.
        let _ = std::fs::remove_file(&program);
        std::fs::write(&program, script)?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { dir })
    }

    /// The verbs of its calls.
    pub fn verbs(&self) -> Vec<String> {
        let lines = self.calls();
        let verbs = lines.iter().filter_map(|line| line.split(' ').next());
        verbs.map(str::to_owned).collect()
    }

    /// Each call: verb, container, interface, namespace, arguments.
    pub fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// Standard input of the last call.
    pub fn stdin(&self) -> Value {
        let text = std::fs::read_to_string(self.dir.path().join("stdin")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Makes a verb fail with this document from now on.
    pub fn fail(&self, verb: &str, document: &Value) -> std::io::Result<()> {
        let path = self.dir.path().join(format!("fail-{verb}"));
        std::fs::write(path, document.to_string())
    }

    /// Makes a verb succeed again.
    pub fn mend(&self, verb: &str) -> std::io::Result<()> {
        std::fs::remove_file(self.dir.path().join(format!("fail-{verb}")))
    }

    /// Executes a line of shell at each call of a verb, when the input was read.
    pub fn at(&self, verb: &str, line: &str) -> std::io::Result<()> {
        std::fs::write(self.dir.path().join(format!("at-{verb}")), line)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(RECORDER_BIN);
    }
}
