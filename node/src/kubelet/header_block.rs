//! Replaces the `:authority` in an HPACK header block (RFC 7541); values are skipped, never decoded, and no table is kept.

/// The static entry with the name `:authority` and an empty value (RFC 7541, appendix A).
const AUTHORITY: u64 = 1;
/// The new value, without Huffman coding.
const VALUE: &[u8] = b"localhost";

/// Returns the block with each literal `:authority` that is longer than the new value replaced; absent when nothing must be replaced, or the block cannot be parsed.
///
/// The dynamic tables of both ends stay in step: the entry of the decoder is never larger than the entry that the encoder counts,
/// so the decoder evicts later and never earlier, and indices count from the newest entry.
/// A Huffman code shortens a value, so a value that is longer than the new one when coded is longer when decoded.
pub(super) fn with_local_authority(block: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(block);
    let mut replaced = Vec::with_capacity(block.len());
    let mut is_changed = false;
    while let Some(&first) = reader.0.first() {
        let field = reader.0;
        let is_authority = match reader.field(first)? {
            Field::Indexed(AUTHORITY) => {
                // A literal without indexing, in place of the entry with the empty value.
                replaced.push(0x01);
                true
            }
            Field::Authority { value } if value > VALUE.len() => {
                // The representation and the name stay.
                replaced.push(first);
                true
            }
            Field::Indexed(_) | Field::Authority { .. } | Field::Other => false,
        };
        if is_authority {
            replaced.push(u8::try_from(VALUE.len()).ok()?);
            replaced.extend_from_slice(VALUE);
            is_changed = true;
        } else {
            let length = field.len().checked_sub(reader.0.len())?;
            replaced.extend_from_slice(field.get(..length)?);
        }
    }
    is_changed.then_some(replaced)
}

/// One representation of a block.
enum Field {
    /// A whole field of a table.
    Indexed(u64),
    /// A literal with the name `:authority`, and the coded length of its value.
    Authority { value: usize },
    /// Another literal, or a new size of the table.
    Other,
}

/// The bytes that follow.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    /// Reads the representation that begins with a byte (RFC 7541, section 6).
    fn field(&mut self, first: u8) -> Option<Field> {
        if first & 0x80 != 0 {
            return Some(Field::Indexed(self.integer(7)?));
        }
        if first & 0xe0 == 0x20 {
            self.integer(5)?;
            return Some(Field::Other);
        }
        let name = self.integer(if first & 0x40 == 0 { 4 } else { 6 })?;
        if name == 0 {
            self.string()?;
        }
        let value = self.string()?;
        Some(if name == AUTHORITY {
            Field::Authority { value }
        } else {
            Field::Other
        })
    }

    /// An integer with a prefix of some bits (RFC 7541, section 5.1).
    fn integer(&mut self, bits: u32) -> Option<u64> {
        let most = (1_u64 << bits) - 1;
        let mut value = u64::from(self.byte()?) & most;
        if value < most {
            return Some(value);
        }
        let mut shift = 0_u32;
        loop {
            let byte = u64::from(self.byte()?);
            let part = (byte & 0x7f).checked_shl(shift)?;
            value = value.checked_add(part)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            // Longer integers are not the length of anything.
            shift = shift.checked_add(7).filter(|shift| *shift <= 28)?;
        }
    }

    /// Skips a string (RFC 7541, section 5.2); returns its coded length.
    fn string(&mut self) -> Option<usize> {
        let length = usize::try_from(self.integer(7)?).ok()?;
        self.0 = self.0.get(length..)?;
        Some(length)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
}

#[cfg(test)]
mod tests;
