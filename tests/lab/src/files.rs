//! Adds programs with their libraries, and text files, to the node.

use std::path::Path;

use anyhow::Result;

use crate::image::shared_libraries;
use crate::qemu::Node;

/// Adds a program of a package root with its libraries.
pub(crate) fn add_with_libraries(
    node: &mut Node,
    root: &Path,
    program: &Path,
    to: &str,
) -> Result<()> {
    for library in shared_libraries(root, program)? {
        let name = library.file_name().unwrap_or_default().to_string_lossy();
        node.add_file(&format!("usr/lib/x86_64-linux-gnu/{name}"), &library)?;
    }
    node.add_file(to, program)
}

/// Adds text files: path on the node, content.
pub(crate) fn add_texts(node: &mut Node, files: &[(&str, &str)]) -> Result<()> {
    for (name, text) in files {
        let file = node.run_path(&name.replace('/', "-"));
        std::fs::write(&file, text)?;
        node.add_file(name, &file)?;
    }
    Ok(())
}
