//! A [`SpanSpec`] to its attributes, in each of the three generations of names. The only place that knows the profiles
//! apart, besides [`super::name`].

use super::Operation;
use super::spec::{Payload, SpanSpec};
use super::start::ids;
use crate::settings::Profile;
use opentelemetry::{KeyValue, Value};
use std::sync::Arc;
use throughline_semconv::{attribute, legacy, own};

impl SpanSpec {
    /// Everything known at creation. What the application has set takes the place of ours.
    pub(super) fn describe(
        &mut self,
        correlation: Option<Arc<str>>,
        tenant: Option<Arc<str>>,
    ) -> Vec<KeyValue> {
        // The id of a new trace comes later.
        let id_count = 2 + usize::from(tenant.is_some());
        let mut out = Vec::with_capacity(self.attribute_count() + id_count);
        if let Some(destination) = &self.destination {
            out.push(KeyValue::new(attribute::MESSAGING_SYSTEM, self.system.clone()));
            self.describe_operation(&mut out);
            out.push(KeyValue::new(attribute::MESSAGING_DESTINATION_NAME, destination));
        }
        self.describe_client(&mut out);
        position(&mut out, self.profile, self.partition, self.offset);
        self.describe_message(&mut out);
        self.describe_headers(&mut out);
        self.describe_batch(&mut out);
        ids(&mut out, correlation, tenant);
        for attribute in std::mem::take(&mut self.attributes) {
            put(&mut out, attribute);
        }
        out
    }

    /// As many as there will be, the broker's answer included: the list waits in the exporter's queue, and from 1 KiB on an
    /// allocation is a slow one. What is rare is left to the list's own growth.
    fn attribute_count(&self) -> usize {
        let older_names = usize::from(self.profile == Profile::Dup);
        let messaging = if self.destination.is_some() { 4 + older_names } else { 0 };
        let batch = self.lineage.as_ref().map_or(0, |_| 6);
        let position = match self.operation {
            Operation::Send | Operation::Forward => true,
            _ => self.partition.is_some(),
        };
        let there = [
            (self.group.is_some(), 1 + older_names),
            (self.client_id.is_some(), 1),
            (self.server.is_some(), 2),
            (position, 2 + older_names),
            (self.key.is_some(), 1),
            (self.payload.is_some(), 1),
            (self.record_timestamp.is_some(), 1),
            (self.incoming.is_some(), 1),
        ];
        let known: usize = there.into_iter().map(|(there, count)| if there { count } else { 0 }).sum();
        messaging + batch + known + self.attributes.len()
    }

    /// Whether the application has set this attribute.
    pub(super) fn sets(&self, key: &str) -> bool {
        self.attributes.iter().any(|known| known.key.as_str() == key)
    }

    fn describe_operation(&self, out: &mut Vec<KeyValue>) {
        if self.profile != Profile::Legacy {
            let name = self.operation_name.unwrap_or(self.operation.name());
            out.push(KeyValue::new(attribute::MESSAGING_OPERATION_NAME, name));
            out.push(KeyValue::new(attribute::MESSAGING_OPERATION_TYPE, self.operation.type_name()));
        }
        if self.profile != Profile::V1_44 {
            out.push(KeyValue::new(legacy::MESSAGING_OPERATION, self.operation.legacy_name()));
        }
    }

    fn describe_client(&self, out: &mut Vec<KeyValue>) {
        if let Some(group) = &self.group {
            if self.profile != Profile::Legacy {
                out.push(KeyValue::new(attribute::MESSAGING_CONSUMER_GROUP_NAME, group));
            }
            if self.profile != Profile::V1_44 {
                out.push(KeyValue::new(legacy::MESSAGING_KAFKA_CONSUMER_GROUP, group));
            }
        }
        if let Some(id) = &self.client_id {
            out.push(KeyValue::new(attribute::MESSAGING_CLIENT_ID, id));
        }
        if let Some(server) = &self.server {
            out.push(KeyValue::new(attribute::SERVER_ADDRESS, &server.address));
            out.push(KeyValue::new(attribute::SERVER_PORT, i64::from(server.port)));
        }
    }

    fn describe_message(&mut self, out: &mut Vec<KeyValue>) {
        if let Some(key) = self.key.take() {
            out.push(KeyValue::new(attribute::MESSAGING_KAFKA_MESSAGE_KEY, key));
        }
        match self.payload {
            Some(Payload::Tombstone) => {
                out.push(KeyValue::new(attribute::MESSAGING_KAFKA_MESSAGE_TOMBSTONE, true));
            }
            Some(Payload::Bytes(size)) => {
                out.push(KeyValue::new(attribute::MESSAGING_MESSAGE_BODY_SIZE, int(size)));
            }
            None => {}
        }
        if let Some(millis) = self.record_timestamp {
            out.push(KeyValue::new(own::RECORD_TIMESTAMP, millis));
        }
    }

    fn describe_headers(&self, out: &mut Vec<KeyValue>) {
        let lineage_conflict = self.lineage.as_ref().is_some_and(|lineage| lineage.conflict);
        if let Some(incoming) = &self.incoming {
            out.push(KeyValue::new(own::HEADERS_FOUND, found(incoming.found())));
            if incoming.tenant_conflict {
                out.push(KeyValue::new(own::TENANT_CONFLICT, true));
            }
        }
        if lineage_conflict || self.incoming.as_ref().is_some_and(|incoming| !incoming.losers.is_empty()) {
            out.push(KeyValue::new(own::HEADERS_CONFLICT, true));
        }
    }

    fn describe_batch(&self, out: &mut Vec<KeyValue>) {
        let messages = self.messages.or(self.lineage.as_ref().map(|lineage| lineage.messages));
        if let Some(messages) = messages {
            out.push(KeyValue::new(attribute::MESSAGING_BATCH_MESSAGE_COUNT, int(messages)));
        }
        let Some(lineage) = &self.lineage else { return };
        if self.operation != Operation::Process {
            return;
        }
        out.push(KeyValue::new(own::LINKED_TRACE_ID_COUNT, int(lineage.linked_trace_id_count)));
        if let Some(hash) = &lineage.linked_trace_id_hash {
            out.push(KeyValue::new(own::LINKED_TRACE_ID_HASH, hash.clone()));
        }
        if let Some(oldest) = lineage.oldest_origin {
            out.push(KeyValue::new(own::BATCH_OLDEST_ORIGIN, oldest));
        }
        if let Some(newest) = lineage.newest_origin {
            out.push(KeyValue::new(own::BATCH_NEWEST_ORIGIN, newest));
        }
    }
}

/// Partition and offset: a string and an int today, an int and a string in the profile `legacy`.
pub(crate) fn position(
    out: &mut Vec<KeyValue>,
    profile: Profile,
    partition: Option<i32>,
    offset: Option<i64>,
) {
    if let Some(partition) = partition {
        if profile != Profile::Legacy {
            out.push(KeyValue::new(attribute::MESSAGING_DESTINATION_PARTITION_ID, partition_id(partition)));
        }
        if profile != Profile::V1_44 {
            out.push(KeyValue::new(legacy::MESSAGING_KAFKA_PARTITION, i64::from(partition)));
        }
    }
    if let Some(offset) = offset {
        let value = if profile == Profile::Legacy { offset.to_string().into() } else { Value::I64(offset) };
        out.push(KeyValue::new(attribute::MESSAGING_KAFKA_OFFSET, value));
    }
}

/// A position that stands there in the names of one profile, in the names of another.
pub(crate) fn rename_position(attributes: &mut Vec<KeyValue>, profile: Profile) {
    let (mut partition, mut offset) = (None, None);
    attributes.retain(|kv| {
        match kv.key.as_str() {
            attribute::MESSAGING_DESTINATION_PARTITION_ID | legacy::MESSAGING_KAFKA_PARTITION => {
                partition = kv.value.as_str().parse().ok();
            }
            attribute::MESSAGING_KAFKA_OFFSET => offset = kv.value.as_str().parse().ok(),
            _ => return true,
        }
        false
    });
    position(attributes, profile, partition, offset);
}

/// The SDK exports a key twice that is set twice: the application's value takes the place of ours.
fn put(out: &mut Vec<KeyValue>, attribute: KeyValue) {
    match out.iter_mut().find(|known| known.key == attribute.key) {
        Some(known) => *known = attribute,
        None => out.push(attribute),
    }
}

pub(crate) fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The partition as text; the usual ones without an allocation.
fn partition_id(partition: i32) -> Value {
    const SMALL: [&str; 16] =
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"];
    match usize::try_from(partition).ok().and_then(|index| SMALL.get(index)) {
        Some(text) => Value::from(*text),
        None => Value::from(partition.to_string()),
    }
}

/// The usual combinations without an allocation.
fn found(found: crate::context::Found) -> Value {
    match found.index() {
        0b00000 => Value::from("none"),
        0b00001 => Value::from("traceparent"),
        0b01001 => Value::from("traceparent,x-correlation-id"),
        0b01101 => Value::from("traceparent,baggage,x-correlation-id"),
        0b11001 => Value::from("traceparent,x-correlation-id,x-tenant-id"),
        0b11101 => Value::from("traceparent,baggage,x-correlation-id,x-tenant-id"),
        _ => Value::from(found.to_string()),
    }
}
