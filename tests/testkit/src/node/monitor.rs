//! Commands to the monitor of the node's QEMU, which pulls cables and cards.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Sends a command and returns its answer; the names of the PFs are `pf0` and `pf1`.
///
/// The protocol is that of QEMU's `docs/interop/qmp-spec.rst`.
pub fn command(name: &str, arguments: &Value) -> Result<Value> {
    let path = port()?;
    let file = File::options().read(true).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let mut port = Port {
        lines: BufReader::new(file.try_clone()?).lines(),
        file,
    };
    // Required once for each boot; the monitor refuses repetitions, which is harmless.
    port.ask("qmp_capabilities", &json!({}))?;
    let answer = port.ask(name, arguments)?;
    if let Some(error) = answer.pointer("/error/desc") {
        bail!("the monitor refused `{name}`: {error}");
    }
    Ok(answer)
}

/// Puts the card of a port into its slot, with its former address.
pub fn plug(port: &str) -> Result<Value> {
    let card = json!({
        "driver": "igb",
        "id": format!("pf{port}"),
        "bus": format!("rp{port}"),
        "netdev": format!("n{port}"),
        "mac": format!("52:54:00:00:00:1{port}"),
    });
    command("device_add", &card)
}

struct Port {
    file: File,
    lines: Lines<BufReader<File>>,
}

impl Port {
    fn ask(&mut self, name: &str, arguments: &Value) -> Result<Value> {
        let request = json!({ "execute": name, "arguments": arguments, "id": name });
        writeln!(self.file, "{request}")?;
        loop {
            let line = self.lines.next().context("the monitor hung up")??;
            let said: Value = serde_json::from_str(&line)
                .with_context(|| format!("the answer of the monitor is not JSON: {line}"))?;
            // The greeting and events have no id.
            if said.get("id") == Some(&json!(name)) {
                return Ok(said);
            }
        }
    }
}

fn port() -> Result<PathBuf> {
    for entry in std::fs::read_dir("/sys/class/virtio-ports")?.flatten() {
        if std::fs::read_to_string(entry.path().join("name"))?.trim() == "monitor" {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    bail!("the node has no port to the monitor")
}
