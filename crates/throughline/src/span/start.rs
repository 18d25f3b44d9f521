//! From a [`SpanSpec`] to a running span: which context is the parent, what is linked and why, what rides along.

use super::attributes::int;
use super::spec::{ContextMode, OutgoingIds, SpanSpec};
use super::{ActiveSpan, Operation, OwnProfile, Span, name, tracer};
use crate::context::{Carried, Incoming, KeepsCreation, carried, copy_baggage};
use crate::correlation::{adopted, correlation_id, derived, tenant};
use crate::counters::{Event, count};
use crate::lineage::BatchSlot;
use crate::metrics::{Measure, Measured};
use crate::settings::{self, Metrics};
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{Link, SpanBuilder, SpanContext, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use std::sync::Arc;
use std::time::Instant;
use throughline_semconv::{attribute, own};

/// Why a link is there (`throughline.link.reason`).
mod reason {
    pub(super) const PARENT: &str = "parent";
    pub(super) const CREATION: &str = "creation";
    pub(super) const CONFLICT: &str = "conflict";
    pub(super) const AMBIENT: &str = "ambient";
}

pub(crate) fn link(span: SpanContext, reason: &'static str) -> Link {
    Link::new(span, vec![KeyValue::new(own::LINK_REASON, reason)], 0)
}

impl SpanSpec {
    /// Starts the span in the current context (or [`parent`](SpanSpec::parent)). The guard underneath everything else: prefer
    /// [`run`](SpanSpec::run), because with a guard every `?` leaves the span marked as cancelled.
    pub fn start(mut self) -> ActiveSpan {
        match self.parent.take() {
            Some(base) => self.start_in(&base),
            None => self.start_in(&Context::current()),
        }
    }

    pub(super) fn start_in(mut self, base: &Context) -> ActiveSpan {
        let started = (settings::metrics() == Metrics::On).then(Instant::now);
        let links_left_out = self
            .lineage
            .as_ref()
            .map_or(0, |lineage| lineage.links_total.saturating_sub(lineage.links.len()));
        let parent = self.parent_in(base);
        let measured = started.map(|started| self.measured(started));
        if tracer::is_dropped_for_certain(&parent) {
            return self.activate(tracer::pass_through(parent), measured);
        }
        let links = self.links_in(base);
        let known_id = correlation_id(&parent);
        let id_is_to_come = known_id.is_none() && !self.sets(own::CORRELATION_ID);
        let mut attributes = self.describe(known_id, tenant(&parent));
        let links = cap(links, links_left_out, &mut attributes);
        let builder = SpanBuilder {
            span_kind: Some(self.kind()),
            name: self.name.take().unwrap_or_else(|| {
                let named = |destination| name::of(self.operation, destination, self.profile);
                self.destination.as_ref().map_or_else(Default::default, named)
            }),
            attributes: Some(attributes),
            links: (!links.is_empty()).then_some(links),
            start_time: self.began.map(|(wall, _)| wall),
            ..SpanBuilder::default()
        };
        let active = self.activate(tracer::build(builder, parent), measured);
        if id_is_to_come {
            id_of_new_trace(active.span().context());
        }
        active
    }

    /// The parent's context, with everything the new span's context shall carry.
    ///
    /// Where the message is the parent, nothing of the ambient context reaches the handler: one message's baggage must not
    /// colour the next. A message that carries no trace begins one.
    fn parent_in(&mut self, base: &Context) -> Context {
        let parent = match (self.mode_in(base), &self.incoming) {
            (ContextMode::Inherit, Some(incoming)) => incoming.context.clone(),
            // Baggage, correlation id and tenant are the message's.
            (ContextMode::Ambient, Some(incoming)) => overlay(base, &incoming.context),
            (ContextMode::Link | ContextMode::None, Some(incoming)) => rootless(&incoming.context),
            (ContextMode::Inherit | ContextMode::Ambient, None) => match &self.lineage {
                Some(lineage) => overlay(base, &lineage.agreed),
                None => base.clone(),
            },
            (ContextMode::Link | ContextMode::None, None) => self.begin_anew(base),
        };
        self.carry(base, parent)
    }

    fn links_in(&mut self, base: &Context) -> Vec<Link> {
        let mut links = std::mem::take(&mut self.links);
        links.append(&mut self.links_of_batch());
        match (self.mode_in(base), &self.incoming) {
            (ContextMode::Inherit, Some(incoming)) => {
                link_message(incoming, reason::PARENT, &mut links);
                link_ambient(base, &mut links);
            }
            (ContextMode::Ambient | ContextMode::Link, Some(incoming)) => {
                link_message(incoming, reason::CREATION, &mut links);
            }
            (ContextMode::Link, None) => link_ambient(base, &mut links),
            (ContextMode::None, _) | (ContextMode::Inherit | ContextMode::Ambient, None) => {}
        }
        links
    }

    /// What all messages of the batch agree on stands on the span, and on its links only where the span says otherwise:
    /// because one message is its parent, or because the application has set it.
    fn links_of_batch(&mut self) -> Vec<Link> {
        let Some(lineage) = &mut self.lineage else { return Vec::new() };
        lineage.rename_positions(self.profile);
        let mut links = std::mem::take(&mut lineage.links);
        if let (Some(lineage), None) = (&self.lineage, &self.incoming) {
            let destination = self.destination.as_ref().map(AsRef::as_ref);
            for link in &mut links {
                lineage.leave_out_agreed(link, destination, |key| !self.sets(key));
            }
        }
        links
    }

    /// What a new trace starts from where there is not one message: all that the messages of a batch agree on, else what
    /// surrounds the work.
    fn begin_anew(&self, base: &Context) -> Context {
        self.lineage.as_ref().map_or_else(|| rootless(base), |lineage| lineage.agreed.clone())
    }

    /// What stays with the work whatever its parent is: the tracer, the ban on telemetry, ids the application has set.
    fn carry(&mut self, base: &Context, mut parent: Context) -> Context {
        parent = tracer::carry_over(base, parent);
        if base.is_telemetry_suppressed() {
            parent = parent.with_telemetry_suppressed();
        }
        let OutgoingIds { correlation, tenant } = std::mem::take(&mut self.ids);
        if correlation.is_some() || tenant.is_some() {
            let carried = Carried::of(&parent);
            let correlation = correlation.or_else(|| carried.correlation.clone());
            let tenant = tenant.or_else(|| carried.tenant.clone());
            parent = Carried { correlation, tenant, ..carried }.put_into(&parent);
        }
        parent
    }

    fn mode_in(&self, base: &Context) -> ContextMode {
        if let Some(mode) = self.mode {
            return mode;
        }
        match self.operation {
            Operation::Process if self.lineage.is_some() => ContextMode::None,
            // A forward belongs to the work that forwards. With no such work (a relay) it continues the message's trace.
            Operation::Forward if base.span().span_context().is_valid() => ContextMode::Ambient,
            _ => ContextMode::Inherit,
        }
    }

    /// What is put into the context once it holds the new span.
    fn activate(&mut self, mut context: Context, measured: Option<Measured>) -> ActiveSpan {
        let created = self.incoming.as_ref().is_some_and(|incoming| incoming.found().traceparent);
        let keeps = (self.operation == Operation::Forward && created)
            .then(|| context.span().span_context().span_id());
        if keeps.is_some() || context.get::<KeepsCreation>().is_some() {
            context = context.with_value(KeepsCreation(keeps));
        }
        if self.profile != settings::profile() {
            context = OwnProfile::of_span_in(context, self.profile);
        }
        let batch = self.lineage.take().map(|lineage| BatchSlot::new(*lineage));
        if let Some(batch) = &batch {
            context = context.with_value(batch.clone());
        }
        ActiveSpan::new(Span::new(context), batch, measured)
    }

    /// PRODUCER only if the span becomes the message's creation context.
    fn kind(&self) -> opentelemetry::trace::SpanKind {
        let keeps = self.incoming.as_ref().is_some_and(|incoming| incoming.found().traceparent);
        self.operation.kind(keeps)
    }

    fn measured(&self, started: Instant) -> Measured {
        let messages = self.messages.or(self.lineage.as_ref().map(|lineage| lineage.messages)).unwrap_or(1);
        Measured {
            started: self.began.map_or(started, |(_, instant)| instant),
            measure: if self.destination.is_some() { self.operation.measure() } else { Measure::Nothing },
            operation: self.operation_name.unwrap_or(self.operation.name()),
            system: self.system.clone().into(),
            destination: self.destination.clone(),
            group: self.group.clone(),
            server: self.server.clone(),
            messages: if self.counted { 0 } else { int(messages).unsigned_abs() },
        }
    }
}

/// `base` and its trace (raw tracestate and flags included), with the ids and the baggage of `above` before its own.
fn overlay(base: &Context, above: &Context) -> Context {
    let mut out = base.clone();
    if let Some(ids) = carried(above) {
        let below = Carried::of(base);
        let correlation = ids.correlation.clone().or_else(|| below.correlation.clone());
        let tenant = ids.tenant.clone().or_else(|| below.tenant.clone());
        out = Carried { correlation, tenant, ..below }.put_into(&out);
    }
    let baggage = above.baggage();
    if baggage.is_empty() {
        return out;
    }
    let mut members = copy_baggage(base.baggage(), |name| baggage.get(name).is_none());
    members.extend(copy_baggage(baggage, |_| true));
    out.with_baggage(members)
}

/// A context without its span. The id that its trace gives becomes an id of its own: the new trace would give another one.
fn rootless(context: &Context) -> Context {
    let span = context.span();
    let span = span.span_context();
    let rootless = context.with_remote_span_context(SpanContext::NONE);
    if span.is_valid() && adopted(context).is_none() {
        let correlation = Some(derived(span.trace_id()));
        return Carried { correlation, ..Carried::of(&rootless) }.put_into(&rootless);
    }
    rootless
}

fn link_message(incoming: &Incoming, reason: &'static str, links: &mut Vec<Link>) {
    // Exactly: the links wait in the exporter's queue, and nearly always there is one.
    links.reserve_exact(incoming.losers.len() + usize::from(incoming.found().traceparent));
    if incoming.found().traceparent {
        links.push(link(incoming.span_context(), reason));
    }
    links.extend(incoming.losers.iter().map(|loser| link(loser.clone(), reason::CONFLICT)));
}

fn link_ambient(base: &Context, links: &mut Vec<Link>) {
    let span = base.span();
    if span.span_context().is_valid() {
        links.push(link(span.span_context().clone(), reason::AMBIENT));
    }
}

/// The SDK keeps the *first* links and drops the rest without a word: keep the newest, and say how many there were.
fn cap(mut links: Vec<Link>, left_out: usize, attributes: &mut Vec<KeyValue>) -> Vec<Link> {
    let total = links.len() + left_out;
    let over = links.len().saturating_sub(settings::link_cap());
    links.drain(..over);
    if total > links.len() {
        count(Event::links_dropped, (total - links.len()) as u64);
        attributes.push(KeyValue::new(own::LINKS_TOTAL, int(total)));
    }
    links
}

pub(super) fn ids(attributes: &mut Vec<KeyValue>, correlation: Option<Arc<str>>, tenant: Option<Arc<str>>) {
    if let Some(id) = correlation {
        attributes.push(KeyValue::new(attribute::MESSAGING_MESSAGE_CONVERSATION_ID, Arc::clone(&id)));
        attributes.push(KeyValue::new(own::CORRELATION_ID, id));
    }
    if let Some(tenant) = tenant {
        attributes.push(KeyValue::new(own::TENANT_ID, tenant));
    }
}

/// A new trace gives its own correlation id, known only now.
fn id_of_new_trace(context: &Context) {
    let mut attributes = Vec::new();
    ids(&mut attributes, correlation_id(context), None);
    context.span().set_attributes(attributes);
}
