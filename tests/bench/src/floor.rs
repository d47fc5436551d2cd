//! The floor: a program that sends only the requests that the kernel needs for the same ADD and DEL, with values that are known beforehand.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use sriov_testkit::cni::{BIN, at_pf, config, in_pod};
use sriov_testkit::multus::{Attachment, answer, set_environment};
use sriov_testkit::node::{Netns, Pf, netdev_of};

use crate::program::{missing, succeeded};

/// The program on the node (`src/bin/guest-floor.rs`).
const PROGRAM: &str = "/opt/virtfn/guest-floor";
/// The verbs that change something.
pub const VERBS: [&str; 2] = ["ADD", "DEL"];

/// The values for one free VF and one configuration.
#[derive(Clone, Debug)]
pub struct Floor {
    /// Index of the PF, number of the VF, index of its network device.
    numbers: [String; 3],
    /// Name of the network device.
    name: String,
    /// Its MAC address.
    mac: String,
    /// The address of the VF at the PF.
    vf_mac: String,
    fields: Value,
    stdin: String,
}

impl Floor {
    /// Reads the VF, which is free.
    pub fn of(pf: &Pf, index: usize, fields: &Value) -> Result<Self> {
        let vf = pf.vf(index)?;
        let name = netdev_of(&vf)?;
        let read = |netdev: &str, what: &str| -> Result<String> {
            let path = Path::new("/sys/class/net").join(netdev).join(what);
            let text = fs::read_to_string(&path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            Ok(text.trim().to_owned())
        };
        let vf_mac = at_pf(pf, index);
        let vf_mac = vf_mac.get("address").and_then(Value::as_str);
        Ok(Self {
            numbers: [
                read(&pf.netdev, "ifindex")?,
                index.to_string(),
                read(&name, "ifindex")?,
            ],
            mac: read(&name, "address")?,
            name,
            vf_mac: vf_mac.context("the PF reports no address")?.to_owned(),
            fields: fields.clone(),
            stdin: config(&vf, fields).to_string(),
        })
    }

    /// Executes the steps of a verb.
    pub fn call(&self, verb: &str, attachment: &Attachment) -> Result<()> {
        let mut command = Command::new(PROGRAM);
        set_environment(&mut command, Path::new(BIN), verb, attachment);
        command.args(&self.numbers).args(self.steps(verb));
        succeeded(verb, answer(command, &self.stdin)?)?;
        Ok(())
    }

    /// Fails if ADD does not apply all settings, or DEL does not restore them: such a floor would be too low.
    pub fn ensure_equal(&self, pf: &Pf, pod: &Netns, attachment: &Attachment) -> Result<()> {
        let before = pf.baseline()?;
        self.call("ADD", attachment)?;
        let missing = missing(&self.fields, &at_pf(pf, 0), &in_pod(pod));
        self.call("DEL", attachment)?;
        if !missing.is_empty() {
            bail!("the floor does not apply {}", missing.join(", "));
        }
        let after = pf.baseline()?;
        if after != before {
            bail!("the floor does not restore {before}, but leaves {after}");
        }
        Ok(())
    }

    /// The steps of our plugin without its reads; igb pins an address, so that it is removed first.
    fn steps(&self, verb: &str) -> Vec<String> {
        let text = |key: &str| self.fields.get(key).and_then(Value::as_str);
        let vlan = self.fields.get("vlan").and_then(Value::as_u64);
        let mac = text("mac");
        let ipam = || format!("ipam={BIN}/static");
        let switch = |key: &str| {
            let value = text(key)?;
            Some(format!("{key}={}", u8::from(value == "on")))
        };
        let mut steps: Vec<String> = Vec::new();
        if verb == "ADD" {
            steps.extend(vlan.map(|vlan| format!("vlan={vlan}")));
            steps.extend(["spoofchk", "trust"].into_iter().filter_map(switch));
            steps.extend(mac.map(|_| "vf-mac=00:00:00:00:00:00".to_owned()));
            steps.push("in".to_owned());
            steps.extend(mac.map(|mac| format!("pod-mac={mac}")));
            steps.extend(mac.map(|mac| format!("vf-mac={mac}")));
            steps.push("up".to_owned());
            if self.fields.get("ipam").is_some() {
                steps.extend([ipam(), "address=192.0.2.10/24".to_owned()]);
            }
        } else {
            steps.extend(vlan.map(|_| "vlan=0".to_owned()));
            // The emulated NIC has its spoof check on already.
            steps.extend(text("trust").map(|_| "trust=0".to_owned()));
            steps.extend(mac.map(|_| "vf-mac=00:00:00:00:00:00".to_owned()));
            steps.extend(self.fields.get("ipam").map(|_| ipam()));
            steps.push(format!("out={}", self.name));
            steps.extend(mac.map(|_| format!("mac={}", self.mac)));
            steps.extend(mac.map(|_| format!("vf-mac={}", self.vf_mac)));
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn steps(verb: &str, fields: Value) -> String {
        let floor = Floor {
            numbers: ["3", "0", "6"].map(str::to_owned),
            name: "eth0".to_owned(),
            mac: "36:40:f6:9f:aa:be".to_owned(),
            vf_mac: "36:40:f6:9f:aa:be".to_owned(),
            fields,
            stdin: String::new(),
        };
        floor.steps(verb).join(" ")
    }

    #[test]
    fn floor_has_a_step_for_each_setting() {
        assert_eq!(steps("ADD", json!({})), "in up");
        assert_eq!(steps("DEL", json!({})), "out=eth0");
        let full = json!({ "vlan": 100, "mac": "02:00:00:00:0c:00", "spoofchk": "on", "trust": "on", "ipam": {} });
        assert_eq!(
            steps("ADD", full.clone()),
            "vlan=100 spoofchk=1 trust=1 vf-mac=00:00:00:00:00:00 in pod-mac=02:00:00:00:0c:00 \
             vf-mac=02:00:00:00:0c:00 up ipam=/opt/cni/bin/static address=192.0.2.10/24"
        );
        assert_eq!(
            steps("DEL", full),
            "vlan=0 trust=0 vf-mac=00:00:00:00:00:00 ipam=/opt/cni/bin/static out=eth0 \
             mac=36:40:f6:9f:aa:be vf-mac=36:40:f6:9f:aa:be"
        );
    }
}
