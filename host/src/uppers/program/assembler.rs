//! Instructions of BPF (Documentation/bpf/standardization/instruction-set.rst), as far as the program needs them.

use std::collections::BTreeMap;

use super::btf::Field;

/// A register; those that are not here are arguments and results of helper functions.
#[derive(Clone, Copy)]
pub(super) enum Register {
    R0,
    R1,
    R2,
    R3,
    R6,
    R7,
    R8,
    R9,
    /// The frame.
    R10,
}

/// A place that is jumped to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Label {
    Next,
    Failed,
    Found,
    Empty,
}

/// A program that grows.
#[derive(Default)]
pub(super) struct Assembler {
    code: Vec<Instruction>,
    labels: BTreeMap<Label, usize>,
    relocations: Vec<u32>,
}

struct Instruction {
    operation: u8,
    to: Register,
    from: Register,
    offset: i16,
    jump: Option<Label>,
    value: i32,
}

use Register::{R0, R1, R2, R3, R10};

// enum bpf_func_id, include/uapi/linux/bpf.h
const GET_CURRENT_TASK: i32 = 35;
const PROBE_READ_KERNEL: i32 = 113;

/// Place on the stack to which a helper function reads.
const SLOT: i16 = -8;

// Operations on 64 bits: with a value, with a register.
const ADD: u8 = 0x07;
const ADD_REGISTER: u8 = 0x0f;
const SUBTRACT: u8 = 0x17;
const AND: u8 = 0x57;
const SHIFT_LEFT: u8 = 0x67;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const LOAD_32: u8 = 0x61;
const LOAD_64: u8 = 0x79;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_EQUAL_REGISTER: u8 = 0x1d;
const JUMP_OTHER: u8 = 0x55;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

impl Assembler {
    /// Loads the first argument of the program.
    pub(super) fn load_argument(&mut self, to: Register) {
        self.load(LOAD_64, to, R1, 0);
    }

    pub(super) fn current_task(&mut self, to: Register) {
        self.with_value(CALL, R0, GET_CURRENT_TASK);
        self.with_register(MOVE_REGISTER, to, R0);
    }

    /// Reads the pointer at an address, or at a field of what is there.
    pub(super) fn follow(&mut self, to: Register, base: Register, field: Option<&Field>) {
        self.read(8, base, field);
        self.load(LOAD_64, to, R10, SLOT);
    }

    /// Reads the number of 32 bits at a field.
    pub(super) fn read_number(&mut self, to: Register, base: Register, field: &Field) {
        self.read(4, base, Some(field));
        self.load(LOAD_32, to, R10, SLOT);
    }

    /// Adds the offset of a bucket of pointers.
    pub(super) fn add_bucket(&mut self, to: Register, index: Register, mask: i32) {
        const LOG2_OF_POINTER: i32 = 3;
        self.with_register(MOVE_REGISTER, R1, index);
        self.with_value(AND, R1, mask);
        self.with_value(SHIFT_LEFT, R1, LOG2_OF_POINTER);
        self.with_register(ADD_REGISTER, to, R1);
    }

    /// The address of the structure that has a field at the address in `member`.
    pub(super) fn container(&mut self, to: Register, member: Register, field: &Field) {
        self.with_register(MOVE_REGISTER, to, member);
        self.with_offset_of(SUBTRACT, to, field);
    }

    /// The address of a field.
    pub(super) fn address_of(&mut self, to: Register, base: Register, field: &Field) {
        self.with_register(MOVE_REGISTER, to, base);
        self.with_offset_of(ADD, to, field);
    }

    pub(super) fn set(&mut self, to: Register, value: i32) {
        self.with_value(MOVE, to, value);
    }

    pub(super) fn count_down(&mut self, counter: Register, unless_zero: Label) {
        self.with_value(ADD, counter, -1);
        self.jump(JUMP_OTHER, counter, R0, unless_zero);
    }

    pub(super) fn jump_if_zero(&mut self, register: Register, to: Label) {
        self.jump(JUMP_EQUAL, register, R0, to);
    }

    pub(super) fn jump_if_equal(&mut self, one: Register, other: Register, to: Label) {
        self.jump(JUMP_EQUAL_REGISTER, one, other, to);
    }

    pub(super) fn leave(&mut self, result: i32) {
        self.set(R0, result);
        self.with_value(EXIT, R0, 0);
    }

    /// The next instruction is at this label.
    pub(super) fn label(&mut self, label: Label) {
        self.labels.insert(label, self.code.len());
    }

    /// Instructions and relocations as bytes.
    pub(super) fn finish(self) -> (Vec<u8>, Vec<u8>) {
        let Self {
            code,
            labels,
            relocations,
        } = self;
        let distance = |label: Label, from: usize| {
            let to = labels.get(&label).copied().unwrap_or(from);
            let [to, from] = [to, from + 1].map(|place| i16::try_from(place).unwrap_or_default());
            to - from
        };
        let instructions = code.iter().enumerate().flat_map(|(place, instruction)| {
            let jump = instruction.jump.map(|label| distance(label, place));
            instruction.bytes(jump.unwrap_or(instruction.offset))
        });
        let relocations = relocations.into_iter().flat_map(u32::to_ne_bytes);
        (instructions.collect(), relocations.collect())
    }

    /// Reads bytes to the stack; leaves the program if they cannot be read.
    fn read(&mut self, bytes: i32, base: Register, field: Option<&Field>) {
        self.with_register(MOVE_REGISTER, R1, R10);
        self.with_value(ADD, R1, SLOT.into());
        self.set(R2, bytes);
        match field {
            Some(field) => self.address_of(R3, base, field),
            None => self.with_register(MOVE_REGISTER, R3, base),
        }
        self.with_value(CALL, R0, PROBE_READ_KERNEL);
        self.jump(JUMP_OTHER, R0, R0, Label::Failed);
    }

    /// An operation whose value is the offset of a field, which the kernel corrects.
    fn with_offset_of(&mut self, operation: u8, to: Register, field: &Field) {
        const SIZE: usize = 8;
        /// `BPF_CORE_FIELD_BYTE_OFFSET`.
        const OFFSET: u32 = 0;
        let place = u32::try_from(self.code.len() * SIZE).unwrap_or(u32::MAX);
        self.relocations
            .extend([place, field.structure, field.path, OFFSET]);
        self.with_value(operation, to, field.offset);
    }

    fn with_value(&mut self, operation: u8, to: Register, value: i32) {
        self.push(operation, to, R0, 0, None, value);
    }

    fn with_register(&mut self, operation: u8, to: Register, from: Register) {
        self.push(operation, to, from, 0, None, 0);
    }

    fn load(&mut self, operation: u8, to: Register, from: Register, offset: i16) {
        self.push(operation, to, from, offset, None, 0);
    }

    fn jump(&mut self, operation: u8, one: Register, other: Register, to: Label) {
        self.push(operation, one, other, 0, Some(to), 0);
    }

    fn push(
        &mut self,
        operation: u8,
        to: Register,
        from: Register,
        offset: i16,
        jump: Option<Label>,
        value: i32,
    ) {
        self.code.push(Instruction {
            operation,
            to,
            from,
            offset,
            jump,
            value,
        });
    }
}

impl Instruction {
    /// `struct bpf_insn`; its registers are bit fields.
    fn bytes(&self, offset: i16) -> [u8; 8] {
        let (to, from) = (self.to.number(), self.from.number());
        let registers = if cfg!(target_endian = "little") {
            from << 4 | to
        } else {
            to << 4 | from
        };
        let [o0, o1] = offset.to_ne_bytes();
        let [v0, v1, v2, v3] = self.value.to_ne_bytes();
        [self.operation, registers, o0, o1, v0, v1, v2, v3]
    }
}

impl Register {
    fn number(self) -> u8 {
        match self {
            Self::R0 => 0,
            Self::R1 => 1,
            Self::R2 => 2,
            Self::R3 => 3,
            Self::R6 => 6,
            Self::R7 => 7,
            Self::R8 => 8,
            Self::R9 => 9,
            Self::R10 => 10,
        }
    }
}
