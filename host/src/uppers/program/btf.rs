//! The description of the types that the program names (BTF, Documentation/bpf/btf.rst): only the fields that it reads.
//!
//! The kernel finds its own type and field of the same name, wherever they are in its structures.

/// A field: where it is in this description, and how the kernel finds its own.
pub(super) struct Field {
    /// Number of the structure.
    pub(super) structure: u32,
    /// Position of the path to the field among the texts, for instance `0:1`.
    pub(super) path: u32,
    /// Offset in this description, in bytes.
    pub(super) offset: i32,
}

/// The fields of `struct net_device`.
pub(super) struct NetDevice {
    pub(super) ifindex: Field,
    pub(super) index_hlist: Field,
    pub(super) uppers: Field,
}

/// A description that grows; types are numbered from 1.
pub(super) struct Types {
    bytes: Vec<u8>,
    texts: Vec<u8>,
    last: u32,
}

// BTF_KIND_*, include/uapi/linux/btf.h
const INT: u32 = 1;
const PTR: u32 = 2;
const STRUCT: u32 = 4;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;

/// Types that each description has first.
const NUMBER: u32 = 1;
const POINTER: u32 = 2;
/// `BTF_INT_SIGNED`, no offset, 32 bits.
const SIGNED_32_BITS: u32 = 1 << 24 | 32;

impl Types {
    pub(super) fn new() -> Self {
        let mut types = Self {
            bytes: Vec::new(),
            texts: vec![0],
            last: 0,
        };
        types.add("int", INT, 4, &[SIGNED_32_BITS]);
        types.add("", PTR, 0, &[]);
        types
    }

    /// A structure with one field, which is a pointer.
    pub(super) fn structure(&mut self, name: &str, field: &str) -> Field {
        let structure = self.record(name, 8, &[(field, POINTER, 0)]);
        self.field(structure, "0:0", 0)
    }

    pub(super) fn net_device(&mut self) -> NetDevice {
        let node = self.record(
            "hlist_node",
            16,
            &[("next", POINTER, 0), ("pprev", POINTER, 8)],
        );
        let list = self.record(
            "list_head",
            16,
            &[("next", POINTER, 0), ("prev", POINTER, 8)],
        );
        let lists = self.record("", 16, &[("upper", list, 0)]);
        let fields = [
            ("ifindex", NUMBER, 0),
            ("index_hlist", node, 8),
            ("adj_list", lists, 24),
        ];
        let device = self.record("net_device", 40, &fields);
        NetDevice {
            ifindex: self.field(device, "0:0", 0),
            index_hlist: self.field(device, "0:1", 8),
            uppers: self.field(device, "0:2:0", 24),
        }
    }

    /// A function with one argument; returns its number.
    pub(super) fn function(&mut self, name: &str) -> u32 {
        let argument = self.text("context");
        let prototype = self.add("", FUNC_PROTO << 24 | 1, NUMBER, &[argument, POINTER]);
        self.add(name, FUNC, prototype, &[])
    }

    /// The description with its header.
    pub(super) fn finish(self) -> Vec<u8> {
        const MAGIC: u16 = 0xeb9f;
        const VERSION: u8 = 1;
        const HEADER: u32 = 24;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let (types, texts) = (length(&self.bytes), length(&self.texts));
        let mut all = MAGIC.to_ne_bytes().to_vec();
        all.extend([VERSION, 0]);
        all.extend(
            [HEADER, 0, types, types, texts]
                .into_iter()
                .flat_map(u32::to_ne_bytes),
        );
        all.extend(self.bytes);
        all.extend(self.texts);
        all
    }

    fn record(&mut self, name: &str, size: u32, fields: &[(&str, u32, u32)]) -> u32 {
        let mut members = Vec::new();
        for (name, kind, offset) in fields {
            members.extend([self.text(name), *kind, offset * 8]);
        }
        let count = u32::try_from(fields.len()).unwrap_or_default();
        self.add(name, STRUCT << 24 | count, size, &members)
    }

    fn add(&mut self, name: &str, kind: u32, size_or_type: u32, rest: &[u32]) -> u32 {
        let name = self.text(name);
        let kind = if kind < 1 << 24 { kind << 24 } else { kind };
        let words = [name, kind, size_or_type]
            .into_iter()
            .chain(rest.iter().copied());
        self.bytes.extend(words.flat_map(u32::to_ne_bytes));
        self.last += 1;
        self.last
    }

    fn field(&mut self, structure: u32, path: &str, offset: i32) -> Field {
        Field {
            structure,
            path: self.text(path),
            offset,
        }
    }

    /// Position of a text; the empty one is at 0.
    fn text(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let position = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.extend(text.as_bytes());
        self.texts.push(0);
        position
    }
}
