//! Boots the node and runs jobs on it; every wait has a deadline, and no QEMU outlives the lab.

mod lines;
mod machine;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use self::lines::POWER_CUT;
use self::lines::{Line, Lines};
use self::machine::{Accel, Machine};
use crate::cache::{Cache, RunDir};
use crate::cpio::Archive;
use crate::debian::NodeParts;
use crate::image;
use crate::progress;

/// Limit from power-on to the first job, which holds on slow and busy machines too.
const BOOT: Duration = Duration::from_mins(2);
/// Limit for a boot with KVM, which may not work on this machine.
const KVM_BOOT: Duration = Duration::from_secs(30);
/// Limit of silence of a job: on an idle machine, the longest test takes a tenth of it.
const SILENCE: Duration = Duration::from_mins(10);

/// One program to run on the node.
#[derive(Clone, Debug)]
pub struct Job {
    /// Name in the output.
    pub name: String,
    /// Program and arguments, with paths of the node.
    pub argv: Vec<String>,
    /// Which output is relayed.
    pub output: Output,
}

/// Which output of a job is relayed to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output; standard error goes to the node's console.
    StdoutOnly,
    /// Both.
    Both,
    /// Neither: standard output is kept for [`Outcome::lines`].
    Kept,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Name of the job.
    pub name: String,
    /// Its exit code.
    pub code: i32,
    /// Time from the end of the previous job, or from the boot, to the end of this one.
    pub took: Duration,
    /// Standard output, for [`Output::Kept`].
    pub lines: Vec<String>,
}

/// The description of a node, which can be booted.
#[derive(Debug)]
pub struct Node {
    run: RunDir,
    kvm_refused: PathBuf,
    kernel: PathBuf,
    qemu: PathBuf,
    base: PathBuf,
    files: Vec<(String, PathBuf)>,
    machine: Machine,
    prefix: String,
    /// The directory for the output of each job; absent if no output is kept.
    logs: Option<PathBuf>,
}

impl Node {
    /// Describes the default node: two PFs on two NUMA nodes, connected by one wire.
    pub fn new(cache: &Cache, parts: &NodeParts) -> Result<Self> {
        let run = cache.run_dir()?;
        let base = run.join("base.cpio");
        image::write_base(parts, &base)?;
        Ok(Self {
            run,
            kvm_refused: cache.path("kvm-refused"),
            kernel: image::kernel(parts)?,
            qemu: parts.qemu.clone(),
            base,
            files: Vec::new(),
            machine: Machine::default(),
            prefix: String::new(),
            logs: None,
        })
    }

    /// Adds what containers need: memory, a root for `pivot_root`, cgroups, a network to this machine, and an ext4 disk for `/var/lib`.
    pub fn make_room_for_containers(&mut self, disk: PathBuf) {
        self.machine.disk = Some(disk);
    }

    /// Sets the number of PFs, which alternate between the two NUMA nodes.
    ///
    /// More than eight PFs are placed on cards of two: the firmware's I/O space has no room for the windows of more than nine root ports.
    pub fn set_ports(&mut self, ports: u8) {
        self.machine.ports = ports.min(16);
    }

    /// Emulates the processors in parallel and with all features, for measurements on an idle machine.
    pub fn make_parallel(&mut self) {
        self.machine.is_parallel = true;
    }

    /// Sets a prefix for each line of output, which distinguishes the nodes.
    pub fn set_prefix(&mut self, prefix: String) {
        self.prefix = prefix;
    }

    /// Keeps the output of each job and the node's console in a directory, which is emptied first.
    ///
    /// # Errors
    /// If the directory cannot be created.
    pub fn keep_logs(&mut self, dir: &Path) -> Result<()> {
        let _ = std::fs::remove_dir_all(dir);
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        self.logs = Some(dir.to_owned());
        Ok(())
    }

    /// A path in the directory of this node, which is removed with it.
    pub fn run_path(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    /// Adds a program to the node.
    pub fn add_file(&mut self, name: &str, source: &Path) -> Result<()> {
        if !source.exists() {
            bail!(
                "cannot add {} to the node: the file does not exist",
                source.display()
            );
        }
        self.files.push((name.to_owned(), source.to_owned()));
        Ok(())
    }

    /// The last lines of the node's console.
    pub fn console_tail(&self, lines: usize) -> Option<String> {
        let text =
            String::from_utf8_lossy(&std::fs::read(self.run.join("console")).ok()?).into_owned();
        let all: Vec<&str> = text.lines().collect();
        Some(all.get(all.len().saturating_sub(lines)..)?.join("\n"))
    }

    /// Boots the node, runs the jobs one after the other, relays their output, and powers the node off.
    ///
    /// A job can request a power cut, once: the node boots again with the same disk, and the job starts again.
    ///
    /// # Errors
    /// If the node does not boot, hangs, or dies before the end of the last job; a failed job is an outcome.
    pub fn run(&self, jobs: &[Job]) -> Result<Vec<Outcome>> {
        let ended = self.run_jobs(jobs);
        if let Some(logs) = &self.logs {
            let _ = std::fs::copy(self.run.join("console"), logs.join("console.log"));
        }
        ended
    }

    fn run_jobs(&self, jobs: &[Job]) -> Result<Vec<Outcome>> {
        let initrd = self.write_initrd(Some(jobs))?;
        let (mut outcomes, mut cut_in) = (Vec::new(), None);
        loop {
            let mut booted = self.boot(&initrd)?;
            match self.follow(&mut booted.lines, jobs, &mut outcomes)? {
                End::Done => return Ok(outcomes),
                End::PowerCut if cut_in == Some(outcomes.len()) => {
                    bail!("job {} requested a second power cut", outcomes.len() + 1)
                }
                End::PowerCut => cut_in = Some(outcomes.len()),
            }
        }
    }

    /// Boots the node with a prompt on the terminal.
    pub fn shell(&mut self) -> Result<bool> {
        let initrd = self.write_initrd(None)?;
        eprintln!("lab: booting; `poweroff -f` leaves the node, Ctrl-A X ends QEMU");
        let mut command = self.command(&initrd, Accel::Tcg)?;
        command.args([
            "-chardev",
            "stdio,id=console,mux=on,signal=off",
            "-serial",
            "chardev:console",
            "-mon",
            "chardev=console",
        ]);
        Ok(command.status().context("cannot start QEMU")?.success())
    }

    fn boot(&self, initrd: &Path) -> Result<Booted> {
        if self.tries_kvm() {
            match self.attempt(initrd, Accel::Kvm, KVM_BOOT) {
                Err(error) if error.is::<NotBooted>() => {
                    eprintln!(
                        "lab: KVM does not work on this machine, the node is emulated from now on"
                    );
                    std::fs::write(&self.kvm_refused, boot_id())?;
                }
                booted => return booted,
            }
        }
        match self.attempt(initrd, Accel::Tcg, BOOT) {
            // QEMU's threads race for its memory map while the node scans its PCI devices; an assertion of QEMU then fails.
            Err(error) if error.downcast_ref().is_some_and(NotBooted::is_crash) => {
                eprintln!("lab: {error:#}\nlab: QEMU crashed, booting again");
                self.attempt(initrd, Accel::Tcg, BOOT)
            }
            booted => booted,
        }
    }

    fn attempt(&self, initrd: &Path, accel: Accel, boot: Duration) -> Result<Booted> {
        let mut command = self.command(initrd, accel)?;
        command
            .arg("-serial")
            .arg(format!("file:{}", self.run.join("console").display()))
            .args([
                "-chardev",
                "stdio,id=jobs,signal=off",
                "-device",
                "virtserialport,chardev=jobs,nr=1,name=virtfn",
            ])
            // After the end of standard input the port counts as closed, and the node's writes block.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(self.run.join("qemu.log"))?);
        let mut qemu = Running(command.spawn().context("cannot start QEMU")?);
        let stdout = qemu.0.stdout.take();
        let mut lines = Lines::new(stdout.context("QEMU has no standard output")?);
        let started = progress::step("booting the emulated node", || {
            lines.next_before(Instant::now() + boot)
        });
        if started != Some(Line::Ready) {
            let tail = self.console_tail(15).unwrap_or_default();
            let log = std::fs::read_to_string(self.run.join("qemu.log")).unwrap_or_default();
            let said = format!(
                "within {} s; its console ends with:\n{tail}\n{log}",
                boot.as_secs()
            );
            return Err(anyhow::Error::new(NotBooted { said }));
        }
        Ok(Booted { lines, _qemu: qemu })
    }

    /// Relays the output of the node until the last job has ended or a job requests a power cut.
    fn follow(&self, lines: &mut Lines, jobs: &[Job], outcomes: &mut Vec<Outcome>) -> Result<End> {
        let mut kept = Vec::new();
        let mut started = Instant::now();
        while let Some(job) = jobs.get(outcomes.len()) {
            match lines.next_before(Instant::now() + SILENCE) {
                Some(Line::Exit(name, code)) => outcomes.push(Outcome {
                    name,
                    code,
                    took: std::mem::replace(&mut started, Instant::now()).elapsed(),
                    lines: std::mem::take(&mut kept),
                }),
                Some(Line::Text(text)) if job.output == Output::Kept => kept.push(text),
                Some(Line::Text(text)) => {
                    println!("{}{text}", self.prefix);
                    self.log(job, &text)?;
                }
                Some(Line::Ready) => bail!("the node booted twice"),
                Some(Line::PowerCut) => return Ok(End::PowerCut),
                None => {
                    let why = if lines.is_over() {
                        "the node died".to_owned()
                    } else {
                        format!("the node was silent for {} s", SILENCE.as_secs())
                    };
                    bail!(
                        "{why} in job {} of {}; its console ends with:\n{}",
                        outcomes.len() + 1,
                        jobs.len(),
                        self.console_tail(30).unwrap_or_default()
                    );
                }
            }
        }
        Ok(End::Done)
    }

    fn log(&self, job: &Job, line: &str) -> Result<()> {
        let Some(logs) = &self.logs else {
            return Ok(());
        };
        let path = logs.join(format!("{}.log", job.name));
        let file = File::options().create(true).append(true).open(path);
        writeln!(file.context("cannot keep the output of a job")?, "{line}")?;
        Ok(())
    }

    fn tries_kvm(&self) -> bool {
        match std::env::var("VIRTFN_ACCEL").as_deref() {
            Ok("tcg") => false,
            Ok("kvm") => true,
            _ => {
                let usable = File::options()
                    .read(true)
                    .write(true)
                    .open("/dev/kvm")
                    .is_ok();
                usable && std::fs::read_to_string(&self.kvm_refused).ok() != Some(boot_id())
            }
        }
    }

    fn write_initrd(&self, jobs: Option<&[Job]>) -> Result<PathBuf> {
        let segment = self.run.join("run.cpio");
        let mut archive = Archive::create(&segment)?;
        for (name, source) in &self.files {
            archive.file(name, source, true)?;
        }
        if self.machine.disk.is_some() {
            archive.bytes("lab/containers", b"", false)?;
        }
        let ports: Vec<String> = (0..self.machine.ports)
            .map(|port| port.to_string())
            .collect();
        archive.bytes(
            "lab/ports",
            format!("{}\n", ports.join(" ")).as_bytes(),
            false,
        )?;
        if let Some(jobs) = jobs {
            archive.bytes(
                "lab/jobs",
                jobs.iter().map(script).collect::<String>().as_bytes(),
                false,
            )?;
        }
        archive.finish()?;
        let initrd = self.run.join("initrd");
        let mut whole = std::fs::read(&self.base)?;
        whole.extend(std::fs::read(&segment)?);
        std::fs::write(&initrd, whole).context("cannot write the initramfs: is the disk full?")?;
        Ok(initrd)
    }

    fn command(&self, initrd: &Path, accel: Accel) -> Result<Command> {
        // The parent-death signal kills QEMU when the lab is killed.
        let mut command = Command::new("setpriv");
        command
            // The name of the monitor's socket is short and relative: the path of a socket has 107 bytes at most.
            .current_dir(self.run.join(""))
            .args(["--pdeathsig", "KILL", "--"])
            .args(image::command_in(&self.qemu)?);
        command.arg(self.qemu.join("usr/bin/qemu-system-x86_64"));
        for dir in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
            command.arg("-L").arg(self.qemu.join(dir));
        }
        command.args(self.machine.arguments(accel));
        // Without checks of timer and clock: on a busy machine the emulated timer is late, and the kernel would panic.
        let kernel_arguments = "console=ttyS0 quiet panic=-1 no_timer_check tsc=reliable intel_iommu=on mitigations=off cryptomgr.notests random.trust_cpu=on audit=0 lsm= nowatchdog 8250.nr_uarts=1";
        command
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", kernel_arguments]);
        Ok(command)
    }
}

/// The node did not boot.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the node did not boot {said}")]
struct NotBooted {
    said: String,
}

impl NotBooted {
    fn is_crash(&self) -> bool {
        self.said.contains("iotlb_to_section: Assertion")
    }
}

/// A booted node; it is killed when this is dropped.
struct Booted {
    lines: Lines,
    _qemu: Running,
}

/// The reason why the lab stops reading from the node.
enum End {
    /// The last job ended.
    Done,
    /// A job requested a power cut.
    PowerCut,
}

/// A QEMU that is killed when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The line of the init's job list for one job.
fn script(job: &Job) -> String {
    let quoted: Vec<String> = job
        .argv
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', "'\\''")))
        .collect();
    let stderr = match job.output {
        Output::StdoutOnly | Output::Kept => "2> /dev/console",
        Output::Both => "2>&3",
    };
    format!("job {} {} {stderr}\n", job.name, quoted.join(" "))
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_arguments_reach_the_shell_unchanged() {
        let job = Job {
            name: "a".into(),
            argv: vec!["/x y".into(), "it's".into()],
            output: Output::Both,
        };
        assert_eq!(script(&job), "job a '/x y' 'it'\\''s' 2>&3\n");
    }
}
