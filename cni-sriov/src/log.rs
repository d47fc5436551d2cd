//! Logs: to standard error, or to the file that the configuration names; never to standard output.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::fcntl::OFlag;
use serde_json::Value;
use sriov_config::NetConf;
use sriov_config::netconf::LogLevel;
use tracing::Level;

use crate::request::Environment;
use crate::streams::StandardError;

/// Size in bytes from which a file is rotated; the Go plugin has the same.
const FULL: u64 = 100 << 20;
/// Rotated files that are kept; the Go plugin keeps as many.
const KEPT: u32 = 5;

/// Starts logging as the configuration on standard input requests; without a configuration, to standard error.
pub(crate) fn start(stdin: &str) {
    let conf = NetConf::parse_for_release(stdin).ok().map(|(conf, _)| conf);
    let level = match conf.as_ref().and_then(|conf| conf.log_level) {
        Some(LogLevel::Error) => Level::ERROR,
        Some(LogLevel::Warning) => Level::WARN,
        Some(LogLevel::Info) | None => Level::INFO,
        Some(LogLevel::Debug) => Level::DEBUG,
    };
    let file = conf.and_then(|conf| conf.log_file);
    let opened = file.as_deref().map(open).transpose();
    let (writer, refused) = match opened {
        Ok(Some(file)) => (LogWriter::File(file), None),
        Ok(None) => (LogWriter::StandardError(StandardError::default()), None),
        Err(error) => (
            LogWriter::StandardError(StandardError::default()),
            Some(error),
        ),
    };
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_target(false)
        .with_max_level(level)
        .log_internal_errors(false)
        .with_writer(Mutex::new(writer))
        .init();
    if let (Some(path), Some(error)) = (file, refused) {
        tracing::warn!(path = %path.display(), %error, "cannot open logFile");
    }
}

/// Where lines go; a line that cannot be written is lost, because it must never end the call.
#[derive(Debug)]
enum LogWriter {
    StandardError(StandardError),
    File(File),
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::StandardError(stream) => stream.write(line),
            Self::File(file) => {
                let _ = file.write_all(line);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The call that each line is about, because a file has the lines of many calls.
pub(crate) fn call(environment: &Environment, stdin: &str) -> tracing::Span {
    let network = serde_json::from_str::<Value>(stdin).ok();
    let network = network
        .as_ref()
        .and_then(|conf| conf.get("name"))
        .and_then(Value::as_str);
    tracing::error_span!(
        "cni",
        command = environment.get("CNI_COMMAND").as_deref(),
        network,
        container = environment.get("CNI_CONTAINERID").as_deref(),
        ifname = environment.get("CNI_IFNAME").as_deref(),
    )
}

fn open(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() >= FULL) {
        rotate(path)?;
    }
    let mut options = File::options();
    options.append(true).create(true).mode(0o600);
    // A pipe that nobody reads is refused instead of waited for.
    options.custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}

/// `x.4` becomes `x.5`, and so on; `x` becomes `x.1`.
fn rotate(path: &Path) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (1..KEPT).rev() {
        match fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn full_file_is_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sriov.log");
        fs::write(&path, "old").unwrap();
        fs::write(dir.path().join("sriov.log.1"), "older").unwrap();
        rotate(&path).unwrap();
        open(&path).unwrap().write_all(b"new\n").unwrap();
        open(&path).unwrap().write_all(b"newer\n").unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("sriov.log"), "new\nnewer\n");
        assert_eq!(
            (read("sriov.log.1"), read("sriov.log.2")),
            ("old".into(), "older".into())
        );
        assert!(open(Path::new("/nowhere/x")).is_err());
    }
}
