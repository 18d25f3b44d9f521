//! Protobuf's wire format: reading fields without copying, and the few writers that splicing needs.
//!
//! Accepts and refuses exactly what prost does (a property test and a fuzz target hold it to that): varints of at most
//! ten bytes, no field number 0, groups skipped when unknown, nesting of at most [`MAX_DEPTH`].

pub mod tag;

/// How deep messages may nest; prost's limit.
pub const MAX_DEPTH: u32 = 100;

/// What is wrong with the bytes. Positions are offsets into the message that was being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The input ends inside a field.
    #[error("input ends inside a field, at byte {at}")]
    Truncated {
        /// Where the field starts.
        at: usize,
    },
    /// A varint runs over ten bytes or 64 bits.
    #[error("varint too long, at byte {at}")]
    Varint {
        /// Where the varint starts.
        at: usize,
    },
    /// Field number 0 or over 2^29-1, wire type 6 or 7, or the end of a group that never began.
    #[error("invalid field tag, at byte {at}")]
    Tag {
        /// Where the tag starts.
        at: usize,
    },
    /// A known field came with another wire type.
    #[error("field {number} has the wrong wire type")]
    WireType {
        /// The field's number.
        number: u32,
    },
    /// A string field is not UTF-8.
    #[error("field {number} is not UTF-8")]
    Utf8 {
        /// The field's number.
        number: u32,
    },
    /// Messages nest deeper than [`MAX_DEPTH`].
    #[error("messages nest deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// One field as it stands on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Field number.
    pub number: u32,
    /// Value.
    pub payload: Payload<'a>,
    /// Tag and value, for copying a field whole.
    pub raw: &'a [u8],
}

/// A field's value.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: string, bytes, message or packed.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
    /// Wire type 3, already skipped to its end.
    Group,
}

impl<'a> Field<'a> {
    /// The bytes of a length-delimited field.
    ///
    /// # Errors
    /// [`WireError::WireType`] if the field is of another type; so for the methods below.
    pub fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.payload {
            Payload::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong_type()),
        }
    }

    /// The text of a string field; also [`WireError::Utf8`].
    pub fn text(&self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Utf8 { number: self.number })
    }

    /// A varint's value.
    pub fn varint(&self) -> Result<u64, WireError> {
        match self.payload {
            Payload::Varint(value) => Ok(value),
            _ => Err(self.wrong_type()),
        }
    }

    /// A varint truncated to 32 bits, as protobuf reads `uint32`, `int32` and enums.
    pub fn varint32(&self) -> Result<u32, WireError> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "protobuf truncates 64-bit varints of 32-bit fields"
        )]
        self.varint().map(|v| v as u32)
    }

    /// A fixed64's value.
    pub fn fixed64(&self) -> Result<u64, WireError> {
        match self.payload {
            Payload::Fixed64(value) => Ok(value),
            _ => Err(self.wrong_type()),
        }
    }

    /// A fixed32's value.
    pub fn fixed32(&self) -> Result<u32, WireError> {
        match self.payload {
            Payload::Fixed32(value) => Ok(value),
            _ => Err(self.wrong_type()),
        }
    }

    fn wrong_type(&self) -> WireError {
        WireError::WireType { number: self.number }
    }
}

/// Iterator over the fields of one message. After an error it ends.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    buf: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Fields<'a> {
    /// Reads `message` from its start.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        Self::at_depth(message, MAX_DEPTH)
    }

    /// Reads a message that may nest `depth` levels more.
    pub(crate) fn at_depth(message: &'a [u8], depth: u32) -> Self {
        Self { buf: message, at: 0, depth }
    }

    #[inline]
    fn read(&mut self) -> Result<Field<'a>, WireError> {
        let start = self.at;
        let (number, wire_type) = self.tag()?;
        let payload = self.payload(number, wire_type, self.depth)?;
        let raw = self.buf.get(start..self.at).ok_or(WireError::Truncated { at: start })?;
        Ok(Field { number, payload, raw })
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u8), WireError> {
        let at = self.at;
        let key = self.varint()?;
        let number = u32::try_from(key).map_err(|_| WireError::Tag { at })? >> 3;
        if number == 0 {
            return Err(WireError::Tag { at });
        }
        Ok((number, (key & 7) as u8))
    }

    #[inline]
    fn payload(&mut self, number: u32, wire_type: u8, depth: u32) -> Result<Payload<'a>, WireError> {
        let at = self.at;
        match wire_type {
            0 => self.varint().map(Payload::Varint),
            1 => self.take(8, at).map(|b| Payload::Fixed64(little_endian(b))),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| WireError::Truncated { at })?;
                self.take(length, at).map(Payload::Bytes)
            }
            3 => self.skip_group(number, depth).map(|()| Payload::Group),
            #[expect(clippy::cast_possible_truncation, reason = "four bytes were read")]
            5 => self.take(4, at).map(|b| Payload::Fixed32(little_endian(b) as u32)),
            _ => Err(WireError::Tag { at }),
        }
    }

    fn skip_group(&mut self, number: u32, depth: u32) -> Result<(), WireError> {
        let depth = depth.checked_sub(1).ok_or(WireError::TooDeep)?;
        loop {
            let at = self.at;
            match self.tag()? {
                (inner, 4) if inner == number => return Ok(()),
                (_, 4) => return Err(WireError::Tag { at }),
                _ if depth == 0 => return Err(WireError::TooDeep),
                (inner, wire_type) => self.payload(inner, wire_type, depth)?,
            };
        }
    }

    #[inline]
    fn take(&mut self, length: usize, at: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(length).ok_or(WireError::Truncated { at })?;
        let bytes = self.buf.get(self.at..end).ok_or(WireError::Truncated { at })?;
        self.at = end;
        Ok(bytes)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        match self.buf.get(self.at) {
            // Nearly every tag and length: the loop below costs several times this.
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let at = self.at;
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = *self.buf.get(self.at).ok_or(WireError::Truncated { at })?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                return Err(WireError::Varint { at });
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Varint { at })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.buf.len() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.at = self.buf.len();
        }
        Some(field)
    }
}

/// The varints of a packed field, in order.
pub fn packed_varints(packed: &[u8]) -> impl Iterator<Item = Result<u64, WireError>> {
    let mut reader = Fields::new(packed);
    std::iter::from_fn(move || {
        if reader.at >= reader.buf.len() {
            return None;
        }
        let value = reader.varint();
        if value.is_err() {
            reader.at = reader.buf.len();
        }
        Some(value)
    })
}

/// Little-endian integer of at most eight bytes.
pub(crate) fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, b| value << 8 | u64::from(*b))
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes a varint takes.
pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// Appends a tag.
pub fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

/// Appends a length-delimited field.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expect: &str) {
        let shown: Vec<String> = Fields::new(bytes)
            .map(|f| match f {
                Ok(f) => format!("{}:{:?}", f.number, f.payload),
                Err(e) => e.to_string(),
            })
            .collect();
        assert_eq!(shown.join(" | "), expect);
    }

    #[test]
    fn a_varint_takes_as_many_bytes_as_are_said() {
        for value in (0..64).flat_map(|shift| [1u64 << shift, (1 << shift) - 1, u64::MAX >> shift]) {
            let mut written = Vec::new();
            put_varint(&mut written, value);
            assert_eq!(written.len(), varint_len(value), "{value}");
        }
    }

    #[test]
    fn fields_and_what_is_wrong_with_them() {
        check(&[0x08, 0x96, 0x01], "1:Varint(150)");
        check(&[0x12, 2, b'h', b'i'], "2:Bytes([104, 105])");
        check(&[0x1d, 1, 0, 0, 0], "3:Fixed32(1)");
        check(&[0x0b, 0x10, 1, 0x0c, 0x08, 7], "1:Group | 1:Varint(7)");
        check(&[0x12, 3, b'h'], "input ends inside a field, at byte 1");
        check(&[0x00], "invalid field tag, at byte 0");
        check(&[0x0c], "invalid field tag, at byte 1");
        check(
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            "varint too long, at byte 1",
        );
        check(&[0x0b; 200], "messages nest deeper than 100");
    }
}
