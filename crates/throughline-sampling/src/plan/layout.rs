//! Where the spans of a request stand: who wants those of some traces back need not read the others.

/// Bytes of a request, from and up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// The first.
    pub from: u32,
    /// Behind the last.
    pub to: u32,
}

/// Where a request's spans stand. Empty of a request whose spans are scattered over too many groups ([`MAX_REST`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// For each trace, in the order of the facts: from its first span to its last, tags and lengths included. Others may lie
    /// between.
    pub traces: Vec<Stretch>,
    /// What is no span, ascending.
    pub rest: Vec<Stretch>,
}

/// Stretches that are no span: two of a request with one group, one more for each further group.
pub const MAX_REST: usize = 64;

/// A layout in the making.
pub(super) struct Placing<'a> {
    request: &'a [u8],
    /// Behind the last span.
    end: u32,
    span: Stretch,
    layout: Layout,
}

impl<'a> Placing<'a> {
    pub(super) fn new(request: &'a [u8], spans: usize) -> Self {
        let layout = Layout { traces: Vec::with_capacity(spans), rest: Vec::new() };
        Self { request, end: 0, span: Stretch::default(), layout }
    }

    /// The next span, as the field that it stands in.
    #[inline]
    pub(super) fn span(&mut self, field: &'a [u8]) {
        // Only requests are scanned that a journal can hold, which are far smaller than 4 GiB: `finish` checks it.
        let from = (field.as_ptr().addr() - self.request.as_ptr().addr()) as u32;
        let to = from + field.len() as u32;
        if from > self.end {
            self.rest(from);
        }
        (self.end, self.span) = (to, Stretch { from, to });
    }

    fn rest(&mut self, to: u32) {
        if self.layout.rest.len() <= MAX_REST {
            self.layout.rest.push(Stretch { from: self.end, to });
        }
    }

    /// The span belongs to the trace whose facts have this number.
    #[inline]
    pub(super) fn belongs(&mut self, number: usize) {
        match self.layout.traces.get_mut(number) {
            Some(stretch) => stretch.to = self.span.to,
            None => self.layout.traces.push(self.span),
        }
    }

    pub(super) fn finish(mut self) -> Layout {
        let Ok(length) = u32::try_from(self.request.len()) else { return Layout::default() };
        if length > self.end {
            self.rest(length);
        }
        if self.layout.rest.len() > MAX_REST { Layout::default() } else { self.layout }
    }
}
