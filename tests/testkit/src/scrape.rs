//! Requests metrics and probes of a running plugin, as Prometheus and the kubelet do.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context, Result, bail};

use sriov_lab::wait::wait_for;

/// The HTTP endpoint of a plugin that was started with `--metrics-address=0`.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// Host and port.
    pub address: String,
}

impl Scrape {
    /// Waits until the log of the plugin names the address.
    pub fn of_log(log: &Path) -> Result<Self> {
        let mut found = None;
        wait_for("the log names the address of the metrics", || {
            let text = fs::read_to_string(log).unwrap_or_default();
            let address = |line: &str| {
                let (_, url) = line.split_once("served on http://")?;
                Some(url.strip_suffix("/metrics")?.to_owned())
            };
            found = text.lines().find_map(address);
            found.is_some()
        })?;
        let address = found.context("no address")?;
        Ok(Self { address })
    }

    /// Status and body of a request such as `GET /readyz`.
    pub fn ask(&self, request: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address)?;
        write!(
            stream,
            "{request} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("the answer is not HTTP")?;
        let status = head.split(' ').nth(1).context("no status")?;
        Ok((status.parse()?, body.to_owned()))
    }

    /// The page of metrics.
    pub fn page(&self) -> Result<String> {
        match self.ask("GET /metrics")? {
            (200, page) => Ok(page),
            (status, body) => bail!("/metrics answered {status}: {body}"),
        }
    }

    /// Waits until the page contains a line, or no longer contains it.
    pub fn wait_for_line(&self, line: &str, is_there: bool) -> Result<()> {
        let mut page = String::new();
        let what = format!(
            "{line} is {}on the page",
            if is_there { "" } else { "not " }
        );
        wait_for(&what, || {
            page = self.page().unwrap_or_default();
            !page.is_empty() && page.lines().any(|found| found == line) == is_there
        })
        .with_context(|| page)
    }
}
