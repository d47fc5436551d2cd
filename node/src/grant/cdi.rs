//! CDI mode: one specification file for each device, one kind for each resource; the runtime reads them when it starts the container.
//!
//! A name stays the same over a reboot while its nodes may change, as the kubelet answers for running pods from its checkpoint.
//! Specification: `cncf-tags/container-device-interface`, SPEC.md.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sriov_config::resource_list::ResourceName;
use sriov_device_info::atomic;
use sriov_inventory::id::DeviceId;

use super::share::DeviceNode;

/// The lowest version with `hostPath` and names that begin with a digit.
const VERSION: &str = "0.5.0";
/// Prefix of the names of our files.
const PREFIX: &str = "virtfn-";

/// The directory of specifications, for instance `/var/run/cdi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdiDir(PathBuf);

/// A specification could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the CDI specification `{}`", path.display())]
pub struct CdiError {
    /// The file.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

impl CdiDir {
    /// Takes the directory; it is created with the first file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file of a device.
    pub fn path_of_device(&self, resource: &ResourceName, id: &DeviceId) -> PathBuf {
        self.0.join(format!("{}{id}.json", stem(resource)))
    }

    /// The id in the name of a file; absent when it is not a file of the resource.
    pub fn id_in(file: &str, resource: &ResourceName) -> Option<String> {
        let id = file.strip_prefix(&stem(resource))?.strip_suffix(".json")?;
        Some(id.to_owned())
    }

    /// Writes the specification of a device and returns its qualified name; absent for a device without nodes, as an empty one is invalid.
    ///
    /// # Errors
    /// The file that existed before is unchanged.
    pub fn write(
        &self,
        resource: &ResourceName,
        id: &DeviceId,
        nodes: &[DeviceNode],
    ) -> Result<Option<String>, CdiError> {
        if nodes.is_empty() {
            return Ok(None);
        }
        let path = self.path_of_device(resource, id);
        let text = specification(resource, id, nodes).to_string();
        match atomic::replace(&path, text.as_bytes(), 0o644) {
            Ok(()) => Ok(Some(format!("{}={id}", kind(resource)))),
            Err(source) => Err(CdiError { path, source }),
        }
    }
}

/// Prefix of the files of a resource.
fn stem(resource: &ResourceName) -> String {
    format!("{PREFIX}{}_", resource.socket_stem())
}

/// The kind of a resource: its name, where the parts follow the specification's rule for vendor and class.
pub fn kind(resource: &ResourceName) -> String {
    let full = resource.to_string();
    let (prefix, name) = full.split_once('/').unwrap_or(("", &full));
    // Both begin with a letter; Go's parser panics on a single character.
    let is_fine =
        |part: &str| part.len() > 1 && part.starts_with(|c: char| c.is_ascii_alphabetic());
    let vendor = if is_fine(prefix) { "" } else { "sriov." };
    let class = if is_fine(name) { "" } else { "sriov-" };
    format!("{vendor}{prefix}/{class}{name}")
}

fn specification(resource: &ResourceName, id: &DeviceId, nodes: &[DeviceNode]) -> Value {
    let nodes: Vec<Value> = nodes.iter().map(device_node).collect();
    json!({ "cdiVersion": VERSION, "kind": kind(resource),
        "devices": [{ "name": id.to_string(), "containerEdits": { "deviceNodes": nodes } }] })
}

fn device_node(DeviceNode { host, container }: &DeviceNode) -> Value {
    let mut node = json!({ "path": container, "permissions": "rw" });
    if let (true, Some(fields)) = (host != container, node.as_object_mut()) {
        fields.insert("hostPath".to_owned(), json!(host));
    }
    node
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_specification_is_what_runtimes_read() {
        let dir = tempfile::tempdir().unwrap();
        let cdi = CdiDir::new(dir.path().join("cdi"));
        let resource = ResourceName::new("intel.com", "vf").unwrap();
        let id = "0000:01:10.0".parse().unwrap();
        let node = |host: &str, container: &str| DeviceNode {
            host: host.into(),
            container: container.into(),
        };
        let nodes = [
            node("/dev/vfio/vfio", "/dev/vfio/vfio"),
            node("/dev/vfio/noiommu-7", "/dev/vfio/7"),
        ];
        let name = cdi.write(&resource, &id, &nodes).unwrap();
        assert_eq!(name.as_deref(), Some("intel.com/vf=0000:01:10.0"));
        let path = cdi.path_of_device(&resource, &id);
        assert!(path.ends_with("virtfn-intel.com_vf_0000:01:10.0.json"));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            r#"{"cdiVersion":"0.5.0","devices":[{"containerEdits":{"deviceNodes":[{"path":"/dev/vfio/vfio","permissions":"rw"},{"hostPath":"/dev/vfio/noiommu-7","path":"/dev/vfio/7","permissions":"rw"}]},"name":"0000:01:10.0"}],"kind":"intel.com/vf"}"#
        );
        assert_eq!(cdi.write(&resource, &id, &[]).unwrap(), None);
        let file = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(
            CdiDir::id_in(file, &resource).as_deref(),
            Some("0000:01:10.0")
        );
    }

    #[test]
    fn a_kind_follows_the_rule_whatever_the_resource_is_called() {
        for (prefix, name, expected) in [
            ("intel.com", "vf_a-1", "intel.com/vf_a-1"),
            ("3com.example", "9", "sriov.3com.example/sriov-9"),
            ("x", "v", "sriov.x/sriov-v"),
        ] {
            assert_eq!(kind(&ResourceName::new(prefix, name).unwrap()), expected);
        }
    }
}
