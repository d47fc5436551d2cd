//! Machine files: what is refused, what is the same machine again, and what `anonymous` replaces.

use std::collections::BTreeMap;

use super::{Constructed, Machine, MachineError, anonymous, capture};

const MACHINE: &str = "
kernel: 6.8.0-45-acme
functions:
  0000:3b:00.0:
    id: 15b3:101d
    class: '020000'
    driver: mlx5_core
    numa_node: 1
    iommu_group: 7
    sriov_totalvfs: 8
    net:
      storage0: {phys_switch_id: 4c2b910003fb1070, phys_port_name: p0, address: 0c:42:a1:2b:2d:ce, altnames: [enp59s0f0np0, acme port 1], master: bond-acme}
      enx0c42a12b2dcf: {address: 0c:42:a1:2b:2d:cf, phys_switch_id: 4c2b910003fb1070, phys_port_name: pf0vf0, state: down}
    rdma:
      acme_0: [{pkeys: [0xffff]}, {link_layer: InfiniBand, state: INIT, pkeys: ['0x0000', 0x8001]}]
    subfunctions:
      mlx5_core.sf.4: {sfnum: 88, net: {storage0s88: {}}}
  0000:3b:00.2:
    id: 15b3:101e
    physfn: 0000:3b:00.0
    net:
      storage0v0: {state: no-carrier, upper: [storage0v0.7], default_route: true}
interfaces:
  bond-acme: {node_address: true, address: '00:00:00:00:00:00'}
  storage0v0.7: {}
";

fn parse(text: &str) -> Machine {
    Machine::parse(text).unwrap()
}

fn captured(machine: &Machine) -> Machine {
    let constructed = Constructed::new(machine).unwrap();
    let captured = capture(constructed.root()).unwrap();
    assert_eq!(captured.missing, Vec::<String>::new());
    captured.machine
}

#[test]
fn machine_is_the_same_after_each_way_around() {
    let machine = parse(MACHINE);
    assert_eq!(parse(&machine.to_text()), machine);
    let captured = captured(&machine);
    assert_eq!(captured, machine, "{}", captured.to_text());
}

#[test]
fn unusual_links_of_a_pf_are_kept() {
    // VF 1 was removed by hand: the kernel keeps the indices of the others.
    let text = "
functions:
  0000:01:00.0: {id: 8086:10c9, sriov_totalvfs: 7, sriov_numvfs: 3, virtfn: {0: 0000:01:10.0, 2: 0000:01:10.4}}
  0000:01:10.0: {id: 8086:10ca, physfn: 0000:01:00.0}
  0000:01:10.4: {id: 8086:10ca, physfn: 0000:01:00.0}
";
    let machine = parse(text);
    assert_eq!(captured(&machine), machine);
}

#[test]
fn device_without_its_ids_is_reported_as_missing() {
    let text = "
functions:
  0000:01:00.0: {id: 8086:10c9, files: {vendor: ''}}
  0000:02:00.0: {id: 8086:10c9}
";
    let constructed = Constructed::new(&parse(text)).unwrap();
    let captured = capture(constructed.root()).unwrap();
    assert_eq!(
        captured.missing,
        ["0000:01:00.0: vendor, device or class cannot be read"]
    );
    let rest = parse("functions:\n  0000:02:00.0: {id: 8086:10c9}\n");
    assert_eq!(captured.machine, rest);
}

#[test]
fn all_wrong_values_are_reported_at_once() {
    let text = "
functions:
  3b:00.0: {id: 15b3}
  0000:3B:00.0: {id: 15B3:101d}
  0000:3b:00.2:
    id: 15b3:101e
    class: 02
    driver: ../mlx5
    physfn: 0000:3b:00.1
    virtfn: {0: 0000:3b:00.3}
    net:
      a name: {type: ethernet, master: bond0}
      eth0: {upper: [eth0.5]}
    rdma:
      ../x: [{state: UP}]
    subfunctions:
      mlx5_core.eth.4: {net: {eth0: {}}}
    files: {../../x: y}
";
    let Err(MachineError::Values(mistakes)) = Machine::parse(text) else {
        panic!("accepted");
    };
    let expected = expect_test::expect![[r"
        functions: `0000:3B:00.0` has another spelling than the kernel's `0000:3b:00.0`
        functions.0000:3B:00.0.id: `15B3:101d` is not a vendor and device id: expected `vvvv:dddd` in lower-case hexadecimal
        functions.0000:3b:00.2.class: `02` is not a class: expected four or six hexadecimal digits
        functions.0000:3b:00.2.driver: `../mlx5` is not a name: expected 1 to 127 bytes, not `.` or `..`, without `/` and control characters
        functions.0000:3b:00.2.physfn: `0000:3b:00.1` is not a function of this file with `sriov_totalvfs`
        functions.0000:3b:00.2.virtfn: only a PF has these links: `sriov_totalvfs` is missing
        functions.0000:3b:00.2.net.a name: `a name` is not an interface name: expected 1 to 15 bytes, not `.` or `..`, without `/`, `:`, `%` and white space
        functions.0000:3b:00.2.net.a name.type: `ethernet` is not a link type: expected `ether`, `infiniband` or a number
        functions.0000:3b:00.2.net.a name.master: `bond0` is not a network device of this file
        functions.0000:3b:00.2.net.eth0.upper: `eth0.5` is not a network device of this file
        functions.0000:3b:00.2.rdma.../x: `../x` is not a name: expected 1 to 127 bytes, not `.` or `..`, without `/` and control characters
        functions.0000:3b:00.2.rdma.../x.state: `UP` is not a state: expected one of NOP, DOWN, INIT, ARMED, ACTIVE, ACTIVE_DEFER
        functions.0000:3b:00.2.subfunctions.mlx5_core.eth.4: not the name of a subfunction: expected `DRIVER.sf.NUMBER`
        functions.0000:3b:00.2.files: `../../x` is not a path below the function
        functions: `3b:00.0` is not a PCI address: expected `dddd:bb:dd.f` in hexadecimal, device at most 1f, function at most 7
        functions.3b:00.0.id: `15b3` is not a vendor and device id: expected `vvvv:dddd` in lower-case hexadecimal
        net.eth0: two network devices of this file have this name
    "]];
    expected.assert_eq(&(mistakes.0.join("\n") + "\n"));
}

#[test]
fn wrong_form_is_reported_with_its_line() {
    for (text, words) in [
        ("functions: 5", "invalid type"),
        (
            "functions:\n  0000:01:00.0: {id: 8086:1572, drivr: i40e}\n",
            "unknown field `drivr`",
        ),
        (
            "functions:\n  0000:01:00.0: {id: 8086:1572}\n  0000:01:00.0: {id: 8086:1572}\n",
            "the key `0000:01:00.0` occurs twice",
        ),
        (
            "functions: {0000:01:00.0: {id: 8086:1572, net: {eth0: {state: UP}}}}",
            "unknown variant `UP`",
        ),
        ("{", "did not find expected"),
    ] {
        let error = Machine::parse(text).unwrap_err().to_string();
        let is_form = error.starts_with("not a machine file: ") && error.contains("line ");
        assert!(is_form && error.contains(words), "{text}: {error}");
    }
}

#[test]
fn chosen_words_and_addresses_are_replaced_everywhere() {
    let machine = parse(MACHINE);
    let anonymous = anonymous(&machine, false);
    let text = anonymous.machine.to_text();
    for word in ["acme", "storage", "2b:2d", "42a12b", "910003"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    let expected = expect_test::expect![[r"
        kernel: 6.8.0
        functions:
          0000:3b:00.0:
            id: 15b3:101d
            driver: mlx5_core
            numa_node: 1
            iommu_group: 7
            sriov_totalvfs: 8
            net:
              enx020000000001:
                state: down
                address: 02:00:00:00:00:01
                phys_switch_id: '0200000000000002'
                phys_port_name: pf0vf0
              wa0:
                address: 02:00:00:00:00:03
                phys_switch_id: '0200000000000002'
                phys_port_name: p0
                altnames:
                - enp59s0f0np0
                - wb port 1
                master: bond-wb
            rdma:
              wb_0:
              - pkeys:
                - '0xffff'
              - link_layer: InfiniBand
                state: INIT
                pkeys:
                - '0x0000'
                - '0x8001'
            subfunctions:
              mlx5_core.sf.4:
                sfnum: 88
                net:
                  wa0s88: {}
          0000:3b:00.2:
            id: 15b3:101e
            physfn: 0000:3b:00.0
            net:
              wa0v0:
                state: no-carrier
                upper:
                - wa0v0.7
                default_route: true
        interfaces:
          bond-wb:
            address: 00:00:00:00:00:00
            node_address: true
          wa0v0.7: {}
    "]];
    expected.assert_eq(&text);
    // It is a valid machine, and the relations are the same.
    assert_eq!(captured(&anonymous.machine), anonymous.machine);
    let names: BTreeMap<&str, &str> = anonymous
        .names
        .iter()
        .map(|(old, new)| (old.as_str(), new.as_str()))
        .collect();
    assert_eq!(names.get("storage0v0.7"), Some(&"wa0v0.7"), "{names:?}");
    assert_eq!(names.get("enp59s0f0np0"), None);
}

#[test]
fn names_stay_on_request() {
    let machine = parse(MACHINE);
    let anonymous = anonymous(&machine, true);
    assert_eq!(anonymous.names, BTreeMap::new());
    let text = anonymous.machine.to_text();
    assert!(
        text.contains("storage0v0.7") && !text.contains("2b:2d"),
        "{text}"
    );
}
