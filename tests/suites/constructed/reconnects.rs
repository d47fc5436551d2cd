//! Thousands of kubelet restarts and broken streams leave no memory, descriptor, thread or task behind in the device plugin.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use sriov_device_plugin::proto::v1beta1::Empty;
use sriov_device_plugin::proto::v1beta1::device_plugin_client::DevicePluginClient;
use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::node::wait_for;
use sriov_testkit::plugin::{self, Plugin};
use sriov_testkit::scrape::Scrape;
use sriov_testkit::tree::Tree;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

const DEVICES: usize = 256;
const RESOURCE: &str = "x.y/vf";
/// Memory that an allocator may keep; a leak of one list per restart would need 20 MiB or more.
const SLACK: usize = 4 * 1024 * 1024;

struct Node {
    dir: tempfile::TempDir,
    kubelet: Kubelet,
    plugin: Plugin,
    scrape: Scrape,
}

/// Resources that a process holds.
#[derive(Clone, Copy, Debug)]
struct Holds {
    descriptors: usize,
    threads: usize,
    tasks: usize,
    streams: usize,
    memory: usize,
}

impl Node {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path());
        let pf = "0000:01:00.0";
        tree.pf(pf, "igb", 256).unwrap();
        for index in 0..DEVICES {
            let vf = format!("0000:02:{:02x}.{}", index / 8, index % 8);
            tree.vf(pf, &vf, "igbvf").unwrap();
        }
        let config = json!({ "resourceList": [{ "resourceName": "vf", "resourcePrefix": "x.y", "selectors": { "drivers": ["igbvf"] } }] });
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
        let mut flags = plugin::flags(
            dir.path(),
            "config.json",
            &[("cni-dir", "cni"), ("host-root", "")],
        );
        flags.push("--metrics-address=0".to_owned());
        let log = dir.path().join("log");
        let plugin = Plugin::start(plugin::binary().unwrap(), &flags, &log).unwrap();
        Self {
            scrape: Scrape::of_log(&log).unwrap(),
            dir,
            kubelet,
            plugin,
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("kubelet/device-plugins/x.y_vf.sock")
    }

    /// Waits until this kubelet has all devices in its list.
    fn is_listed(&self) {
        let is_whole = |list: &Vec<_>| list.len() == DEVICES;
        self.kubelet
            .wait_for("all devices are listed", |known| {
                known
                    .get(RESOURCE)
                    .is_some_and(|known| known.lists.iter().any(is_whole))
            })
            .unwrap();
    }

    fn process(&self) -> PathBuf {
        Path::new("/proc").join(self.plugin.id().to_string())
    }

    fn entries(&self, name: &str) -> usize {
        fs::read_dir(self.process().join(name)).unwrap().count()
    }

    /// Whether a thread of the runtime's pool exists: it ends a second after its last scan, query or scrape.
    fn is_busy(&self) -> bool {
        let threads = fs::read_dir(self.process().join("task")).unwrap();
        let names = threads.flatten().map(|thread| thread.path().join("comm"));
        let mut names = names.filter_map(|path| fs::read_to_string(path).ok());
        names.any(|name| name.starts_with("tokio-"))
    }

    /// Descriptors and threads while nothing is in progress. Scrapes would wake the threads of the pool in turn, so that none of them ends.
    fn at_rest(&self) -> (usize, usize) {
        wait_for("no thread of the pool is left", || !self.is_busy()).unwrap();
        (self.entries("fd"), self.entries("task"))
    }

    fn holds(&self) -> Holds {
        let (descriptors, threads) = self.at_rest();
        let process = self.process();
        let page = self.scrape.page().unwrap();
        let metric = |name: &str| {
            let line = page.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit_once(' ').unwrap().1.parse().unwrap()
        };
        let status = fs::read_to_string(process.join("status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory: usize = memory
            .unwrap()
            .trim_end_matches("kB")
            .trim()
            .parse()
            .unwrap();
        Holds {
            descriptors,
            threads,
            tasks: metric("sriov_device_plugin_tasks "),
            streams: metric("sriov_device_plugin_list_streams{"),
            memory: memory * 1024,
        }
    }

    /// Waits until the plugin holds as much as before.
    fn is_as_before(&self, before: Holds, what: &str) {
        let mut now = before;
        let settled = wait_for("the plugin holds as much as before", || {
            now = self.holds();
            now.descriptors <= before.descriptors
                && now.threads <= before.threads
                && now.tasks <= before.tasks
                && now.streams == 1
        });
        println!("{what}: {before:?} became {now:?}");
        settled.unwrap_or_else(|error| panic!("{error:#}: {before:?} became {now:?}"));
        assert!(
            now.memory < before.memory + SLACK,
            "{before:?} became {now:?}"
        );
    }
}

async fn connect(socket: &Path) -> DevicePluginClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
    DevicePluginClient::new(endpoint.connect().await.unwrap())
}

/// Reads the first list and breaks the stream.
async fn break_a_stream(client: &mut DevicePluginClient<Channel>) {
    let mut lists = client.list_and_watch(Empty {}).await.unwrap().into_inner();
    let list = lists.message().await.unwrap().unwrap();
    assert_eq!(list.devices.len(), DEVICES);
}

#[test]
fn thousands_of_restarts_leave_nothing_behind() {
    let mut node = Node::start();
    let runtime = Runtime::new().unwrap();
    let go_through = |node: &mut Node, times: usize| {
        for _ in 0..times {
            node.kubelet.restart().unwrap();
            node.is_listed();
        }
        let socket = node.socket();
        runtime.block_on(async {
            let mut lasting = connect(&socket).await;
            for _ in 0..times / 2 {
                // With a new connection each time, and with one that stays.
                break_a_stream(&mut connect(&socket).await).await;
                break_a_stream(&mut lasting).await;
            }
        });
    };
    node.is_listed();
    go_through(&mut node, 100);
    let before = node.holds();
    go_through(&mut node, 2_000);
    node.is_as_before(before, "2,000 restarts and 2,000 broken streams");

    // The kubelet keeps its connection to a removed socket: the plugin must close it.
    for _ in 0..50 {
        let registrations = |node: &Node| {
            let known = node.kubelet.known();
            known[RESOURCE].registrations
        };
        let last = registrations(&node);
        fs::remove_file(node.socket()).unwrap();
        node.kubelet
            .wait_for("it is registered again", |known| {
                known[RESOURCE].registrations > last
            })
            .unwrap();
    }
    node.is_as_before(before, "50 removed sockets");
    node.plugin.stop().unwrap();
}
