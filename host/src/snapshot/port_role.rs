//! Which network devices of a function are its ports, and which represent a function behind its switch: one rule for both programs.
//!
//! `phys_port_name` distinguishes them. The kernel makes the names in net/devlink/port.c, `__devlink_port_phys_port_name_get`;
//! drivers without devlink have names of their own, for instance `p0pf0vf3` of `sfc_ef100`.

use super::{LinkType, Netdev};

/// `ARPHRD_NONE` (`include/uapi/linux/if_arp.h`).
const ARPHRD_NONE: u16 = 0xfffe;

/// The network device through which the VFs of a function are configured.
///
/// In switchdev mode it is the uplink. It is a management device only if there is no port, and never a representor.
pub fn uplink(netdevs: &[Netdev]) -> Option<&Netdev> {
    let of_switch = |netdev: &&Netdev| netdev.phys_switch_id.is_some() && netdev.is_port();
    let management = || netdevs.iter().find(|netdev| netdev.is_management());
    ports(netdevs)
        .find(of_switch)
        .or_else(|| ports(netdevs).next())
        .or_else(management)
}

/// The network devices of the function itself, one for each port: without representors and management devices.
pub(super) fn ports(netdevs: &[Netdev]) -> impl Iterator<Item = &Netdev> {
    let is_switch = netdevs.iter().any(Netdev::is_port);
    netdevs.iter().filter(move |netdev| {
        let is_nameless = is_switch && netdev.phys_switch_id.is_some() && !netdev.is_port();
        !is_nameless && !netdev.is_representor() && !netdev.is_management()
    })
}

impl Netdev {
    /// Whether it represents a PF, VF or subfunction: its port name is `pf0vf3`, `c1pf0sf88`, `pf0hpf`, `p0pf0vf3`,
    /// or any name that is not a port's if the device is part of a switch, as the plain numbers of older kernels.
    pub fn is_representor(&self) -> bool {
        match self.port_name() {
            PortName::Port | PortName::None => false,
            PortName::Function => true,
            PortName::Other => self.phys_switch_id.is_some(),
        }
    }

    /// Whether it has the name of a port: `p0`, or `p0s1` if the port is split.
    fn is_port(&self) -> bool {
        self.port_name() == PortName::Port
    }

    /// Whether it configures VFs and carries no traffic, as on functions 0 to 3 of a Chelsio card (`drivers/net/ethernet/chelsio/cxgb4/cxgb4_main.c`, `dummy_setup`).
    pub fn is_management(&self) -> bool {
        self.link_type == LinkType::Other(ARPHRD_NONE)
    }

    fn port_name(&self) -> PortName {
        PortName::of(self.phys_port_name.as_deref().unwrap_or_default())
    }
}

/// What a port name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PortName {
    /// There is no name.
    None,
    /// A physical port.
    Port,
    /// A PF, VF or subfunction.
    Function,
    /// Unknown.
    Other,
}

impl PortName {
    fn of(name: &str) -> Self {
        let is_digit = |c: char| c.is_ascii_digit();
        let mut rest = name;
        let mut words = Vec::new();
        while !rest.is_empty() {
            let (word, tail) = rest.split_at(rest.find(is_digit).unwrap_or(rest.len()));
            words.push(word);
            rest = tail.trim_start_matches(is_digit);
        }
        let ends_with_number = name.ends_with(is_digit);
        match words.as_slice() {
            [] => Self::None,
            ["p"] | ["p", "s"] if ends_with_number => Self::Port,
            // Without a controller or port in front, or with one.
            ["pf" | "vf" | "sf", ..] | ["c" | "p", "pf" | "vf" | "sf", ..] => Self::Function,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name:port:switch` each; a name with `mgmt` has the link type of a management device.
    fn netdevs(texts: &str) -> Vec<Netdev> {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let netdevs = texts.split_whitespace().map(|netdev| {
            let fields: Vec<&str> = netdev.split(':').collect();
            let kind = if netdev.starts_with("mgmt") {
                ARPHRD_NONE
            } else {
                1
            };
            Netdev {
                link_type: LinkType::from_arphrd(kind),
                phys_switch_id: text(fields[2]),
                phys_port_name: text(fields[1]),
                ..Netdev::example(fields[0].parse().unwrap())
            }
        });
        netdevs.collect()
    }

    #[test]
    fn uplink_is_found_on_every_kind_of_card() {
        for (texts, expected_uplink, expected_ports) in [
            // A card without switch; ice in legacy mode.
            ("eth0::", "eth0", "eth0"),
            ("ens1f0:p0:40a6", "ens1f0", "ens1f0"),
            // mlx5 in switchdev mode, with subfunctions, on older kernels, and as BlueField shows its host's functions.
            ("a0:pf0vf0:b8 a1:pf0sf88:b8 eth4:p0:b8", "eth4", "eth4"),
            ("a0:0:b8 eth4:p0:b8", "eth4", "eth4"),
            ("a0:pf0hpf:b8 a1:c1pf0vf2:b8 p0:p0:b8", "p0", "p0"),
            // sfc_ef100; nfp with a split port.
            ("eth4:p0pf0vf0:b8 sfc0:p0:b8", "sfc0", "sfc0"),
            ("np0:p0s0:b8 np1:p0s1:b8 r0:pf0vf0:b8", "np0", "np0 np1"),
            // A representor without a name, and the uplink in another namespace.
            ("a0::b8 eth4:p0:b8", "eth4", "eth4"),
            ("a0:pf0vf0:b8", "", ""),
            // ConnectX-3.
            ("eth0:: eth1::", "eth0", "eth0 eth1"),
            // Chelsio: the ports are at another function.
            ("mgmtpf00::", "mgmtpf00", ""),
            ("", "", ""),
        ] {
            let netdevs = netdevs(texts);
            let found = uplink(&netdevs).map_or("", |netdev| netdev.name.as_str());
            assert_eq!(found, expected_uplink, "{texts}");
            let found: Vec<&str> = ports(&netdevs).map(|port| port.name.as_str()).collect();
            assert_eq!(found.join(" "), expected_ports, "{texts}");
        }
    }

    #[test]
    fn port_names_of_all_schemes_are_told_apart() {
        for (name, expected) in [
            ("", PortName::None),
            ("p0", PortName::Port),
            ("p11s3", PortName::Port),
            ("pf0", PortName::Function),
            ("pf1vf11", PortName::Function),
            ("pf0sf88", PortName::Function),
            ("pf0hpf", PortName::Function),
            ("c1pf0vf2", PortName::Function),
            ("c1pf0", PortName::Function),
            ("p0pf0vf0", PortName::Function),
            ("vf3", PortName::Function),
            ("p", PortName::Other),
            ("0", PortName::Other),
            ("17", PortName::Other),
            ("mgmtpf00", PortName::Other),
            ("é0", PortName::Other),
        ] {
            assert_eq!(PortName::of(name), expected, "{name}");
        }
    }
}
