//! Where the sockets of the pools are, and how the kubelet finds them.

use std::path::{Path, PathBuf};

use sriov_config::resource_list::ResourceName;
use sriov_host::stable_hash::stable_hash;
use sriov_node::kubelet::socket::LONGEST_PATH;

use crate::settings::Registration;

/// The directory of the kubelet that is used, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where the sockets are.
    pub(crate) dir: PathBuf,
    /// Whether the kubelet finds sockets by itself; otherwise it is called.
    pub(crate) is_watched: bool,
}

impl Place {
    /// Chooses the directory, by the mode or by what the kubelet has.
    pub(crate) fn choose(kubelet_dir: &Path, registration: Registration) -> Self {
        let watched = kubelet_dir.join("plugins_registry");
        let legacy = kubelet_dir.join("device-plugins");
        let is_watched = match registration {
            // A node has both directories; only with the Register call does the plugin notice a kubelet that has deregistered the resource.
            Registration::Auto => watched.is_dir() && !legacy.is_dir(),
            Registration::Watcher => true,
            Registration::Legacy => false,
        };
        let dir = if is_watched { watched } else { legacy };
        Self { dir, is_watched }
    }

    /// The socket of a resource; a path that would be too long is replaced by a hash of it.
    pub(crate) fn socket(&self, resource: &ResourceName) -> PathBuf {
        let path = self.dir.join(format!("{}.sock", resource.socket_stem()));
        if path.as_os_str().len() <= LONGEST_PATH {
            return path;
        }
        let hash = stable_hash(resource.socket_stem().as_bytes());
        self.dir.join(format!("sriov-{hash:016x}.sock"))
    }

    /// The socket on which the kubelet accepts registrations.
    pub(super) fn kubelet_socket(&self) -> PathBuf {
        self.dir.join("kubelet.sock")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_long_path_is_replaced_by_a_hash() {
        let place = Place {
            dir: "/var/lib/kubelet/plugins_registry".into(),
            is_watched: true,
        };
        let short = ResourceName::new("intel.com", "vf").unwrap();
        assert!(place.socket(&short).ends_with("intel.com_vf.sock"));
        let long = ResourceName::new(&format!("{}.com", "a".repeat(60)), &"b".repeat(60)).unwrap();
        let path = place.socket(&long);
        assert!(path.as_os_str().len() <= LONGEST_PATH);
        assert_eq!(path, place.socket(&long));
    }

    #[test]
    fn the_register_call_is_used_where_both_directories_exist() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Place::choose(dir.path(), Registration::Auto).is_watched);
        fs::create_dir(dir.path().join("plugins_registry")).unwrap();
        assert!(Place::choose(dir.path(), Registration::Auto).is_watched);
        fs::create_dir(dir.path().join("device-plugins")).unwrap();
        assert!(!Place::choose(dir.path(), Registration::Auto).is_watched);
        assert!(Place::choose(dir.path(), Registration::Watcher).is_watched);
    }
}
