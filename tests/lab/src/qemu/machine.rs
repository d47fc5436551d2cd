//! The emulated machine as arguments of QEMU: processors, memory, PFs on two NUMA nodes, a disk.

use std::path::{Path, PathBuf};

/// A connection from the guest to the monitor: tests pull cables and cards through it (`node::monitor`).
const MONITOR: [&str; 8] = [
    "-chardev",
    "socket,id=monitor,path=monitor,server=on,wait=off",
    "-mon",
    "chardev=monitor,mode=control",
    "-chardev",
    "socket,id=guest-monitor,path=monitor",
    "-device",
    "virtserialport,chardev=guest-monitor,nr=2,name=monitor",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accel {
    /// The processors of this machine.
    Kvm,
    /// Emulated processors.
    Tcg,
}

/// Without the features that TCG emulates slowly: string instructions by bytes, a fifth level of page tables, protection that is checked at each access.
///
/// Except for measurements, one thread emulates both processors: with two threads on busy cores, QEMU 10.0 lost an end of interrupt while VFs were created again.
/// The processor then slept with a vector in service (`info lapic`), and no event woke it.
const EMULATED: &str = "max,-erms,-fsrm,-la57,-smap,-pku,-pks";

/// Root ports for which the firmware's I/O space has room.
const CARDS: u8 = 8;

/// The properties that differ between nodes.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// Number of PFs.
    pub(super) ports: u8,
    /// The disk of a node with containers; absent for the plain node.
    pub(super) disk: Option<PathBuf>,
    /// Whether each emulated processor has its own thread.
    pub(super) is_parallel: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            ports: 2,
            disk: None,
            is_parallel: false,
        }
    }
}

impl Machine {
    /// All arguments except kernel and console; the order of the devices determines their addresses.
    pub(super) fn arguments(&self, accel: Accel) -> Vec<String> {
        let mut words = Words(Vec::new());
        match accel {
            Accel::Kvm => words.add(&["-accel", "kvm", "-cpu", "host"]),
            Accel::Tcg if self.is_parallel => {
                words.add(&["-accel", "tcg,thread=multi", "-cpu", "max"]);
            }
            Accel::Tcg => words.add(&["-accel", "tcg,thread=single", "-cpu", EMULATED]),
        }
        self.add_memory(&mut words);
        words.add(&["-device", "intel-iommu,intremap=on"]);
        words.add(&["-device", "virtio-serial-pci,bus=pcie.0"]);
        words.add(&MONITOR);
        self.add_ports(&mut words);
        if let Some(disk) = &self.disk {
            add_disk(&mut words, disk);
        }
        words.0
    }

    /// All memory is below 4 GiB: above it, igb's PF gets no messages from its VFs.
    fn add_memory(&self, words: &mut Words) {
        let memory = if self.disk.is_some() { 1344 } else { 512 };
        words.add(&[
            "-M",
            "q35,kernel-irqchip=split,smm=off,i8042=off,sata=off,smbus=off",
            "-smp",
            "2",
            "-m",
            &format!("{}M", 2 * memory),
        ]);
        words.add(&["-display", "none", "-no-reboot", "-nodefaults"]);
        for node in 0..2 {
            words.add(&[
                "-object",
                &format!("memory-backend-ram,id=m{node},size={memory}M"),
                "-numa",
                &format!("node,nodeid={node},cpus={node},memdev=m{node}"),
            ]);
        }
    }

    fn add_ports(&self, words: &mut Words) {
        for node in 0..2 {
            let bus = 32 * (node + 1);
            let bridge = format!("pxb-pcie,id=pxb{node},bus=pcie.0,bus_nr={bus},numa_node={node}");
            words.add(&["-device", &bridge]);
        }
        let on_card = if self.ports > CARDS { 2 } else { 1 };
        for port in 0..self.ports {
            let (card, function) = (port / on_card, port % on_card);
            let (node, slot) = (card % 2, card + 1);
            if function == 0 {
                let slot =
                    format!("pcie-root-port,id=rp{card},bus=pxb{node},chassis={slot},slot={slot}");
                words.add(&["-device", &slot]);
            }
            // The first function of a card of two refers to the second one as the next.
            let place = match (on_card, function) {
                (1, _) => format!("bus=rp{card}"),
                (_, 0) => format!("bus=rp{card},addr=0.0,multifunction=on,x-pcie-ari-nextfn-1=on"),
                (_, function) => format!("bus=rp{card},addr=0.{function}"),
            };
            let pf = format!("igb,id=pf{port},{place},netdev=n{port},mac=52:54:00:00:00:1{port:x}");
            words.add(&["-device", &pf]);
            words.add(&["-netdev", &format!("hubport,id=n{port},hubid=0")]);
        }
    }
}

/// A disk and a network to this machine, in high slots: the job port must stay the first virtio device.
fn add_disk(words: &mut Words, disk: &Path) {
    words.add(&[
        "-netdev",
        "user,id=up",
        "-device",
        "virtio-net-pci,netdev=up,mac=52:54:00:00:00:20,bus=pcie.0,addr=0x1e,romfile=",
    ]);
    // Completed writes of the node survive its power cut; a power cut of this machine is out of scope.
    let file = format!(
        "file={},if=none,id=disk,format=raw,cache=unsafe",
        disk.display()
    );
    words.add(&[
        "-drive",
        &file,
        "-device",
        "virtio-blk-pci,drive=disk,bus=pcie.0,addr=0x1d",
    ]);
}

struct Words(Vec<String>);

impl Words {
    fn add(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(|word| (*word).to_owned()));
    }
}
