//! Adds podman of the Debian release to the node: a runtime without a daemon, which calls CNI plugins itself.

use anyhow::Result;

use crate::cache::Cache;
use crate::debian;
use crate::debian::first_of;
use crate::files::{add_texts, add_with_libraries};
use crate::qemu::Node;

/// Version of the parts in the cache.
const LAYOUT: &str = "podman-v1";

/// Programs: path in the package root, path on the node. runc is on the node already.
const PROGRAMS: &[(&str, &str)] = &[
    ("usr/bin/podman", "usr/bin/podman"),
    ("usr/bin/conmon", "usr/bin/conmon"),
];

/// Configuration files of the node.
const FILES: &[(&str, &str)] = &[
    (
        "etc/containers/containers.conf",
        include_str!("node/containers.conf"),
    ),
    (
        "etc/containers/policy.json",
        "{ \"default\": [{ \"type\": \"insecureAcceptAnything\" }] }\n",
    ),
    (
        "etc/containers/storage.conf",
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"/var/lib/containers/storage\"\nrunroot = \"/run/containers/storage\"\n",
    ),
    ("etc/containers/registries.conf", ""),
];

/// Adds podman to the node.
///
/// # Errors
/// If its packages cannot be downloaded, or a file cannot be written.
pub(crate) fn add(cache: &Cache, node: &mut Node) -> Result<()> {
    let root = debian::packages(cache, LAYOUT, &["podman"])?;
    for (from, to) in PROGRAMS {
        let program = first_of(&root, from)?;
        add_with_libraries(node, &root, &program, to)?;
    }
    add_texts(node, FILES)
}
