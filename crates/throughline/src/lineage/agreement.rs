//! Fan-in: a batch carries a correlation id, a tenant or a baggage value only if all its messages agree on it. Each stands on
//! its message's link; what all agree on goes from there to the span, if the span is told.

use super::Contribution;
use crate::context::baggage::RawBaggage;
use crate::context::{Carried, Incoming, carried};
use crate::settings;
use opentelemetry::baggage::{Baggage, BaggageExt, BaggageMetadata, KeyValueMetadata};
use opentelemetry::{Context, KeyValue, StringValue};
use std::sync::Arc;
use throughline_semconv::own;

/// What all messages of a batch have in common.
pub(super) struct Agreement {
    correlation: Option<Arc<str>>,
    tenant: Option<Arc<str>>,
    /// Holds the baggage members that all share.
    baggage: Context,
    /// The bytes they came as, if they are equal in all messages.
    raw: Option<RawBaggage>,
}

impl Agreement {
    pub(super) fn of(messages: &[Contribution]) -> Self {
        let raw = equal_baggage(messages);
        Self {
            correlation: common(messages, Incoming::correlation_id),
            tenant: common(messages, Incoming::tenant),
            baggage: raw.as_ref().map_or_else(|| common_baggage(messages), |raw| raw.context.clone()),
            raw,
        }
    }

    /// The context a batch starts from.
    pub(super) fn into_context(self) -> Context {
        let Self { correlation, tenant, baggage, raw } = self;
        if correlation.is_none() && tenant.is_none() && raw.is_none() {
            return baggage;
        }
        Carried { correlation, tenant, baggage: raw, ..Carried::NOTHING }.put_into(&baggage)
    }
}

/// Baggage on a link has this before its name.
const BAGGAGE: &str = "baggage.";

/// The ids of one message, and of its baggage what may be shown.
pub(super) fn describe(message: &Incoming, attributes: &mut Vec<KeyValue>) {
    if let Some(id) = message.correlation_id() {
        attributes.push(KeyValue::new(own::CORRELATION_ID, id));
    }
    if let Some(tenant) = message.tenant() {
        attributes.push(KeyValue::new(own::TENANT_ID, tenant));
    }
    for (name, (value, _)) in message.context.baggage() {
        // The tenant stands there already; what is not on the allow-list is not ours to show.
        if name.as_str() != own::TENANT_ID && settings::is_baggage_allowed(name.as_str()) {
            attributes.push(KeyValue::new(format!("{BAGGAGE}{name}"), value.clone()));
        }
    }
}

/// Whether this attribute of a link is one that all messages share.
pub(super) fn is_agreed(agreed: &Context, attribute: &KeyValue) -> bool {
    let value = attribute.value.as_str();
    let ids = carried(agreed);
    match attribute.key.as_str() {
        own::CORRELATION_ID => ids.and_then(|ids| ids.correlation.as_deref()) == Some(&*value),
        own::TENANT_ID => ids.and_then(|ids| ids.tenant.as_deref()) == Some(&*value),
        other => other
            .strip_prefix(BAGGAGE)
            .and_then(|name| agreed.baggage().get(name))
            .is_some_and(|shared| shared.as_str() == value),
    }
}

fn common(messages: &[Contribution], of: fn(&Incoming) -> Option<Arc<str>>) -> Option<Arc<str>> {
    let (first, rest) = messages.split_first()?;
    let first = of(&first.incoming)?;
    rest.iter().all(|message| of(&message.incoming).is_some_and(|other| other == first)).then_some(first)
}

/// Equal bytes were parsed once (by the same thread): the usual case needs no comparison of values.
fn equal_baggage(messages: &[Contribution]) -> Option<RawBaggage> {
    let (first, rest) = messages.split_first()?;
    let raw = carried(&first.incoming.context)?.baggage.as_ref()?;
    rest.iter().all(|message| raw.is_still_in(&message.incoming.context)).then(|| raw.clone())
}

fn common_baggage(messages: &[Contribution]) -> Context {
    let Some((first, rest)) = messages.split_first() else { return Context::new() };
    let shared = |name: &str, value: &(StringValue, BaggageMetadata)| {
        rest.iter().all(|message| message.incoming.context.baggage().get(name) == Some(&value.0))
    };
    let members = first.incoming.context.baggage().iter();
    let members = members.filter(|(name, value)| shared(name.as_str(), value));
    let baggage: Baggage = members
        .map(|(name, (value, properties))| {
            KeyValueMetadata::new(name.clone(), value.clone(), properties.as_str())
        })
        .collect();
    if baggage.is_empty() { Context::new() } else { Context::new().with_baggage(baggage) }
}
