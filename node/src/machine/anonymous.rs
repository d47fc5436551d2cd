//! Replaces what identifies a machine and its owner: hardware addresses, switch ids and the words that people chose for names.
//!
//! The same text is replaced by the same text everywhere, so that the relation of a VF to its PF stays visible.

use std::collections::BTreeMap;

use super::file::{Function, Link, Machine, Port};

/// Words of names that the kernel, udev and drivers make; other words are replaced.
const KNOWN: &str = "
    a b bnxt bond br bridge c cxgb d efa en eno enP enp ens enx erdma eth f hfi hns hpf i ib
    ibo ibP ibp ibs ibx ionic irdma iwarp lo macvlan macvtap mana mgmt mlx n np o ocrdma ovs p
    pf port qede qedr r re rep roce roceo rocep roces rxe s sf siw system team u uplink v vdpa
    vf virtio vlan vmbr vnet x xe";

/// The longest name of a network device.
const LONGEST: usize = 15;
/// Digits of a MAC address.
const MAC_DIGITS: usize = 12;

/// A machine without identifying texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anonymous {
    /// The machine.
    pub machine: Machine,
    /// The replaced names of devices, with the new names.
    pub names: BTreeMap<String, String>,
}

/// Makes a machine anonymous.
pub fn anonymous(machine: &Machine, keep_names: bool) -> Anonymous {
    let mut replacing = Replacing {
        keep_names,
        ..Replacing::default()
    };
    let functions = machine.functions.iter();
    let functions = functions.map(|(address, function)| {
        let function = replacing.function(function);
        (address.clone(), function)
    });
    let functions = functions.collect();
    let machine = Machine {
        kernel: machine.kernel.as_deref().map(release),
        functions,
        interfaces: replacing.links(&machine.interfaces),
    };
    let names = replacing.names.into_iter();
    Anonymous {
        machine,
        names: names.filter(|(old, new)| old != new).collect(),
    }
}

#[derive(Default)]
struct Replacing {
    keep_names: bool,
    /// Hardware addresses and ids by their text.
    ids: BTreeMap<String, String>,
    /// Words of names.
    words: BTreeMap<String, String>,
    names: BTreeMap<String, String>,
}

impl Replacing {
    fn function(&mut self, function: &Function) -> Function {
        let mut subfunctions = function.subfunctions.clone();
        for subfunction in subfunctions.values_mut() {
            subfunction.net = self.links(&subfunction.net);
            subfunction.rdma = self.rdma(&subfunction.rdma);
        }
        let vdpa = function.vdpa.iter();
        let vdpa = vdpa.map(|(name, driver)| (self.name(name), driver.clone()));
        Function {
            vdpa: vdpa.collect(),
            net: self.links(&function.net),
            rdma: self.rdma(&function.rdma),
            subfunctions,
            ..function.clone()
        }
    }

    fn links(&mut self, links: &BTreeMap<String, Link>) -> BTreeMap<String, Link> {
        let links = links.iter();
        let links = links.map(|(name, link)| (self.name(name), self.link(link)));
        links.collect()
    }

    fn link(&mut self, link: &Link) -> Link {
        Link {
            address: link.address.as_ref().map(|address| self.id(address)),
            phys_switch_id: link.phys_switch_id.as_ref().map(|id| self.id(id)),
            altnames: link.altnames.iter().map(|name| self.name(name)).collect(),
            master: link.master.as_ref().map(|name| self.name(name)),
            shared_by: link.shared_by.as_ref().map(|name| self.name(name)),
            upper: link.upper.iter().map(|name| self.name(name)).collect(),
            ..link.clone()
        }
    }

    fn rdma(&mut self, rdma: &BTreeMap<String, Vec<Port>>) -> BTreeMap<String, Vec<Port>> {
        let devices = rdma.iter();
        devices
            .map(|(name, ports)| (self.name(name), ports.clone()))
            .collect()
    }

    /// A hardware address or id of the same length, by the order of appearance; zeros stay.
    fn id(&mut self, id: &str) -> String {
        let digits: String = id.chars().filter(|c| *c != ':').collect();
        let digits = self.digits(&digits);
        let mut digits = digits.chars();
        let text = id.chars().map(|c| match c {
            ':' => ':',
            _ => digits.next().unwrap_or('0'),
        });
        text.collect()
    }

    fn digits(&mut self, digits: &str) -> String {
        if digits.chars().all(|c| c == '0') {
            return digits.to_owned();
        }
        let (length, number) = (digits.len(), self.ids.len() + 1);
        let new = self.ids.entry(digits.to_ascii_lowercase());
        let new = new.or_insert_with(|| {
            let number = format!("{number:0length$x}");
            // A locally administered address.
            match number.strip_prefix("00") {
                Some(rest) => format!("02{rest}"),
                None => number,
            }
        });
        new.clone()
    }

    /// A name with each unknown word replaced: `storage0v3` becomes `wa0v3`.
    fn name(&mut self, name: &str) -> String {
        if self.keep_names {
            return name.to_owned();
        }
        if let Some(new) = self.names.get(name) {
            return new.clone();
        }
        let mut new = match mac_in(name) {
            Some((prefix, mac)) => format!("{prefix}{}", self.digits(mac)),
            None => self.words_of(name),
        };
        if name.len() <= LONGEST && new.len() > LONGEST {
            new = format!("w{}", self.names.len());
        }
        self.names.insert(name.to_owned(), new.clone());
        new
    }

    fn words_of(&mut self, name: &str) -> String {
        let mut new = String::new();
        let mut rest = name;
        while let Some(first) = rest.chars().next() {
            let is_word = first.is_alphabetic();
            let end = rest.find(|c: char| c.is_alphabetic() != is_word);
            let (run, tail) = rest.split_at(end.unwrap_or(rest.len()));
            if is_word {
                new += &self.word(run);
            } else {
                new += run;
            }
            rest = tail;
        }
        new
    }

    fn word(&mut self, word: &str) -> String {
        if KNOWN.split_whitespace().any(|known| known == word) {
            return word.to_owned();
        }
        let number = self.words.len();
        let new = self.words.entry(word.to_owned());
        new.or_insert_with(|| letters(number)).clone()
    }
}

/// The MAC address in a name of udev, for instance `enx525400000010`, with what is in front of it.
fn mac_in(name: &str) -> Option<(&str, &str)> {
    let at = name.find('x').map(|at| at + 1)?;
    let (prefix, mac) = name.split_at_checked(at)?;
    let is_mac = mac.len() == MAC_DIGITS && mac.chars().all(|c| c.is_ascii_hexdigit());
    is_mac.then_some((prefix, mac))
}

/// A word for a number, none of which is a known one: `wa`, `wb`, up to `wz`, `wba`.
fn letters(mut number: usize) -> String {
    let mut letters = Vec::new();
    loop {
        let letter = u8::try_from(number % 26).unwrap_or_default();
        letters.push(char::from(b'a' + letter));
        number /= 26;
        if number == 0 {
            break;
        }
    }
    letters.push('w');
    letters.iter().rev().collect()
}

/// The numbers at the beginning of a kernel's release: its owner chose the rest.
fn release(text: &str) -> String {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (numbers, _) = text.split_at(end.unwrap_or(text.len()));
    numbers.to_owned()
}
