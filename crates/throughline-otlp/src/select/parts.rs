//! Requests dealt out in one walk: each item goes to one of several parts, or to none. Bytes as in
//! [`select_items`](super::select_items): what is around an item goes with it, once for each part that has items of that
//! group, in order. Only lengths are written anew.
//!
//! The walk notes pieces; each part is then put together in one buffer of its exact size.

use super::cut::{Level, Part as Field, head_len, put_head};
use super::items_of;
use crate::wire::WireError;

/// What goes to one part as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A span or log record.
    Item,
    /// A `ResourceSpans` or `ResourceLogs`.
    Resource,
}

/// Parts that are being filled.
#[derive(Debug)]
pub struct Parts<'a> {
    parts: Vec<Part<'a>>,
    /// The groups that the walk is in, by [`Level`].
    groups: [Group; LEVELS],
}

/// A part that has something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfPart {
    /// Which.
    pub number: usize,
    /// An export request with its items and no others.
    pub request: Vec<u8>,
    /// How many items that is.
    pub items: usize,
}

const LEVELS: usize = 3;

/// Bytes of the request at hand.
#[derive(Clone, Copy, Debug)]
struct Run {
    from: usize,
    to: usize,
}

/// A group that the walk is in.
#[derive(Debug, Default)]
struct Group {
    /// The fields so far that are not its children.
    around: Vec<Run>,
    /// The parts that have items of it.
    parts: Vec<usize>,
}

#[derive(Debug, Default)]
struct Part<'a> {
    pieces: Vec<Piece<'a>>,
    /// Bytes of the pieces, but of heads whose groups have not ended.
    length: usize,
    items: usize,
    /// What the last piece is of the request at hand.
    last: Option<Run>,
    /// The groups that it has items of, as deep as the walk is in them.
    open: Vec<Open>,
}

/// Where a group begins in a part.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Number of the piece that is its head, if it has one.
    head: Option<usize>,
    length_before: usize,
}

#[derive(Debug)]
enum Piece<'a> {
    Run(&'a [u8]),
    Head { number: u32, length: usize },
}

impl<'a> Parts<'a> {
    /// So many parts, with nothing in them.
    #[must_use]
    pub fn new(parts: usize) -> Self {
        Self {
            parts: std::iter::repeat_with(Part::default).take(parts).collect(),
            groups: Default::default(),
        }
    }

    /// Deals a request out, behind those before it: `to_whom` is given the bytes of each `unit` and says which part it goes
    /// to; what goes to none, or to one that is not there, is left out.
    ///
    /// # Errors
    /// [`WireError`] if the request is not OTLP, and what `to_whom` says. The parts are of no use then.
    pub fn deal(
        &mut self,
        request: &'a [u8],
        unit: Unit,
        mut to_whom: impl FnMut(&'a [u8]) -> Result<Option<usize>, WireError>,
    ) -> Result<(), WireError> {
        self.parts.iter_mut().for_each(|part| part.last = None);
        self.walk(request, Run { from: 0, to: request.len() }, Level::Request, unit, &mut to_whom)?;
        self.end(Level::Request);
        Ok(())
    }

    /// The parts that have something, in order of their numbers.
    #[must_use]
    pub fn into_requests(self) -> Vec<OfPart> {
        let filled = self.parts.into_iter().enumerate().filter(|(_, part)| !part.pieces.is_empty());
        filled
            .map(|(number, part)| OfPart { number, items: part.items, request: part.into_request() })
            .collect()
    }

    fn walk(
        &mut self,
        request: &'a [u8],
        group: Run,
        level: Level,
        unit: Unit,
        to_whom: &mut impl FnMut(&'a [u8]) -> Result<Option<usize>, WireError>,
    ) -> Result<(), WireError> {
        let mut at = group.from;
        while let Some(rest) = request.get(at..group.to).filter(|rest| !rest.is_empty()) {
            let field = Field::first_of(rest)?;
            let run = Run { from: at, to: at + field.raw.len() };
            at = run.to;
            if field.number != level.children() {
                self.around(request, level, run);
                continue;
            }
            let bytes = field.bytes.ok_or(WireError::WireType { number: field.number })?;
            let inner = match (level, unit) {
                (Level::Request, Unit::Item) => Level::Resource,
                (Level::Resource, _) => Level::Scope,
                (Level::Request, Unit::Resource) | (Level::Scope, _) => {
                    if let Some(number) = to_whom(bytes)? {
                        let items = if unit == Unit::Item { 1 } else { items_of(bytes)? };
                        self.give(request, level, run, number, items);
                    }
                    continue;
                }
            };
            let group = Run { from: run.to - bytes.len(), to: run.to };
            self.walk(request, group, inner, unit, to_whom)?;
            self.end(inner);
        }
        Ok(())
    }

    /// A field that is not a child: for every part that has items of the group, or will have.
    fn around(&mut self, request: &'a [u8], level: Level, run: Run) {
        let Some(group) = self.groups.get_mut(level.depth()) else { return };
        group.around.push(run);
        for number in &group.parts {
            if let Some(part) = self.parts.get_mut(*number) {
                part.push(request, run);
            }
        }
    }

    fn give(&mut self, request: &'a [u8], level: Level, run: Run, number: usize, items: usize) {
        let Some(part) = self.parts.get_mut(number) else { return };
        // Whoever is in a group is in those around it.
        let groups = self.groups.iter_mut().enumerate().take(level.depth() + 1);
        for (depth, group) in groups.skip(part.open.len()) {
            part.begin(depth);
            group.parts.push(number);
            group.around.iter().for_each(|run| part.push(request, *run));
        }
        part.push(request, run);
        part.items += items;
    }

    /// The group of this level that the walk was in is over.
    fn end(&mut self, level: Level) {
        let Some(group) = self.groups.get_mut(level.depth()) else { return };
        group.around.clear();
        for number in group.parts.drain(..) {
            if let Some(part) = self.parts.get_mut(number) {
                part.end();
            }
        }
    }
}

impl<'a> Part<'a> {
    fn push(&mut self, request: &'a [u8], run: Run) {
        self.length += run.to - run.from;
        let joined = self.last.filter(|last| last.to == run.from).map(|last| Run { from: last.from, ..run });
        let whole = joined.unwrap_or(run);
        let bytes = request.get(whole.from..whole.to).unwrap_or_default();
        match self.pieces.last_mut().filter(|_| joined.is_some()) {
            Some(last) => *last = Piece::Run(bytes),
            None => self.pieces.push(Piece::Run(bytes)),
        }
        self.last = Some(whole);
    }

    /// Begins a group of this depth; the request itself has no head.
    fn begin(&mut self, depth: usize) {
        let number =
            if depth == Level::Resource.depth() { Level::Request } else { Level::Resource }.children();
        let head = (depth > Level::Request.depth()).then(|| {
            self.pieces.push(Piece::Head { number, length: 0 });
            self.last = None;
            self.pieces.len() - 1
        });
        self.open.push(Open { head, length_before: self.length });
    }

    /// Ends the innermost group.
    fn end(&mut self) {
        let Some(Open { head: Some(head), length_before }) = self.open.pop() else { return };
        let inner = self.length - length_before;
        if let Some(Piece::Head { number, length }) = self.pieces.get_mut(head) {
            *length = inner;
            self.length += head_len(*number, inner);
        }
    }

    fn into_request(self) -> Vec<u8> {
        let mut request = Vec::with_capacity(self.length);
        for piece in &self.pieces {
            match *piece {
                Piece::Run(bytes) => request.extend_from_slice(bytes),
                Piece::Head { number, length } => put_head(&mut request, number, length),
            }
        }
        request
    }
}

#[cfg(test)]
mod tests;
