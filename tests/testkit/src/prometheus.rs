//! A real Prometheus that scrapes one target as the Prometheus operator would configure it for a `ServiceMonitor` or `PodMonitor`.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use sriov_lab::kubernetes::render::PROMETHEUS;
use sriov_lab::wait::wait_for;

/// The program of that name.
///
/// # Errors
/// When the directory is not set.
pub fn program(name: &str) -> Result<PathBuf> {
    let dir = std::env::var_os(PROMETHEUS);
    let dir =
        dir.with_context(|| format!("{PROMETHEUS} is not set: `cargo lab manifests` sets it"))?;
    Ok(Path::new(&dir).join(name))
}

/// The scrape configuration that the Prometheus operator makes of a monitor's endpoint, for one discovered target.
///
/// # Errors
/// When the monitor has no endpoint.
pub fn scrape_config(monitor: &Value, address: &str, discovered: &[(&str, &str)]) -> Result<Value> {
    let spec = monitor.get("spec").context("no spec")?;
    let endpoints = ["endpoints", "podMetricsEndpoints"];
    let endpoint = endpoints
        .iter()
        .find_map(|key| spec.get(key)?.get(0))
        .context("no endpoint")?;
    let from = |source: &str, target: &str| json!({ "source_labels": [format!("__meta_kubernetes_{source}")], "target_label": target });
    let mut relabelings = vec![
        from("namespace", "namespace"),
        from("service_name", "service"),
        from("pod_name", "pod"),
        from("pod_container_name", "container"),
        json!({ "target_label": "endpoint", "replacement": "metrics" }),
    ];
    let list = |key: &str| endpoint.get(key).and_then(Value::as_array).cloned();
    let snake = |all: Option<Vec<Value>>| all.unwrap_or_default().iter().map(snake_case).collect();
    let own: Vec<Value> = snake(list("relabelings"));
    relabelings.extend(own);
    let metrics: Vec<Value> = snake(list("metricRelabelings"));
    let labels: Map<String, Value> = discovered
        .iter()
        .map(|(key, value)| (format!("__meta_kubernetes_{key}"), json!(value)))
        .collect();
    Ok(json!({
        "job_name": "monitor",
        "honor_labels": endpoint.get("honorLabels") == Some(&json!(true)),
        "scrape_interval": "200ms",
        "scrape_timeout": "200ms",
        "relabel_configs": relabelings,
        "metric_relabel_configs": metrics,
        "static_configs": [{ "targets": [address], "labels": labels }],
    }))
}

/// A relabeling of the custom resource in the form of the configuration file.
fn snake_case(relabeling: &Value) -> Value {
    let fields = relabeling.as_object().cloned().unwrap_or_default();
    let rename = |(key, value): (String, Value)| match key.as_str() {
        "sourceLabels" => ("source_labels".to_owned(), value),
        "targetLabel" => ("target_label".to_owned(), value),
        _ => (key, value),
    };
    Value::Object(fields.into_iter().map(rename).collect())
}

/// The process; it ends with its owner.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Prometheus {
    /// Starts it with its configuration, data and log in a directory.
    ///
    /// # Errors
    /// When it does not come up; its log is quoted.
    pub fn start(dir: &Path, scrape: &Value, rules: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = json!({
            "global": { "evaluation_interval": "200ms" },
            "rule_files": [rules],
            "scrape_configs": [scrape],
        });
        let file = dir.join("prometheus.yml");
        // JSON is YAML.
        fs::write(&file, config.to_string())?;
        let log = dir.join("log");
        let child = Command::new(program("prometheus")?)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("cannot start Prometheus")?;
        let prometheus = Self { child, port, log };
        wait_for("Prometheus is ready", || {
            prometheus
                .get("/-/ready")
                .is_ok_and(|(status, _)| status == 200)
        })
        .with_context(|| fs::read_to_string(&prometheus.log).unwrap_or_default())?;
        Ok(prometheus)
    }

    /// The series that a query gives, each with its labels and its value.
    ///
    /// # Errors
    /// When Prometheus refuses the query.
    pub fn query(&self, query: &str) -> Result<Vec<(Value, String)>> {
        let mut path = "/api/v1/query?query=".to_owned();
        for byte in query.bytes() {
            write!(path, "%{byte:02X}")?;
        }
        let (status, body) = self.get(&path)?;
        if status != 200 {
            bail!("{query}: {status} {body}");
        }
        let answer: Value = serde_json::from_str(&body)?;
        let result = answer.pointer("/data/result").and_then(Value::as_array);
        let series = |one: &Value| {
            let value = one.pointer("/value/1")?.as_str()?.to_owned();
            Some((one.get("metric")?.clone(), value))
        };
        Ok(result.context(body)?.iter().filter_map(series).collect())
    }

    fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        // Version 1.0, so that the answer comes in one piece.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        let status = head.split(' ').nth(1).context("no status")?;
        Ok((status.parse()?, body.to_owned()))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
