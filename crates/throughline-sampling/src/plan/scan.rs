//! One request, walked once: what each of its traces tells the policies. The hot path: it looks only at fields that the plan
//! asks for, allocates per request and not per span. The request is checked on the way, or has been before.

use throughline_otlp::view::messages;
use throughline_otlp::wire::{Field, Fields};
use throughline_otlp::{Counts, SpanId, TraceId, UnixNanos, Visit, WireError, check_spans};

use super::index::Index;
use super::layout::{Layout, Placing};
use crate::condition::{FollowLinks, Probes};
use crate::facts::{Met, NO_START, Root, TraceFacts};
use crate::span::{Around, Found, Head, Keys, Subject, Wants};

/// What one reading of a request found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Of each trace, in order of first appearance.
    pub facts: Vec<TraceFacts>,
    /// Where it stands.
    pub layout: Layout,
}

/// The state of one walk.
struct Scan<'p, 'a> {
    probes: &'p Probes,
    index: Index,
    placing: Placing<'a>,
    facts: Vec<TraceFacts>,
    around: Around<'a>,
    /// What the resource itself meets.
    group: Met,
    head: Head<'a>,
    attributes: Found<'a>,
    links: Vec<&'a [u8]>,
}

/// Where what is asked for of one span goes.
struct Asked<'s, 'a> {
    keys: &'s Keys,
    follow: FollowLinks,
    attributes: &'s mut Found<'a>,
    links: &'s mut Vec<&'a [u8]>,
}

/// Bytes of a usual span, to guess how many a request holds.
const USUAL_SPAN: usize = 256;

/// What the policies ask of `request`.
pub(super) fn scan(probes: &Probes, request: &[u8]) -> Result<Survey, WireError> {
    let mut scan = Scan::new(probes, request);
    for resource in messages(request, 1) {
        let resource = resource?;
        scan.enter_resource(resource)?;
        for scope in messages(resource, 2) {
            let scope = scope?;
            scan.enter_scope(scope)?;
            for field in Fields::new(scope) {
                let field = field?;
                if field.number != 2 {
                    continue;
                }
                scan.begin();
                scan.placing.span(field.raw);
                let (head, mut asked) = scan.reading();
                *head = Head::read(field.bytes()?, &mut asked)?;
                let head = scan.head;
                if let (Some(trace), Some(_)) =
                    (TraceId::from_slice(head.trace_id), SpanId::from_slice(head.span_id))
                {
                    scan.finish(trace)?;
                }
            }
        }
    }
    Ok(scan.survey())
}

/// As [`scan`], of a request that is checked on the way.
pub(super) fn check(probes: &Probes, request: &[u8]) -> Result<(Counts, Survey), WireError> {
    let mut scan = Scan::new(probes, request);
    let counts = check_spans(request, &mut scan)?;
    Ok((counts, scan.survey()))
}

impl<'a> Visit<'a> for Scan<'_, 'a> {
    fn resource(&mut self, group: &'a [u8]) -> Result<(), WireError> {
        self.enter_resource(group)
    }

    fn scope(&mut self, group: &'a [u8]) -> Result<(), WireError> {
        self.enter_scope(group)
    }

    #[inline]
    fn span(&mut self, raw: &'a [u8], field: &'a [u8]) {
        self.begin();
        self.placing.span(field);
        self.head = Head { raw, ..Head::default() };
    }

    #[inline]
    fn short(&mut self, tag: u8, payload: &'a [u8]) -> Result<(), WireError> {
        let (head, mut asked) = self.reading();
        if !head.take_short(tag, payload, &mut asked)? {
            head.take_dropped(tag, payload);
        }
        Ok(())
    }

    fn field(&mut self, field: &Field<'a>) -> Result<(), WireError> {
        let (head, mut asked) = self.reading();
        head.take(field, &mut asked)
    }

    #[inline]
    fn end(&mut self, ids: Option<(TraceId, SpanId)>) -> Result<(), WireError> {
        ids.map_or(Ok(()), |(trace, _)| self.finish(trace))
    }
}

impl<'p, 'a> Scan<'p, 'a> {
    fn new(probes: &'p Probes, request: &'a [u8]) -> Self {
        let spans = request.len() / USUAL_SPAN + 1;
        Self {
            probes,
            index: Index::with_room_for(spans),
            facts: Vec::with_capacity(spans.min(1024)),
            placing: Placing::new(request, spans.min(1024)),
            around: Around::default(),
            group: Met::default(),
            head: Head::default(),
            attributes: Vec::new(),
            links: Vec::new(),
        }
    }

    fn survey(self) -> Survey {
        Survey { facts: self.facts, layout: self.placing.finish() }
    }

    fn enter_resource(&mut self, group: &'a [u8]) -> Result<(), WireError> {
        let keys = &self.probes.keys.resource;
        if keys.is_empty() {
            return Ok(());
        }
        keys.reset(&mut self.around.resource);
        for resource in messages(group, 1) {
            for pair in messages(resource?, 1) {
                keys.take(pair?, &mut self.around.resource)?;
            }
        }
        self.group = self.probes.resource(&self.around.resource)?;
        Ok(())
    }

    fn enter_scope(&mut self, group: &'a [u8]) -> Result<(), WireError> {
        if !self.probes.asks_for_scope() {
            return Ok(());
        }
        let keys = &self.probes.keys.scope;
        keys.reset(&mut self.around.scope);
        (self.around.scope_name, self.around.scope_version) = (&[], &[]);
        for scope in messages(group, 1) {
            for field in Fields::new(scope?) {
                let field = field?;
                match field.number {
                    1 => self.around.scope_name = field.bytes()?,
                    2 => self.around.scope_version = field.bytes()?,
                    3 => keys.take(field.bytes()?, &mut self.around.scope)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Nothing is known of the next span yet.
    #[inline]
    fn begin(&mut self) {
        self.probes.keys.span.reset(&mut self.attributes);
        self.links.clear();
    }

    /// Where what is read of a span goes.
    #[inline]
    fn reading(&mut self) -> (&mut Head<'a>, Asked<'_, 'a>) {
        let Self { probes, head, attributes, links, .. } = self;
        (head, Asked { keys: &probes.keys.span, follow: probes.links, attributes, links })
    }

    /// The span has been read, and belongs to `trace`.
    #[inline]
    fn finish(&mut self, trace: TraceId) -> Result<(), WireError> {
        let subject = Subject { head: &self.head, attributes: &self.attributes, around: &self.around };
        let mut met = self.probes.span(&subject)?;
        met.add(self.group);
        let at = self.index.place(trace, &self.facts);
        if at == self.facts.len() {
            self.facts.push(nothing_of(trace));
        }
        self.placing.belongs(at);
        if let Some(facts) = self.facts.get_mut(at) {
            add(facts, &self.head, met);
            for link in &self.links {
                facts.link_raw(link)?;
            }
        }
        Ok(())
    }
}

impl<'a> Wants<'a> for Asked<'_, 'a> {
    #[inline]
    fn attribute(&mut self, pair: &'a [u8]) -> Result<(), WireError> {
        if self.keys.is_empty() { Ok(()) } else { self.keys.take(pair, self.attributes) }
    }

    #[inline]
    fn link(&mut self, link: &'a [u8]) {
        if self.follow == FollowLinks::Yes {
            self.links.push(link);
        }
    }
}

impl TraceFacts {
    /// Remembers a raw link, if its ids are valid.
    fn link_raw(&mut self, link: &[u8]) -> Result<(), WireError> {
        let (mut trace, mut span) = (None, None);
        for field in Fields::new(link) {
            let field = field?;
            match field.number {
                1 => trace = TraceId::from_slice(field.bytes()?),
                2 => span = SpanId::from_slice(field.bytes()?),
                _ => {}
            }
        }
        if let (Some(trace), Some(_)) = (trace, span) {
            self.link(trace);
        }
        Ok(())
    }
}

fn nothing_of(trace: TraceId) -> TraceFacts {
    TraceFacts {
        trace,
        met: Met::default(),
        start: NO_START,
        end: UnixNanos(0),
        spans: 0,
        bytes: 0,
        root: Root::Unseen,
        links: Vec::new(),
        links_left_out: 0,
    }
}

#[inline]
fn add(facts: &mut TraceFacts, head: &Head<'_>, met: Met) {
    facts.met.add(met);
    // 0 is "not said" on the wire: taken as a time, it would make the trace last for decades.
    if head.start != 0 {
        facts.start = facts.start.min(UnixNanos(head.start));
    }
    facts.end = facts.end.max(UnixNanos(head.end));
    facts.spans = facts.spans.saturating_add(1);
    facts.bytes = facts.bytes.saturating_add(head.raw.len() as u64);
    if head.is_root() {
        facts.root = Root::Seen;
    }
}
