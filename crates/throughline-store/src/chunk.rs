//! One ingested request on its way into a block: its items, each with its own OTLP bytes, its columns and its terms.
//! Read from the wire once, in one pass, without decoding: what is asked for in memory is found by the same terms as on
//! disk, and decoded only then. Owns what of an item is indexed; refuses to know queries.

use throughline_otlp::view::{GroupView, LogView, LogsView, SpanView, TracesView, messages};
use throughline_otlp::wire::Fields;
use throughline_otlp::{Signal, SpanId, SpanKind, Splice, TraceId, UnixNanos, Value, WireError, check};
use throughline_semconv::attribute::SERVICE_NAME;

use crate::attribute::{self, Renderer, canonical};
use crate::schema::{Column, Slice, Terms, kind_byte, number, parse_operation};

/// How much later than its arrival an item may claim to be.
const AHEAD: u64 = 3600 * 1_000_000_000;

/// Status code of an error.
const ERROR: i32 = 2;

/// One ingested request, immutable from then on, so that readers share it without holding a lock.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) position: u64,
    pub(crate) arrived: UnixNanos,
    pub(crate) signal: Signal,
    items: Vec<Item>,
    /// The items' own requests, one after the other.
    otlp: Vec<u8>,
    /// The items' own terms, likewise.
    terms: Terms,
    /// What the items of one resource have in common.
    groups: Vec<Terms>,
}

/// A span or record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) trace: Option<TraceId>,
    /// Start or time, as [`placed`].
    pub(crate) time: u64,
    /// Of spans only.
    pub(crate) duration: Option<u64>,
    pub(crate) span: Option<u64>,
    pub(crate) parent: Option<u64>,
    /// Where its bytes and terms end; they begin where those of the item before it end.
    otlp_end: usize,
    terms_end: usize,
    group: usize,
}

impl Chunk {
    /// Every span with valid ids, every record of a request.
    pub(crate) fn read(
        position: u64,
        arrived: UnixNanos,
        signal: Signal,
        request: &[u8],
    ) -> Result<Self, WireError> {
        check(signal, request)?;
        let chunk = Self {
            position,
            arrived,
            signal,
            items: Vec::new(),
            otlp: Vec::with_capacity(request.len()),
            terms: Terms::default(),
            groups: Vec::new(),
        };
        let mut reader = Reader {
            chunk,
            splice: Splice::default(),
            resource: None,
            service: String::new(),
            renderer: Renderer::default(),
        };
        match signal {
            Signal::Traces => {
                TracesView::new(request).for_each(&mut |r, s, view| reader.span(r, s, &view))?
            }
            Signal::Logs => LogsView::new(request).for_each(&mut |r, s, view| reader.record(r, s, &view))?,
            Signal::Metrics => {}
        }
        Ok(reader.chunk)
    }

    /// Its items.
    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Bytes of OTLP.
    pub(crate) fn bytes(&self) -> usize {
        self.otlp.len()
    }

    /// The OTLP bytes of an item.
    pub(crate) fn otlp(&self, index: usize) -> Option<&[u8]> {
        self.otlp.get(self.before(index).map_or(0, |item| item.otlp_end)..self.items.get(index)?.otlp_end)
    }

    /// The terms of an item: its own, then those of its resource.
    pub(crate) fn terms(&self, index: usize) -> [Slice<'_>; 2] {
        let Some(item) = self.items.get(index) else { return [Slice::default(), Slice::default()] };
        let start = self.before(index).map_or(0, |before| before.terms_end);
        let shared = self.groups.get(item.group).map(Terms::iter);
        [self.terms.slice(start..item.terms_end), shared.unwrap_or_default()]
    }

    /// Whether the item has every one of these terms.
    pub(crate) fn has_all(&self, index: usize, wanted: &Terms) -> bool {
        wanted.iter().all(|term| self.terms(index).into_iter().flatten().any(|own| own == term))
    }

    /// Service, kind and name of every span, as they are listed.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (&str, u8, &str)> {
        (0..self.items.len())
            .flat_map(|index| self.terms(index).into_iter().flatten())
            .filter(|(column, _)| *column == Column::Operation)
            .filter_map(|(_, term)| parse_operation(term))
    }

    /// Distinct trace ids in the order of their first item.
    pub(crate) fn traces(&self) -> Vec<TraceId> {
        let mut seen = std::collections::HashSet::new();
        self.items.iter().filter_map(|item| item.trace).filter(|id| seen.insert(*id)).collect()
    }

    fn before(&self, index: usize) -> Option<&Item> {
        self.items.get(index.checked_sub(1)?)
    }
}

/// The time under which an item is ordered and found: its own, but no later than an hour after it arrived. The spans of a
/// clock that is far ahead would otherwise be the newest for ever.
fn placed(time: UnixNanos, arrived: UnixNanos) -> u64 {
    time.0.min(arrived.0.saturating_add(AHEAD))
}

/// A walk over one request.
struct Reader<'a> {
    chunk: Chunk,
    splice: Splice<'a>,
    /// The resource group at hand, by address, and its service.
    resource: Option<&'a [u8]>,
    service: String,
    renderer: Renderer,
}

impl<'a> Reader<'a> {
    fn span(
        &mut self,
        resource: GroupView<'a>,
        scope: GroupView<'a>,
        view: &SpanView<'a>,
    ) -> Result<(), WireError> {
        let Some((trace, span)) = view.ids() else { return Ok(()) };
        self.enter(resource)?;
        self.span_terms(trace, view)?;
        let item = Item {
            trace: Some(trace),
            time: placed(view.start, self.chunk.arrived),
            duration: Some(view.end.0.saturating_sub(view.start.0)),
            span: Some(number(span)),
            parent: SpanId::from_slice(view.parent_span_id).map(number),
            ..self.end()
        };
        self.splice.append(resource, scope, view.raw(), &mut self.chunk.otlp)?;
        self.chunk.items.push(Item { otlp_end: self.chunk.otlp.len(), ..item });
        Ok(())
    }

    fn record(
        &mut self,
        resource: GroupView<'a>,
        scope: GroupView<'a>,
        view: &LogView<'a>,
    ) -> Result<(), WireError> {
        self.enter(resource)?;
        self.record_terms(view)?;
        let time = if view.time.0 == 0 { view.observed } else { view.time };
        let item = Item {
            trace: TraceId::from_slice(view.trace_id),
            time: placed(time, self.chunk.arrived),
            span: SpanId::from_slice(view.span_id).map(number),
            ..self.end()
        };
        self.splice.append(resource, scope, view.raw(), &mut self.chunk.otlp)?;
        self.chunk.items.push(Item { otlp_end: self.chunk.otlp.len(), ..item });
        Ok(())
    }

    /// An item that ends here and has nothing of its own yet.
    fn end(&self) -> Item {
        Item {
            trace: None,
            time: 0,
            duration: None,
            span: None,
            parent: None,
            otlp_end: self.chunk.otlp.len(),
            terms_end: self.chunk.terms.len(),
            group: self.chunk.groups.len().saturating_sub(1),
        }
    }

    /// Gathers what the items of a resource have in common, unless it is still the same resource.
    fn enter(&mut self, group: GroupView<'a>) -> Result<(), WireError> {
        if self.resource.is_some_and(|known| std::ptr::eq(known, group.raw())) {
            return Ok(());
        }
        let (signal, resource) = (self.chunk.signal, group.resource()?);
        let mut terms = Terms::default();
        self.service.clear();
        self.service.push_str(resource.service());
        // Under its attribute's term also if there is no such attribute: then it is the one that stands for none.
        terms.push_attribute(signal, SERVICE_NAME, self.service.as_bytes());
        for entry in &resource.attributes {
            let (key, text) = (canonical(&entry.key), self.renderer.text(&entry.value));
            if key != SERVICE_NAME || text != self.service {
                terms.push_attribute(signal, key, text.as_bytes());
            }
        }
        self.chunk.groups.push(terms);
        self.resource = Some(group.raw());
        Ok(())
    }

    fn span_terms(&mut self, trace: TraceId, view: &SpanView<'_>) -> Result<(), WireError> {
        let terms = &mut self.chunk.terms;
        let kind = kind_byte(SpanKind::from_otlp(view.kind));
        terms.push(Signal::Traces, Column::Trace, &[&trace.bytes()]);
        terms.push_operation(&self.service, kind, view.name);
        terms.push(Signal::Traces, Column::Name, &[view.name.as_bytes()]);
        terms.push(Signal::Traces, Column::Kind, &[&[kind]]);
        if view.status_code == ERROR {
            terms.push(Signal::Traces, Column::Error, &[]);
        }
        for field in Fields::new(view.raw()) {
            let field = field?;
            match field.number {
                9 => self.attribute(field.bytes()?)?,
                11 => messages(field.bytes()?, 3).try_for_each(|raw| self.attribute(raw?))?,
                13 => self.link(trace, field.bytes()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn link(&mut self, trace: TraceId, raw: &[u8]) -> Result<(), WireError> {
        let mut target = None;
        for field in Fields::new(raw) {
            let field = field?;
            match field.number {
                1 => target = TraceId::from_slice(field.bytes()?),
                4 => self.attribute(field.bytes()?)?,
                _ => {}
            }
        }
        if let Some(target) = target.filter(|target| *target != trace) {
            self.chunk.terms.push(Signal::Traces, Column::Link, &[&target.bytes()]);
        }
        Ok(())
    }

    fn record_terms(&mut self, view: &LogView<'_>) -> Result<(), WireError> {
        let terms = &mut self.chunk.terms;
        if let Some(id) = TraceId::from_slice(view.trace_id) {
            terms.push(Signal::Logs, Column::Trace, &[&id.bytes()]);
        }
        if attribute::is_error(u8::try_from(view.severity).unwrap_or(0)) {
            terms.push(Signal::Logs, Column::Error, &[]);
        }
        let body = view.decoded_body()?;
        attribute::of_record(view.severity_text, view.event_name, &body, |key, text| {
            terms.push_attribute(Signal::Logs, key, text.as_bytes());
        });
        messages(view.raw(), 6).try_for_each(|raw| self.attribute(raw?))
    }

    /// Adds the term of a `KeyValue`.
    fn attribute(&mut self, raw: &[u8]) -> Result<(), WireError> {
        let (mut key, mut value, mut values) = ("", &[][..], 0);
        for field in Fields::new(raw) {
            let field = field?;
            match field.number {
                1 => key = field.text()?,
                2 => (value, values) = (field.bytes()?, values + 1),
                _ => {}
            }
        }
        let signal = self.chunk.signal;
        let mut push = |text: &[u8]| self.chunk.terms.push_attribute(signal, canonical(key), text);
        match Scalar::of(value).filter(|_| values == 1) {
            Some(Scalar::Text(text)) => push(text),
            Some(Scalar::Other(value)) => push(self.renderer.text(&value).as_bytes()),
            // Arrays, maps, doubles, bytes, and what the wire merges: seldom, and decoding knows all the rules.
            None => {
                let value = throughline_otlp::view::KeyValueView::parse(raw)?.decoded()?;
                push(self.renderer.text(&value).as_bytes());
            }
        }
        Ok(())
    }
}

/// An `AnyValue` of one field whose text is had without an allocation: nearly all of them.
enum Scalar<'a> {
    Text(&'a [u8]),
    /// A boolean or an integer.
    Other(Value),
}

impl<'a> Scalar<'a> {
    fn of(value: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::new(value);
        let only = fields.next()?.ok()?;
        if fields.next().is_some() {
            return None;
        }
        match only.number {
            1 => only.bytes().ok().map(Scalar::Text),
            2 => only.varint().ok().map(|value| Scalar::Other(Value::Bool(value != 0))),
            3 => only.varint().ok().map(|value| Scalar::Other(Value::Int(value.cast_signed()))),
            _ => None,
        }
    }
}
