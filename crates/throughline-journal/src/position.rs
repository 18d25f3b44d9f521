//! Where a record is: the one name a record has for as long as it exists. It refuses to be computed with: a position
//! is compared, stored and handed back, never added to.

use std::fmt;

/// The place of a record. Positions rise over the journal's whole life and are never used twice, not even after a
/// power loss took the record that had one.
///
/// The upper half is the segment's sequence number, the lower half the record's offset in that segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position(pub u64);

impl Position {
    pub(crate) const fn new(sequence: u32, offset: u32) -> Self {
        Self(((sequence as u64) << 32) | offset as u64)
    }

    pub(crate) const fn sequence(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) const fn offset(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }
}

impl fmt::Display for Position {
    /// `segment+offset`, as error messages and FORMAT.md name a place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.sequence(), self.offset())
    }
}
