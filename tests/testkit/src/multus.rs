//! Calls a CNI plugin for a network attachment definition as Multus does: configuration, capabilities, copy of the device-info file, environment.
//!
//! Multus' `pkg/types/conf.go` and section 5 of the device information specification describe the injected fields.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

/// A network attachment definition.
#[derive(Clone, Debug)]
pub struct Network {
    /// `metadata.name`.
    pub name: String,
    /// The resource that its pods request.
    pub resource: String,
    /// `spec.config`, parsed.
    pub config: Map<String, Value>,
}

/// One interface of one pod.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Name of the pod, in namespace `default`.
    pub pod: String,
    /// Id of the pod's sandbox container.
    pub container_id: String,
    /// Path of the pod's network namespace.
    pub netns: PathBuf,
    /// Name of the interface in the pod.
    pub ifname: String,
    /// The allocated device.
    pub device_id: String,
    /// MAC address of the pod's network annotation.
    pub mac: Option<String>,
}

/// The result of a call of the plugin.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Exit code; absent if a signal killed it.
    pub code: Option<i32>,
    /// The JSON document on standard output, `Null` without output.
    pub document: Value,
    /// Standard error.
    pub log: String,
}

impl Network {
    /// Reads the manifest of a network attachment definition.
    pub fn from_manifest(yaml: &str) -> Result<Self> {
        let manifest: Value = serde_yaml_ng::from_str(yaml).context("the manifest is not YAML")?;
        let text = |pointer: &str| {
            manifest
                .pointer(pointer)
                .and_then(Value::as_str)
                .with_context(|| format!("the manifest has no {pointer}"))
        };
        Ok(Self {
            name: text("/metadata/name")?.to_owned(),
            resource: text("/metadata/annotations/k8s.v1.cni.cncf.io~1resourceName")?.to_owned(),
            config: serde_json::from_str(text("/spec/config")?)
                .context("spec.config is not a JSON object")?,
        })
    }

    fn has_capability(&self, name: &str) -> bool {
        self.config
            .get("capabilities")
            .and_then(|all| all.get(name))
            == Some(&Value::Bool(true))
    }
}

/// Directories of the device-info files.
#[derive(Clone, Debug)]
pub struct DeviceInfoDirs {
    /// Files of the device plugin.
    pub device_plugin: PathBuf,
    /// Files of attachments.
    pub attachments: PathBuf,
}

impl Default for DeviceInfoDirs {
    fn default() -> Self {
        let root = Path::new("/var/run/k8s.cni.cncf.io/devinfo");
        Self {
            device_plugin: root.join("dp"),
            attachments: root.join("cni"),
        }
    }
}

impl DeviceInfoDirs {
    /// The device plugin's file of a device.
    pub fn of_device(&self, network: &Network, device_id: &str) -> PathBuf {
        self.device_plugin.join(format!(
            "{}-{device_id}-device.json",
            network.resource.replace('/', "-")
        ))
    }

    /// The file of an attachment.
    pub fn of_attachment(&self, network: &Network, attachment: &Attachment) -> PathBuf {
        let Attachment {
            container_id,
            ifname,
            ..
        } = attachment;
        self.attachments
            .join(format!("default-{}-{container_id}_{ifname}", network.name))
    }
}

/// Copies the device plugin's file for the attachment, as Multus does before ADD.
pub fn copy_device_info(
    dirs: &DeviceInfoDirs,
    network: &Network,
    attachment: &Attachment,
) -> Result<()> {
    std::fs::create_dir_all(&dirs.attachments)?;
    let (from, to) = (
        dirs.of_device(network, &attachment.device_id),
        dirs.of_attachment(network, attachment),
    );
    std::fs::copy(&from, to)
        .with_context(|| format!("no device-info file at {}", from.display()))?;
    Ok(())
}

/// The configuration for the plugin's standard input.
pub fn delegate_config(dirs: &DeviceInfoDirs, network: &Network, attachment: &Attachment) -> Value {
    let mut config = network.config.clone();
    config.insert("deviceID".into(), json!(attachment.device_id));
    config.insert("pciBusID".into(), json!(attachment.device_id));
    let mut runtime = Map::new();
    if let (true, Some(mac)) = (network.has_capability("mac"), &attachment.mac) {
        runtime.insert("mac".into(), json!(mac));
    }
    if network.has_capability("CNIDeviceInfoFile") {
        runtime.insert(
            "CNIDeviceInfoFile".into(),
            json!(dirs.of_attachment(network, attachment)),
        );
    }
    if !runtime.is_empty() {
        config.insert("runtimeConfig".into(), Value::Object(runtime));
    }
    Value::Object(config)
}

/// Runs `command` of the plugin in `bin_dir` for the attachment.
pub fn call(
    bin_dir: &Path,
    command: &str,
    config: &Value,
    attachment: &Attachment,
) -> Result<Answer> {
    call_with(bin_dir, command, config, attachment, &[])
}

/// The same with other variables; an empty value removes the variable from the environment.
pub fn call_with(
    bin_dir: &Path,
    command: &str,
    config: &Value,
    attachment: &Attachment,
    variables: &[(&str, &str)],
) -> Result<Answer> {
    let Some(kind) = config.get("type").and_then(Value::as_str) else {
        bail!("the configuration has no type")
    };
    let mut program = Command::new(bin_dir.join(kind));
    set_environment(&mut program, bin_dir, command, attachment);
    for (name, value) in variables {
        if value.is_empty() {
            program.env_remove(name);
        } else {
            program.env(name, value);
        }
    }
    answer(program, &config.to_string())
}

/// Sets the environment of a call on a command.
pub fn set_environment(
    program: &mut Command,
    bin_dir: &Path,
    command: &str,
    attachment: &Attachment,
) {
    let Attachment {
        pod,
        container_id,
        netns,
        ifname,
        ..
    } = attachment;
    let args = format!(
        "IgnoreUnknown=true;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};K8S_POD_INFRA_CONTAINER_ID={container_id};K8S_POD_UID=uid-of-{pod}"
    );
    program
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", container_id)
        .env("CNI_NETNS", netns)
        .env("CNI_IFNAME", ifname)
        .env("CNI_ARGS", args)
        .env("CNI_PATH", bin_dir);
}

/// Runs a plugin with this standard input.
pub fn answer(mut program: Command, stdin: &str) -> Result<Answer> {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.get_program().display()))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A plugin that is killed before it reads has a result too.
        let _ = pipe.write_all(stdin.as_bytes());
    }
    let output = child.wait_with_output()?;
    let document = match output.stdout.as_slice() {
        [] => Value::Null,
        text => serde_json::from_slice(text)
            .with_context(|| format!("not one JSON document: {}", String::from_utf8_lossy(text)))?,
    };
    Ok(Answer {
        code: output.status.code(),
        document,
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        Network::from_manifest(include_str!("../../../deploy/examples/nad-vlan.yaml")).unwrap()
    }

    fn attachment() -> Attachment {
        Attachment {
            pod: "feed".into(),
            container_id: "abc".into(),
            netns: "/run/netns/feed".into(),
            ifname: "net1".into(),
            device_id: "0000:01:10.0".into(),
            mac: Some("02:00:00:00:00:01".into()),
        }
    }

    #[test]
    fn plugin_gets_the_device_and_declared_capabilities() {
        let dirs = DeviceInfoDirs::default();
        let config = delegate_config(&dirs, &network(), &attachment());
        assert_eq!(config["deviceID"], "0000:01:10.0");
        assert_eq!(config["runtimeConfig"]["mac"], "02:00:00:00:00:01");
        assert_eq!(
            config["runtimeConfig"]["CNIDeviceInfoFile"],
            "/var/run/k8s.cni.cncf.io/devinfo/cni/default-trading-abc_net1"
        );

        let other =
            Network::from_manifest(include_str!("../../../deploy/examples/nad-other-vlan.yaml"))
                .unwrap();
        assert_eq!(
            delegate_config(&dirs, &other, &attachment()).get("runtimeConfig"),
            None
        );
    }

    #[test]
    fn device_info_file_has_the_resource_in_its_name() {
        let file = DeviceInfoDirs::default().of_device(&network(), "0000:01:10.0");
        assert_eq!(
            file.file_name().unwrap(),
            "example.com-trading-0000:01:10.0-device.json"
        );
    }
}
