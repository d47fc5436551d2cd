//! The image of a pod with `dpdk-testpmd` of Debian, for the suite `dpdk`.

use anyhow::Result;

use crate::architecture::Architecture;
use crate::cache::Cache;
use crate::debian::{self, NodeParts, first_of};
use crate::image::{loader, shared_libraries};
use crate::oci::{self, Image};
use crate::qemu::Node;

/// Version of the packages in the cache.
const LAYOUT: &str = "dpdk-v1";

const PROGRAM: &str = "usr/bin/dpdk-testpmd";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Drivers that the program loads by path: buffers, and the VF of the emulated NIC.
const DRIVERS: &[&str] = &["librte_mempool_ring.so", "librte_net_e1000.so"];

/// Adds the image to the node.
pub(super) fn add(cache: &Cache, parts: &NodeParts, node: &mut Node) -> Result<()> {
    let root = debian::packages(cache, LAYOUT, &["dpdk-dev"])?;
    let program = first_of(&root, PROGRAM)?;
    let mut files = vec![
        (
            "bin/busybox".to_owned(),
            first_of(&parts.guest, "bin/busybox")?,
        ),
        ("lib64/ld-linux-x86-64.so.2".to_owned(), loader(&root)?),
    ];
    for library in shared_libraries(&root, &program)? {
        let name = library.file_name().unwrap_or_default().to_string_lossy();
        files.push((format!("{LIBRARIES}/{name}"), library.clone()));
    }
    for driver in DRIVERS {
        let file = first_of(&root, &format!("{LIBRARIES}/{driver}"))?;
        files.push((format!("usr/lib/dpdk/{driver}"), file));
    }
    files.push((PROGRAM.to_owned(), program));
    let image = Image {
        name: "localhost/dpdk:1".to_owned(),
        builds: vec![(Architecture::Amd64, files)],
        entrypoint: vec![format!("/{PROGRAM}")],
        ..Image::default()
    };
    let tar = node.run_path("dpdk.tar");
    oci::write(&[image], &tar)?;
    node.add_file("lab/images/dpdk.tar", &tar)
}
