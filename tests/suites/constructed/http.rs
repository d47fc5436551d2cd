//! The HTTP endpoints under stalled clients, many scrapes, and a port that is in use.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Instant;

use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::node::wait_for;
use sriov_testkit::plugin::{self, Plugin};
use sriov_testkit::process;
use sriov_testkit::scrape::Scrape;
use sriov_testkit::sized_tree::{self, Size};

/// Stalled clients: a third idle, a third in the middle of their request, a third that never read their page.
const CLIENTS: usize = 1_000;
/// Resident memory with 30 parallel scrapes.
const MEMORY: u64 = 32 * 1024;

/// A machine whose VFs have counters, its kubelet, and the plugin.
struct Node {
    dir: tempfile::TempDir,
    _kubelet: Kubelet,
    plugin: Plugin,
}

impl Node {
    fn start(size: Size, metrics_address: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        sized_tree::build(dir.path(), size).unwrap();
        for pf in 0..size.pfs {
            for vf in 0..size.vfs {
                let path = format!(
                    "sys/bus/pci/devices/{:04x}:01:00.0/sriov/{vf}/stats",
                    pf + 1
                );
                let stats = dir.path().join(path);
                fs::create_dir_all(&stats).unwrap();
                for (counter, _, _) in sriov_node::metrics::vf_counters::VF_COUNTERS {
                    fs::write(stats.join(counter), "123456789\n").unwrap();
                }
            }
        }
        let config = dir.path().join("config.json");
        fs::write(config, sized_tree::resource_list(size, 1)).unwrap();
        let kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
        let more = [("cni-dir", "cni"), ("host-root", "")];
        let mut flags = plugin::flags(dir.path(), "config.json", &more);
        flags.push(format!("--metrics-address={metrics_address}"));
        let log = dir.path().join("log");
        let plugin = Plugin::start(plugin::binary().unwrap(), &flags, &log).unwrap();
        kubelet
            .wait_for("the list has arrived", |known| {
                known
                    .values()
                    .any(|one| one.ids().len() == size.functions())
            })
            .unwrap();
        Self {
            dir,
            _kubelet: kubelet,
            plugin,
        }
    }

    fn scrape(&self) -> Scrape {
        Scrape::of_log(&self.dir.path().join("log")).unwrap()
    }
}

/// A client that sends this much of a request and reads nothing.
fn stalled(address: &str, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    // The plugin may have closed the connection already.
    let _ = stream.write_all(request.as_bytes());
    stream
}

fn is_in_log(dir: &Path, text: &str) -> bool {
    let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
    log.contains(text)
}

#[test]
fn probes_are_answered_among_a_thousand_stalled_clients() {
    let node = Node::start(Size { pfs: 1, vfs: 64 }, "0");
    let scrape = node.scrape();
    wait_for("it is ready", || {
        scrape
            .ask("GET /readyz")
            .is_ok_and(|answer| answer.0 == 200)
    })
    .unwrap();
    let requests = [
        "",
        "GET /metrics HTTP/1.1\r\nHost: n",
        "GET /metrics HTTP/1.1\r\nHost: n\r\n\r\n",
    ];
    let clients = requests.into_iter().cycle().take(CLIENTS);
    let clients: Vec<_> = clients
        .map(|request| stalled(&scrape.address, request))
        .collect();
    let mut waits = Vec::new();
    for probe in ["GET /healthz", "GET /readyz"].into_iter().cycle().take(20) {
        let start = Instant::now();
        assert_eq!(scrape.ask(probe).unwrap().0, 200, "{probe}");
        waits.push(start.elapsed());
    }
    waits.sort();
    let [median, longest] = [waits[waits.len() / 2], waits[waits.len() - 1]];
    println!("a probe among {CLIENTS} clients takes {median:?}, at most {longest:?}");
    assert!(scrape.page().unwrap().contains("sriov_vf_info"));
    assert_eq!(clients.len(), CLIENTS);
    node.plugin.stop().unwrap();
}

#[test]
fn a_stalled_client_is_disconnected() {
    let node = Node::start(Size { pfs: 1, vfs: 2 }, "0");
    let address = node.scrape().address;
    for request in ["", "GET /healthz HTTP/1.1\r\nX-A: "] {
        let mut stream = stalled(&address, request);
        let mut answer = Vec::new();
        // Ends when the plugin closes the connection.
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    }
    node.plugin.stop().unwrap();
}

#[test]
fn parallel_scrapes_of_2048_vfs_share_a_page() {
    let node = Node::start(Size { pfs: 8, vfs: 256 }, "0");
    let scrape = node.scrape();
    let one = scrape.page().unwrap();
    let (counted, _) = one
        .split_once("# HELP sriov_vf_receive_packets_total")
        .unwrap();
    assert_eq!(
        counted.matches("sriov_vf_receive_bytes_total{").count(),
        2_048
    );
    let scrapes: Vec<_> = (0..30)
        .map(|_| {
            let scrape = scrape.clone();
            thread::spawn(move || scrape.page().unwrap().len())
        })
        .collect();
    for scrape in scrapes {
        assert!(scrape.join().unwrap() > one.len() / 2);
    }
    let [_, peak] = process::memory(node.plugin.id()).unwrap();
    println!(
        "a page of {} KiB; resident at most {peak} KiB",
        one.len() / 1024
    );
    assert!(peak < MEMORY, "{peak} KiB");
    node.plugin.stop().unwrap();
}

#[test]
fn metrics_start_when_their_port_becomes_free() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    // The devices are advertised although the port is in use.
    let node = Node::start(Size { pfs: 1, vfs: 2 }, &address);
    let dir = node.dir.path();
    wait_for("the log names the port", || is_in_log(dir, &address)).unwrap();
    assert!(!is_in_log(dir, "served on http"));
    drop(other);
    assert_eq!(node.scrape().address, address);
    wait_for("it is alive", || {
        let answer = node.scrape().ask("GET /healthz");
        answer.is_ok_and(|answer| answer.0 == 200)
    })
    .unwrap();
    node.plugin.stop().unwrap();
}
