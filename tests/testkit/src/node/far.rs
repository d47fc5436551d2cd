//! The other end of the wire: a VF of the other PF in a namespace, which receives every VLAN, unlike the PF itself.

use anyhow::Result;

use super::{Netns, Pf, ip, netdev_of};

const NETNS: &str = "far";

/// A VF in a namespace of its own; the kernel returns it to the node when this is dropped.
#[derive(Debug)]
pub struct Far {
    /// The namespace.
    pub netns: Netns,
    /// The VF's network device.
    pub netdev: String,
}

impl Far {
    /// Takes VF `index` of a PF.
    ///
    /// # Errors
    /// If it has no network device on the node.
    pub fn new(pf: &Pf, index: usize) -> Result<Self> {
        let netdev = netdev_of(&pf.vf(index)?)?;
        let far = Self {
            netns: Netns::new(NETNS)?,
            netdev,
        };
        ip(&["link", "set", &far.netdev, "netns", NETNS])?;
        far.inside(&format!("link set {} up", far.netdev))?;
        Ok(far)
    }

    /// Runs `ip` with these words in the namespace.
    ///
    /// # Errors
    /// If it fails.
    pub fn inside(&self, words: &str) -> Result<()> {
        let words: Vec<&str> = words.split(' ').collect();
        let netns = ["-netns", &self.netns.name];
        ip(&[&netns[..], words.as_slice()].concat())?;
        Ok(())
    }

    /// Adds a device of a VLAN with an address, and returns its name.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn join(&self, vlan: u16, address: &str) -> Result<String> {
        let name = format!("v{vlan}");
        let parent = &self.netdev;
        self.inside(&format!(
            "link add {name} link {parent} type vlan id {vlan}"
        ))?;
        self.inside(&format!("link set {name} up"))?;
        self.inside(&format!("address add {address}/24 dev {name}"))?;
        Ok(name)
    }
}
