//! Runs the control plane outside the node: etcd, kube-apiserver and a proxy for the suites, on free ports of the loopback device.
//!
//! Emulation would make it slow on the node. The node reaches it through QEMU's user network.

use std::fmt::Write;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{LAYOUT, NEWEST, PACKAGES};
use crate::cache::Cache;
use crate::checkout::workspace;
use crate::go::Programs;
use crate::image::command_in;
use crate::wait::wait_for;
use crate::{debian, go, progress};

/// The host's loopback device as the node sees it (QEMU's user network).
const HOST_OF_NODE: &str = "10.0.2.2";

/// The server's certificate on the node.
pub(crate) const AUTHORITY: &str = "/etc/kubernetes/cert.pem";

/// The controllers of workloads and of claims; the garbage collector deletes the claims of deleted pods.
const CONTROLLERS: &str = "--controllers=daemonset-controller,deployment-controller,replicaset-controller,resourceclaim-controller,garbage-collector-controller";

const MANIFESTS: &str = include_str!("manifests.yaml");

/// A running control plane; it is killed when this is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    dir: PathBuf,
    kubectl: PathBuf,
    /// Port of the proxy.
    proxy: u16,
    services: Vec<Service>,
}

#[derive(Debug)]
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl ControlPlane {
    /// Starts one of the newest Kubernetes for a program of this machine, without scheduler and controllers.
    ///
    /// # Errors
    /// If a component is missing, cannot be built, or does not start.
    pub fn alone(dir: &Path) -> Result<Self> {
        let cache = Cache::open()?;
        let debian = debian::packages(&cache, LAYOUT, PACKAGES)?;
        Self::start(&debian, &go::programs(&cache, NEWEST)?, dir)
    }

    /// Address of its proxy, which needs no token and has an administrator's rights.
    pub fn local_address(&self) -> String {
        format!("127.0.0.1:{}", self.proxy)
    }

    /// The same address as the node sees it.
    pub(super) fn address(&self) -> String {
        format!("{HOST_OF_NODE}:{}", self.proxy)
    }

    /// Starts it with its state and logs in `dir`, and applies the manifests that every suite needs.
    ///
    /// # Errors
    /// If a component does not start; the end of its log is quoted.
    pub(crate) fn start(debian: &Path, programs: &Programs, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let [client, peer, secure, proxy] = free_ports()?;
        let mut plane = Self {
            dir: dir.to_owned(),
            kubectl: programs.kubernetes.join("kubectl"),
            proxy,
            services: Vec::new(),
        };
        plane.write_secrets(programs, secure)?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let mut etcd = command_in(debian)?;
        etcd.push(debian.join("usr/bin/etcd").to_string_lossy().into_owned());
        plane.spawn(
            "etcd",
            &etcd,
            &[
                format!("--data-dir={}", dir.join("etcd").display()),
                // Its only member must not lose an election against a busy machine.
                "--heartbeat-interval=500".to_owned(),
                "--election-timeout=5000".to_owned(),
                format!("--listen-client-urls={}", url(client)),
                format!("--advertise-client-urls={}", url(client)),
                format!("--listen-peer-urls={}", url(peer)),
                format!("--initial-advertise-peer-urls={}", url(peer)),
                format!("--initial-cluster=default={}", url(peer)),
            ],
        )?;
        let file = |name: &str| dir.join(name).display().to_string();
        let server = programs.kubernetes.join("kube-apiserver");
        plane.spawn(
            "kube-apiserver",
            &[server.display().to_string()],
            &[
                format!("--etcd-servers={}", url(client)),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--secure-port={secure}"),
                format!("--tls-cert-file={}", file("cert.pem")),
                format!("--tls-private-key-file={}", file("key.pem")),
                format!("--token-auth-file={}", file("tokens")),
                "--authorization-mode=Node,RBAC".to_owned(),
                "--service-account-issuer=https://lab".to_owned(),
                format!("--service-account-key-file={}", file("cert.pem")),
                format!("--service-account-signing-key-file={}", file("key.pem")),
                "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
                "--endpoint-reconciler-type=none".to_owned(),
                // Every installer of clusters sets it: the pods of sriov-network-operator are privileged.
                "--allow-privileged=true".to_owned(),
                // No controller creates service accounts here.
                "--disable-admission-plugins=ServiceAccount".to_owned(),
                "--feature-gates=ResourceHealthStatus=true".to_owned(),
            ],
        )?;
        progress::step("starting the control plane", || {
            plane.wait("kube-apiserver", |plane| {
                plane.kubectl(&["get", "--raw", "/readyz"]).is_ok()
            })?;
            let manifests = dir.join("manifests.yaml");
            std::fs::write(&manifests, MANIFESTS)?;
            plane.kubectl(&["apply", "-f", &manifests.to_string_lossy()])?;
            plane.kubectl(&[
                "wait",
                "--for=condition=Established",
                "customresourcedefinition",
                "--all",
            ])
        })?;
        let kubectl = plane.kubectl.display().to_string();
        plane.spawn(
            "proxy",
            &[kubectl],
            &[
                format!("--kubeconfig={}", file("admin.kubeconfig")),
                "proxy".to_owned(),
                format!("--port={proxy}"),
                "--accept-hosts=.*".to_owned(),
            ],
        )?;
        plane.wait("proxy", |_| {
            std::net::TcpStream::connect(("127.0.0.1", proxy)).is_ok()
        })?;
        Ok(plane)
    }

    /// Starts the scheduler and the controllers of workloads and claims, for suites with pods that do not name a node.
    ///
    /// # Errors
    /// If a program does not start.
    pub(super) fn start_controllers(&mut self, programs: &Programs) -> Result<()> {
        let config = format!("--kubeconfig={}", self.kubeconfig("admin").display());
        for (name, more) in [
            ("kube-scheduler", None),
            ("kube-controller-manager", Some(CONTROLLERS)),
        ] {
            let program = programs.kubernetes.join(name).display().to_string();
            let mut words = vec![
                config.clone(),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
            ];
            words.extend(more.map(str::to_owned));
            self.spawn(name, &[program], &words)?;
        }
        Ok(())
    }

    /// The kubeconfig of a user: `admin` for this machine, the others for the node.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.dir.join(format!("{user}.kubeconfig"))
    }

    /// The server's certificate, which belongs at [`AUTHORITY`] of the node.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.join("cert.pem")
    }

    /// Runs kubectl as administrator, in the checkout; gives what it prints.
    pub(super) fn kubectl(&self, words: &[&str]) -> Result<String> {
        let output = Command::new(&self.kubectl)
            .arg("--kubeconfig")
            .arg(self.kubeconfig("admin"))
            .args(words)
            .current_dir(workspace())
            .env("HOME", &self.dir)
            .stdin(Stdio::null())
            .output()
            .context("cannot start kubectl")?;
        if !output.status.success() {
            bail!(
                "kubectl {}: {}",
                words.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Creates the server's certificate, the users' tokens and their kubeconfigs.
    fn write_secrets(&self, programs: &Programs, port: u16) -> Result<()> {
        let made = Command::new(programs.network.join("generate_cert"))
            .args(["--ecdsa-curve", "P256", "--host"])
            .arg(format!("127.0.0.1,{HOST_OF_NODE}"))
            .current_dir(&self.dir)
            .stderr(Stdio::null())
            .status()
            .context("cannot start generate_cert")?;
        if !made.success() {
            bail!("generate_cert failed");
        }
        let here = self.dir.join("cert.pem").display().to_string();
        let mut tokens = String::new();
        for (user, name, groups, host, authority) in [
            (
                "admin",
                "admin",
                "system:masters",
                "127.0.0.1",
                here.as_str(),
            ),
            (
                "kubelet",
                "system:node:node",
                "system:nodes",
                HOST_OF_NODE,
                AUTHORITY,
            ),
            ("multus", "multus", "lab", HOST_OF_NODE, AUTHORITY),
        ] {
            let token = random()?;
            writeln!(tokens, "{token},{name},{name},\"{groups}\"")?;
            let config = kubeconfig(&format!("https://{host}:{port}"), authority, &token);
            std::fs::write(self.kubeconfig(user), config)?;
        }
        Ok(std::fs::write(self.dir.join("tokens"), tokens)?)
    }

    fn spawn(&mut self, name: &str, program: &[String], words: &[String]) -> Result<()> {
        let log = std::fs::File::create(self.log(name))?;
        // The parent-death signal kills it when the lab is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(program)
            .args(words)
            .env("HOME", &self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        self.services.push(Service(child));
        Ok(())
    }

    fn wait(&self, name: &str, mut is_up: impl FnMut(&Self) -> bool) -> Result<()> {
        wait_for(&format!("{name} answers"), || is_up(self)).with_context(|| {
            let log = std::fs::read_to_string(self.log(name)).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(5).collect();
            format!("{name} does not start; its log ends with: {last:#?}")
        })
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }
}

/// Ports without a listener at this moment.
fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT]> {
    let mut ports = [0; COUNT];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn random() -> Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

fn kubeconfig(server: &str, authority: &str, token: &str) -> String {
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "lab", "cluster": { "server": server, "certificate-authority": authority } }],
        "users": [{ "name": "lab", "user": { "token": token } }],
        "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "lab" } }],
        "current-context": "lab",
    });
    config.to_string()
}
