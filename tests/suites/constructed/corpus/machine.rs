//! The machine of the corpus: NICs of each kind that the documented resource lists select.

use std::path::Path;

use sriov_testkit::tree::Tree;

/// A PCI function: vendor and device id, class, driver, and the netdev with its ARP hardware type.
struct Function {
    id: (&'static str, &'static str),
    class: &'static str,
    driver: &'static str,
    netdev: Option<(&'static str, &'static str)>,
}

const ETHER: &str = "1";
const INFINIBAND: &str = "32";

fn network(
    id: (&'static str, &'static str),
    driver: &'static str,
    netdev: Option<(&'static str, &'static str)>,
) -> Function {
    let class = "0x020000";
    Function {
        id,
        class,
        driver,
        netdev,
    }
}

fn describe(tree: &Tree, address: &str, function: &Function) {
    for (attribute, text) in [
        ("vendor", function.id.0),
        ("device", function.id.1),
        ("class", function.class),
    ] {
        tree.file(&format!("{address}/{attribute}"), text).unwrap();
    }
    tree.bind(address, function.driver).unwrap();
    if let Some((name, kind)) = function.netdev {
        tree.netdev(address, name, kind).unwrap();
    }
}

/// Adds a PF and its VFs, which are the functions of one slot.
fn card(tree: &Tree, pf: &str, of_pf: &Function, slot: &str, vfs: &[Function]) {
    tree.pf(pf, of_pf.driver, 8).unwrap();
    describe(tree, pf, of_pf);
    for (index, of_vf) in vfs.iter().enumerate() {
        let address = format!("{slot}.{index}");
        tree.vf(pf, &address, of_vf.driver).unwrap();
        describe(tree, &address, of_vf);
    }
}

pub(super) fn machine(root: &Path) {
    let tree = Tree::new(root);
    intel(&tree);
    connectx(&tree);
    bluefield(&tree);
    let bnxt = |id, netdev| network(("0x14e4", id), "bnxt_en", netdev);
    card(
        &tree,
        "0000:86:00.0",
        &bnxt("0x16d7", Some(("ens9f0", ETHER))),
        "0000:86:02",
        &[bnxt("0x16dc", None)],
    );
}

/// Adds an X710, an E810 and an FPGA.
fn intel(tree: &Tree) {
    let (i40e, vf) = (("0x8086", "0x1572"), ("0x8086", "0x154c"));
    let pf = |name| network(i40e, "i40e", Some((name, ETHER)));
    card(
        tree,
        "0000:3b:00.0",
        &pf("enp59s0f0"),
        "0000:3b:02",
        &[
            network(vf, "iavf", Some(("ens1f0v0", ETHER))),
            network(vf, "vfio-pci", None),
            network(vf, "iavf", None),
            network(vf, "vfio-pci", None),
        ],
    );
    card(
        tree,
        "0000:3b:00.1",
        &pf("enp59s0f1"),
        "0000:3b:0a",
        &[
            network(vf, "iavf", None),
            network(("0x8086", "0x1889"), "iavf", None),
        ],
    );
    let fpga = Function {
        class: "0x120000",
        ..network(("0x8086", "0x0d90"), "vfio-pci", None)
    };
    describe(tree, "0000:d8:00.0", &fpga);
}

fn mlx5(id: &'static str, netdev: Option<(&'static str, &'static str)>) -> Function {
    network(("0x15b3", id), "mlx5_core", netdev)
}

/// Adds devices with RDMA, InfiniBand and vDPA.
fn connectx(tree: &Tree) {
    card(
        tree,
        "0000:af:00.0",
        &mlx5("0x1017", Some(("ens785f0", ETHER))),
        "0000:af:01",
        &[
            mlx5("0x1018", None),
            mlx5("0x1018", None),
            mlx5("0x1016", None),
        ],
    );
    card(
        tree,
        "0000:b0:00.0",
        &mlx5("0x101b", Some(("ib0", INFINIBAND))),
        "0000:b0:01",
        &[mlx5("0x101c", None)],
    );
    for (address, rdma) in [
        ("0000:af:01.0", "mlx5_2"),
        ("0000:af:01.2", "mlx5_4"),
        ("0000:b0:01.0", "mlx5_7"),
        ("0000:3b:0a.1", "irdma0"),
    ] {
        tree.file(&format!("{address}/infiniband/{rdma}/node_type"), "1: CA")
            .unwrap();
    }
    card(
        tree,
        "0000:b1:00.0",
        &mlx5("0x101d", Some(("ens8f0", ETHER))),
        "0000:b1:01",
        &[mlx5("0x101e", None), mlx5("0x101e", None)],
    );
    for (index, kind) in ["vhost_vdpa", "virtio_vdpa"].iter().enumerate() {
        let device = format!("0000:b1:01.{index}/vdpa{index}");
        tree.link(
            &format!("{device}/driver"),
            &format!("../../../bus/vdpa/drivers/{kind}"),
        )
        .unwrap();
        tree.link(
            &format!("/sys/bus/vdpa/devices/vdpa{index}"),
            &format!("../../pci/devices/{device}"),
        )
        .unwrap();
    }
}

/// Adds subfunctions.
fn bluefield(tree: &Tree) {
    tree.pf("0000:03:00.0", "mlx5_core", 8).unwrap();
    describe(tree, "0000:03:00.0", &mlx5("0xa2d6", Some(("p0", ETHER))));
    for (id, sfnum) in [(2, 0), (3, 1), (4, 5), (5, 6)] {
        tree.subfunction("0000:03:00.0", id, sfnum).unwrap();
    }
}
