//! A measured CNI plugin, ours or a peer's: the version of its calls, and whether it applies all settings.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use sriov_testkit::cni::{at_pf, config, in_pod};
use sriov_testkit::multus::{Answer, Attachment, answer, set_environment};
use sriov_testkit::node::{Netns, Pf};
use sriov_testkit::strace::Trace;

/// The version of our tests.
const VERSION: &str = "1.0.0";
/// The first version with CHECK.
const CHECKED: &str = "0.4.0";

/// A CNI plugin in its own directory.
#[derive(Clone, Debug)]
pub struct Program {
    bin: PathBuf,
    version: String,
    has_check: bool,
}

impl Program {
    /// Calls VERSION of the program in a directory, and chooses the newest common version.
    pub fn of(bin: &Path) -> Result<Self> {
        let said = version(&bin.join("sriov"))?.document;
        let known: Vec<&str> = said
            .get("supportedVersions")
            .and_then(Value::as_array)
            .with_context(|| format!("VERSION gave {said}"))?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let same = known.iter().find(|known| **known == VERSION);
        let version = same.or(known.last()).context("it supports no version")?;
        Ok(Self {
            bin: bin.to_owned(),
            version: (*version).to_owned(),
            has_check: known.contains(&CHECKED),
        })
    }

    /// Its directory.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Its file.
    pub fn file(&self) -> PathBuf {
        self.bin.join("sriov")
    }

    /// The newest version that both programs support.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether it supports the verb.
    pub fn has(&self, verb: &str) -> bool {
        verb != "CHECK" || self.has_check
    }

    /// Calls a verb, which must succeed.
    pub fn call(&self, verb: &str, fields: &Value, attachment: &Attachment) -> Result<Answer> {
        let mut command = Command::new(self.file());
        set_environment(&mut command, &self.bin, verb, attachment);
        command.env(
            "CNI_PATH",
            format!("{}:{}", self.bin.display(), sriov_testkit::cni::BIN),
        );
        let stdin = self.stdin(fields, attachment);
        succeeded(verb, answer(command, &stdin)?)
    }

    /// The same, with a trace.
    pub fn trace(
        &self,
        verb: &str,
        fields: &Value,
        attachment: &Attachment,
    ) -> Result<(Trace, Answer)> {
        let stdin = self.stdin(fields, attachment);
        let (trace, done) = Trace::of_cni(&self.bin, verb, &stdin, attachment)?;
        Ok((trace, succeeded(verb, done)?))
    }

    /// The configuration for its standard input.
    pub fn stdin(&self, fields: &Value, attachment: &Attachment) -> String {
        let mut config = config(&attachment.device_id, fields);
        if let Some(version) = config.get_mut("cniVersion") {
            *version = json!(self.version);
        }
        config.to_string()
    }

    /// Whether ADD applies all settings to the first VF: a program that ignores a key is fast.
    pub fn does(
        &self,
        pf: &Pf,
        pod: &Netns,
        fields: &Value,
        attachment: &Attachment,
    ) -> Result<bool> {
        self.call("ADD", fields, attachment)?;
        let missing = missing(fields, &at_pf(pf, 0), &in_pod(pod));
        self.call("DEL", fields, attachment)?;
        if !missing.is_empty() {
            let file = self.file();
            eprintln!(
                "bench: {} does not apply {}",
                file.display(),
                missing.join(", ")
            );
        }
        Ok(missing.is_empty())
    }
}

/// A VERSION that must succeed.
pub fn version(program: &Path) -> Result<Answer> {
    let mut command = Command::new(program);
    command.env_clear().env("CNI_COMMAND", "VERSION");
    let stdin = json!({ "cniVersion": VERSION }).to_string();
    succeeded("VERSION", answer(command, &stdin)?)
}

/// A successful answer.
pub fn succeeded(verb: &str, done: Answer) -> Result<Answer> {
    if done.code == Some(0) {
        Ok(done)
    } else {
        bail!("{verb} failed: {} {}", done.document, done.log)
    }
}

/// The fields that differ at the PF or in the pod, according to iproute2.
pub fn missing<'a>(fields: &'a Value, at_pf: &Value, in_pod: &Value) -> Vec<&'a str> {
    let switch = |wanted: &str, is: &Value| is.as_bool() == Some(wanted == "on");
    let is_so = |key: &str, wanted: &Value| match key {
        "vlan" => at_pf.pointer("/vlan_list/0/vlan") == Some(wanted),
        "mac" => at_pf.get("address") == Some(wanted),
        "spoofchk" | "trust" => {
            let is = at_pf.get(key).unwrap_or(&Value::Null);
            switch(wanted.as_str().unwrap_or_default(), is)
        }
        "ipam" => in_pod
            .pointer("/addr_info")
            .is_some_and(|all| all.to_string().contains("192.0.2.10")),
        _ => false,
    };
    let fields = fields.as_object().into_iter().flatten();
    fields
        .filter(|(key, wanted)| !is_so(key, wanted))
        .map(|(key, _)| key.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_settings_are_listed() {
        let fields = json!({
            "vlan": 100, "mac": "02:00:00:00:0c:00", "spoofchk": "on", "trust": "off",
            "ipam": { "type": "static" },
        });
        let done = json!({
            "vlan_list": [{ "vlan": 100 }], "address": "02:00:00:00:0c:00", "spoofchk": true, "trust": false,
        });
        let pod = json!({ "addr_info": [{ "local": "192.0.2.10" }] });
        assert_eq!(missing(&fields, &done, &pod), Vec::<&str>::new());
        let nothing = json!({ "address": "00:00:00:00:00:00", "spoofchk": true, "trust": true });
        assert_eq!(
            missing(&fields, &nothing, &Value::Null),
            ["ipam", "mac", "trust", "vlan"]
        );
    }
}
