//! What is left of a request, as pieces of it: runs of bytes that stay, and new heads where a group became shorter.

use std::cmp::Ordering;
use std::ops::Range;

use super::{Attributes, Choice, Choose};
use crate::wire::{Fields, WireError, put_tag, put_varint, varint_len};

/// A request holds resource groups, these hold scope groups, these hold items.
#[derive(Clone, Copy, Debug)]
pub(super) enum Level {
    Request,
    Resource,
    Scope,
}

impl Level {
    /// The field in which the children stand.
    pub(super) fn children(self) -> u32 {
        match self {
            Self::Request => 1,
            Self::Resource | Self::Scope => 2,
        }
    }

    /// How many groups are around it.
    pub(super) fn depth(self) -> usize {
        match self {
            Self::Request => 0,
            Self::Resource => 1,
            Self::Scope => 2,
        }
    }
}

/// What the output is put together from.
enum Piece<'a> {
    /// Bytes as they stand in the request, or attributes to add.
    Run(&'a [u8]),
    /// Tag and length of a group or item that became longer or shorter.
    Head { number: u32, length: usize },
}

/// One field of a group.
pub(super) struct Part<'a> {
    pub(super) number: u32,
    /// Tag and value.
    pub(super) raw: &'a [u8],
    /// The value, if it is length-delimited.
    pub(super) bytes: Option<&'a [u8]>,
}

impl<'a> Part<'a> {
    /// The field that `rest` begins with. Of spans of the usual size this is nearly all there is to do.
    #[inline]
    pub(super) fn first_of(rest: &'a [u8]) -> Result<Self, WireError> {
        let (head, length) = match *rest {
            [tag @ 8..0x80, length @ ..0x80, ..] if tag & 7 == 2 => (2, usize::from(length)),
            [tag @ 8..0x80, low, high @ ..0x80, ..] if tag & 7 == 2 => {
                (3, usize::from(low & 0x7f) | usize::from(high) << 7)
            }
            _ => return Self::any_first_of(rest),
        };
        match (rest.first(), rest.get(..head + length), rest.get(head..head + length)) {
            (Some(tag), Some(raw), bytes @ Some(_)) => Ok(Self { number: u32::from(tag >> 3), raw, bytes }),
            _ => Err(WireError::Truncated { at: 0 }),
        }
    }

    fn any_first_of(rest: &'a [u8]) -> Result<Self, WireError> {
        let field = Fields::new(rest).next().ok_or(WireError::Truncated { at: 0 })??;
        Ok(Self { number: field.number, raw: field.raw, bytes: field.bytes().ok() })
    }
}

pub(super) struct Cut<'a, 'c, 'n> {
    request: &'a [u8],
    /// What is not at hand, as far as it has not been passed.
    holes: &'c [Range<usize>],
    pieces: Vec<Piece<'a>>,
    items: usize,
    kept: usize,
    choose: Choose<'c, 'n>,
}

impl<'a, 'n: 'a> Cut<'a, '_, 'n> {
    /// Appends what is chosen of `request` to `out`, and says how many items that is.
    pub(super) fn request(
        request: &'a [u8],
        holes: &[Range<usize>],
        choose: Choose<'_, 'n>,
        out: &mut Vec<u8>,
    ) -> Result<usize, WireError> {
        let mut cut = Cut { request, holes, pieces: Vec::new(), items: 0, kept: 0, choose };
        out.reserve(cut.group(request, Level::Request)?);
        for piece in &cut.pieces {
            match *piece {
                Piece::Run(bytes) => out.extend_from_slice(bytes),
                Piece::Head { number, length } => put_head(out, number, length),
            }
        }
        Ok(cut.kept)
    }

    /// Adds the pieces of what is kept of `group` and says how long they are; no pieces if no item is kept.
    fn group(&mut self, group: &'a [u8], level: Level) -> Result<usize, WireError> {
        let (first_piece, kept_before) = (self.pieces.len(), self.kept);
        let mut run = Run { bytes: group, from: 0, to: 0 };
        let (mut at, mut length) = (0, 0);
        loop {
            if !self.holes.is_empty() {
                at = self.past_hole(group, at, level)?;
            }
            let Some(rest) = group.get(at..).filter(|rest| !rest.is_empty()) else { break };
            let field = Part::first_of(rest)?;
            let from = at;
            at += field.raw.len();
            let stays = match field.bytes {
                _ if field.number != level.children() => true,
                Some(bytes) => self.child(&field, bytes, level, &mut run, &mut length)?,
                None => return Err(WireError::WireType { number: field.number }),
            };
            if stays {
                length += field.raw.len();
                run.extend(from, at, &mut self.pieces);
            }
        }
        run.flush(&mut self.pieces);
        if self.kept == kept_before {
            self.pieces.truncate(first_piece);
            return Ok(0);
        }
        Ok(length)
    }

    /// Where what is at hand goes on from `at`. Holes are spans, so they lie within one scope's group.
    fn past_hole(&mut self, group: &'a [u8], at: usize, level: Level) -> Result<usize, WireError> {
        let begins = group.as_ptr().addr() - self.request.as_ptr().addr();
        let Some((hole, rest)) = self.holes.split_first() else { return Ok(at) };
        match hole.start.cmp(&(begins + at)) {
            Ordering::Greater => Ok(at),
            Ordering::Equal
                if matches!(level, Level::Scope)
                    && (hole.start..=begins + group.len()).contains(&hole.end) =>
            {
                self.holes = rest;
                Ok(hole.end - begins)
            }
            Ordering::Equal | Ordering::Less => Err(WireError::Truncated { at }),
        }
    }

    /// Whether the child stays as it is. If not, what is left of it has been added.
    fn child(
        &mut self,
        field: &Part<'a>,
        bytes: &'a [u8],
        level: Level,
        run: &mut Run<'a>,
        length: &mut usize,
    ) -> Result<bool, WireError> {
        let inner = match level {
            Level::Scope => return self.item(field, bytes, run, length),
            Level::Request => Level::Resource,
            Level::Resource => Level::Scope,
        };
        // The run so far ends before the child's own pieces; a child that comes back whole goes on with it.
        let (first_piece, run_before) = (self.pieces.len(), *run);
        run.flush(&mut self.pieces);
        let head = self.pieces.len();
        self.pieces.push(Piece::Head { number: field.number, length: 0 });
        let inner_length = self.group(bytes, inner)?;
        if inner_length == bytes.len() && self.is_one_run_from(head + 1) {
            self.pieces.truncate(first_piece);
            *run = run_before;
            return Ok(true);
        }
        if inner_length == 0 {
            self.pieces.truncate(first_piece);
            *run = run_before;
            return Ok(false);
        }
        if let Some(Piece::Head { length, .. }) = self.pieces.get_mut(head) {
            *length = inner_length;
        }
        *length += head_len(field.number, inner_length) + inner_length;
        Ok(false)
    }

    fn item(
        &mut self,
        field: &Part<'a>,
        span: &'a [u8],
        run: &mut Run<'a>,
        length: &mut usize,
    ) -> Result<bool, WireError> {
        let choice = (self.choose)(self.items, span)?;
        self.items += 1;
        let (span, added): (&[u8], &[u8]) = match choice {
            Choice::Drop => return Ok(false),
            Choice::Keep => {
                self.kept += 1;
                return Ok(true);
            }
            Choice::KeepWith(Attributes(added)) => (span, added),
            Choice::Replace(other) => (other, &[]),
        };
        self.kept += 1;
        run.flush(&mut self.pieces);
        let item_length = span.len() + added.len();
        self.pieces.push(Piece::Head { number: field.number, length: item_length });
        self.pieces.push(Piece::Run(span));
        self.pieces.push(Piece::Run(added));
        *length += head_len(field.number, item_length) + item_length;
        Ok(false)
    }

    fn is_one_run_from(&self, at: usize) -> bool {
        matches!(self.pieces.get(at..), Some([Piece::Run(_)]))
    }
}

/// Neighbouring bytes of a group that all stay.
#[derive(Clone, Copy)]
struct Run<'a> {
    bytes: &'a [u8],
    from: usize,
    to: usize,
}

impl<'a> Run<'a> {
    fn extend(&mut self, from: usize, to: usize, pieces: &mut Vec<Piece<'a>>) {
        if from != self.to {
            self.flush(pieces);
            self.from = from;
        }
        self.to = to;
    }

    fn flush(&mut self, pieces: &mut Vec<Piece<'a>>) {
        if let Some(run) = self.bytes.get(self.from..self.to).filter(|run| !run.is_empty()) {
            pieces.push(Piece::Run(run));
        }
        self.from = self.to;
    }
}

pub(super) fn put_head(out: &mut Vec<u8>, number: u32, length: usize) {
    put_tag(out, number, 2);
    put_varint(out, length as u64);
}

pub(super) fn head_len(number: u32, length: usize) -> usize {
    varint_len(u64::from(number) << 3 | 2) + varint_len(length as u64)
}
