//! The program as the kernel reads it: instructions, the types that it names, and the offsets that the kernel corrects.
//!
//! In C, where each arrow is a read that may fail, and a failure returns 0:
//!
//! ```c
//! struct hlist_node *node = current->nsproxy->net_ns->dev_index_head[index & 255].first;
//! for (int left = 64; left && node; left--, node = node->next) {
//!     struct net_device *device = container_of(node, struct net_device, index_hlist);
//!     if (device->ifindex == index)
//!         return device->adj_list.upper.next == &device->adj_list.upper ? 1 : 2;
//! }
//! return 0;
//! ```

mod assembler;
mod btf;

use self::assembler::{Assembler, Label, Register};
use self::btf::Types;
use crate::bpf::Program;

/// Result for a device with no upper device.
pub(super) const NONE: u32 = 1;
/// Result for a device with at least one.
pub(super) const SOME: u32 = 2;

/// Buckets of `dev_index_head` (`NETDEV_HASHENTRIES`, `include/linux/netdevice.h`), less one.
const BUCKETS: i32 = 255;
/// Devices of one bucket that are compared at most.
const LONGEST_BUCKET: i32 = 64;

/// The program.
pub(super) fn new() -> Program {
    let mut types = Types::new();
    let nsproxy = types.structure("task_struct", "nsproxy");
    let net_ns = types.structure("nsproxy", "net_ns");
    let dev_index_head = types.structure("net", "dev_index_head");
    let device = types.net_device();
    let function = types.function("has_upper");

    let (index, at, left, base) = (Register::R6, Register::R7, Register::R8, Register::R9);
    let mut code = Assembler::default();
    code.load_argument(index);
    code.current_task(at);
    for field in [&nsproxy, &net_ns, &dev_index_head] {
        code.follow(at, at, Some(field));
    }
    code.add_bucket(at, index, BUCKETS);
    code.follow(at, at, None);
    code.set(left, LONGEST_BUCKET);
    code.label(Label::Next);
    code.jump_if_zero(at, Label::Failed);
    code.container(base, at, &device.index_hlist);
    code.read_number(Register::R1, base, &device.ifindex);
    code.jump_if_equal(Register::R1, index, Label::Found);
    code.follow(at, at, None);
    code.count_down(left, Label::Next);
    code.label(Label::Failed);
    code.leave(0);
    code.label(Label::Found);
    code.address_of(at, base, &device.uppers);
    code.follow(Register::R1, at, None);
    code.jump_if_equal(Register::R1, at, Label::Empty);
    code.leave(SOME.cast_signed());
    code.label(Label::Empty);
    code.leave(NONE.cast_signed());

    let (instructions, relocations) = code.finish();
    Program {
        instructions,
        types: types.finish(),
        functions: [0, function]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect(),
        relocations,
    }
}
