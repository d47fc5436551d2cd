//! `kill -9` at every state that the system calls of ADD and DEL leave on real VFs: one DEL afterwards leaves nothing behind.
//!
//! A call without an effect outside the process leaves the state of the call before: one kill is enough for both.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use sriov_testkit::cni::{
    BIN, RECORDER_BIN, Recorder, assert_nothing_left, at_pf, attachment, config, in_pod, run_with,
};
use sriov_testkit::multus::{Answer, Attachment, answer, set_environment};
use sriov_testkit::node::{Netns, Pf, ip_json, netdev_of, without_noise};

/// Number of VFs that are tested at the same time.
const WORKERS: usize = 4;

fn path() -> String {
    format!("{RECORDER_BIN}:{BIN}")
}

fn fields(index: usize) -> Value {
    json!({ "cniVersion": "1.1.0", "vlan": 100 + index, "mac": format!("02:00:00:00:09:{index:02x}"), "spoofchk": "off", "trust": "on",
        "ipam": { "type": "recorder" } })
}

/// Calls that change nothing outside the process. Those that wait for the kernel or for another thread are not among them.
const WITHOUT_EFFECT: &str = "\
    access arch_prctl bind brk close dup epoll_create1 epoll_ctl eventfd2 execve faccessat faccessat2 \
    fcntl fstat fstatfs getdents64 getegid geteuid getgid getpid getrandom getsockname getsockopt gettid \
    getuid lseek lstat madvise mmap mprotect mremap munmap newfstatat pipe2 pread64 prlimit64 read \
    readlink readlinkat recvfrom recvmsg rseq rt_sigaction rt_sigprocmask sched_getaffinity \
    set_robust_list set_tid_address setsockopt sigaltstack socket stat statfs statx uname";

/// A system call of the main thread: name and position among calls of the same name, as counted by strace.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    name: String,
    nth: usize,
    /// Whether something outside the process may differ after it.
    has_effect: bool,
}

/// Whether a call, a line of strace, may change something outside the process.
fn has_effect(name: &str, line: &str) -> bool {
    let only_opens = name.starts_with("open") && !line.contains("O_CREAT");
    !only_opens && !WITHOUT_EFFECT.split(' ').any(|known| known == name)
}

/// The calls of a verb that is not killed, in order.
fn trace(verb: &str, fields: &Value, attachment: &Attachment) -> Vec<Call> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let to = ["-o", file.path().to_str().unwrap()];
    let done = strace(verb, fields, attachment, &to);
    assert_eq!(done.code, Some(0), "{} {}", done.document, done.log);
    let mut seen = BTreeMap::new();
    let text = std::fs::read_to_string(file.path()).unwrap();
    let calls = text.lines().filter_map(|line| {
        let (name, arguments) = line.split_once('(')?;
        (!name.contains(' ')).then_some((name, arguments))
    });
    calls
        .map(|(name, arguments)| {
            let nth = seen.entry(name.to_owned()).or_insert(0);
            *nth += 1;
            Call {
                name: name.to_owned(),
                nth: *nth,
                has_effect: has_effect(name, arguments),
            }
        })
        .collect()
}

/// The first call, and each that follows a call with an effect.
fn states(calls: &[Call]) -> Vec<&Call> {
    let following = calls.windows(2).filter(|pair| pair[0].has_effect);
    let first = calls.first().into_iter();
    first.chain(following.map(|pair| &pair[1])).collect()
}

/// Runs a verb and kills it as it enters a call.
fn killed(verb: &str, fields: &Value, attachment: &Attachment, call: &Call) -> Answer {
    let Call { name, nth, .. } = call;
    let inject = format!("--inject={name}:signal=KILL:when={nth}");
    strace(verb, fields, attachment, &["-o", "/dev/null", &inject])
}

fn strace(verb: &str, fields: &Value, attachment: &Attachment, options: &[&str]) -> Answer {
    let mut program = Command::new("/usr/bin/strace");
    set_environment(&mut program, Path::new(BIN), verb, attachment);
    program
        .env("CNI_PATH", path())
        .args(options)
        .arg(format!("{BIN}/sriov"));
    answer(program, &config(&attachment.device_id, fields).to_string()).unwrap()
}

fn call(verb: &str, fields: &Value, attachment: &Attachment) -> Answer {
    run_with(verb, fields, attachment, &[("CNI_PATH", &path())])
}

/// One VF with its pod and its free state.
struct Place<'a> {
    pf: &'a Pf,
    index: usize,
    vf: String,
    before: Value,
    recorder: &'a Recorder,
}

impl<'a> Place<'a> {
    fn new(pf: &'a Pf, index: usize, recorder: &'a Recorder) -> Self {
        let mut place = Self {
            pf,
            index,
            vf: pf.vf(index).unwrap(),
            before: Value::Null,
            recorder,
        };
        place.before = place.now();
        place
    }

    fn now(&self) -> Value {
        let mut link = netdev_of(&self.vf)
            .and_then(|name| ip_json(None, &["link", "show", "dev", &name]))
            .unwrap_or_default();
        without_noise(&mut link);
        json!([link, at_pf(self.pf, self.index)])
    }

    /// Attaches and releases the VF; one of the two calls is `interrupted`. One DEL afterwards must leave nothing behind.
    fn round(&self, verb: &str, at: &str, interrupted: impl FnOnce(&Value, &Attachment)) {
        let pod = Netns::new(&format!("kill-{}", self.index)).unwrap();
        let attachment = Attachment {
            container_id: format!("c-{}-{}", self.index, at.replace([' ', '/'], "-")),
            ..attachment(&pod, &self.vf)
        };
        let fields = fields(self.index);
        if verb == "DEL" {
            let added = call("ADD", &fields, &attachment);
            assert_eq!(added.code, Some(0), "{} {}", added.document, added.log);
        }
        interrupted(&fields, &attachment);
        // In every second round the pod's namespace is removed first.
        let is_dead = at.len().is_multiple_of(2);
        if is_dead {
            pod.delete().unwrap();
        }
        let deleted = call("DEL", &fields, &attachment);
        let at = format!("{verb} killed at {at} on VF {}", self.index);
        assert_eq!(
            deleted.code,
            Some(0),
            "{at}: {} {}",
            deleted.document,
            deleted.log
        );
        assert_eq!(self.now(), self.before, "{at}");
        assert!(is_dead || in_pod(&pod) == Value::Null, "{at}");
        let calls = self.recorder.calls();
        let is_own = |call: &&String| call.split(' ').nth(1) == Some(&attachment.container_id);
        let mut own = calls.iter().filter(is_own);
        let added = own.clone().any(|call| call.starts_with("ADD"));
        assert!(
            !added || own.next_back().unwrap().starts_with("DEL"),
            "{at}: {calls:?}"
        );
    }
}

/// Kills the verb at each state that its calls leave, on several VFs at once.
fn kill_everywhere(verb: &str) {
    let pf = Pf::with_vfs(0, WORKERS).unwrap();
    let recorder =
        Recorder::new(&json!({ "cniVersion": "1.1.0", "ips": [{ "address": "192.0.2.10/24" }] }))
            .unwrap();
    let places: Vec<Place<'_>> = (0..WORKERS)
        .map(|index| Place::new(&pf, index, &recorder))
        .collect();
    let calls = Mutex::new(Vec::new());
    places[0].round(verb, "nothing", |fields, attachment| {
        *calls.lock().unwrap() = trace(verb, fields, attachment);
    });
    let all = calls.into_inner().unwrap();
    let calls = states(&all);
    let (next, reached) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for place in &places {
            scope.spawn(|| {
                while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                    place.round(
                        verb,
                        &format!("{} {}", call.name, call.nth),
                        |fields, attachment| {
                            let answer = killed(verb, fields, attachment, call);
                            if answer.code.is_none() {
                                reached.fetch_add(1, Ordering::Relaxed);
                            }
                        },
                    );
                }
            });
        }
    });
    let reached = reached.into_inner();
    println!(
        "{verb}: killed at {reached} of {} states that {} system calls leave",
        calls.len(),
        all.len()
    );
    // The number of waits for the kernel differs between runs; all other calls are reached every time.
    let waits = calls.iter().filter(|call| {
        matches!(
            call.name.as_str(),
            "epoll_wait" | "recvfrom" | "futex" | "wait4" | "poll" | "brk"
        )
    });
    assert!(
        reached >= calls.len() - waits.count() && reached > 30 && all.len() > 100,
        "{reached} of {}",
        calls.len()
    );
    assert_nothing_left();
}

#[test]
fn add_killed_at_any_call_leaves_nothing() {
    kill_everywhere("ADD");
}

#[test]
fn del_killed_at_any_call_leaves_nothing() {
    kill_everywhere("DEL");
}

#[test]
fn killed_threads_in_the_pod_leave_nothing() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let recorder =
        Recorder::new(&json!({ "cniVersion": "1.1.0", "ips": [{ "address": "192.0.2.10/24" }] }))
            .unwrap();
    let place = Place::new(&pf, 0, &recorder);
    for (verb, at, options) in [
        (
            "ADD",
            "setns",
            ["-f", "--inject=setns:signal=KILL:when=1"].as_slice(),
        ),
        (
            "ADD",
            "arp_notify",
            &[
                "-f",
                "--trace-path=/proc/sys/net/ipv4/conf/net1/arp_notify",
                "--inject=%file:signal=KILL",
            ],
        ),
        (
            "ADD",
            "ndisc_notify",
            &[
                "-f",
                "--trace-path=/proc/sys/net/ipv6/conf/net1/ndisc_notify",
                "--inject=%file:signal=KILL",
            ],
        ),
        ("DEL", "setns", &["-f", "--inject=setns:signal=KILL:when=1"]),
    ] {
        place.round(verb, at, |fields, attachment| {
            let all = [["-o", "/dev/null"].as_slice(), options].concat();
            let answer = strace(verb, fields, attachment, &all);
            assert_eq!(
                answer.code, None,
                "{at}: {} {}",
                answer.document, answer.log
            );
        });
    }
    assert_nothing_left();
}
