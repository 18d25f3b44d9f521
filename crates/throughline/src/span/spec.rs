//! [`SpanSpec`]: everything known about a span before it starts, so that a sampler sees it. Builders only; what becomes of
//! it is in [`super::start`] and [`super::attributes`].

use super::Operation;
use crate::context::Incoming;
use crate::correlation::CarriedId;
use crate::headers::{HeaderSource, Spelling};
use crate::lineage::Lineage;
use crate::settings::{self, MessageKeys, Profile};
use crate::text::Text;
use opentelemetry::trace::{Link, SpanContext};
use opentelemetry::{Context, Key, KeyValue, Value};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// How a span relates to the message it handles and to the span around it (the *ambient* one).
///
/// The mode decides whose trace goes on and what is linked. It does not decide what travels along:
///
/// | of what is at hand | baggage, correlation id and tenant come from |
/// |---|---|
/// | one message | the message alone; with [`Ambient`](Self::Ambient) the ambient context fills what it lacks |
/// | a batch | what all its messages agree on; with [`Inherit`](Self::Inherit) and [`Ambient`](Self::Ambient) the ambient context fills the rest |
/// | neither (a plain send) | the ambient context, in every mode |
///
/// A trace that begins anew keeps the correlation id of the one it came from, even if nobody set it and the old trace id gave
/// it: a search by that id finds both. To leave everything behind, start from nothing:
/// [`parent(Context::new())`](SpanSpec::parent).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextMode {
    /// The message is the parent, and linked as well; a valid ambient span is linked. The default for one message: under a
    /// consumer loop that has a span of its own, each message still stays in its producer's trace.
    Inherit,
    /// The ambient span is the parent; the message is linked.
    Ambient,
    /// A new trace; the message is linked, or without a message the ambient span.
    Link,
    /// A new trace, and no link made for you. The default for processing a batch, which brings its own links.
    None,
}

/// Whether the message's payload is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A payload of so many bytes.
    Bytes(usize),
    /// A null payload: a tombstone.
    Tombstone,
}

/// A span to be. Made by [`send`](crate::send), [`process`](crate::process) and their like; consumed by
/// [`run`](SpanSpec::run), [`instrument`](SpanSpec::instrument), [`run_sync`](SpanSpec::run_sync) or
/// [`start`](SpanSpec::start).
#[must_use = "a span starts with `run`, `instrument`, `run_sync` or `start`"]
pub struct SpanSpec {
    pub(super) operation: Operation,
    pub(super) destination: Option<Text>,
    pub(super) name: Option<Cow<'static, str>>,
    pub(super) operation_name: Option<&'static str>,
    pub(super) system: Cow<'static, str>,
    pub(super) profile: Profile,
    pub(super) mode: Option<ContextMode>,
    pub(super) parent: Option<Context>,
    pub(super) incoming: Option<Incoming>,
    pub(super) lineage: Option<Box<Lineage>>,
    pub(super) links: Vec<Link>,
    pub(super) ids: OutgoingIds,
    pub(super) group: Option<Text>,
    pub(super) client_id: Option<Text>,
    pub(super) server: Option<Server>,
    pub(super) partition: Option<i32>,
    pub(super) offset: Option<i64>,
    pub(super) key: Option<String>,
    pub(super) record_timestamp: Option<i64>,
    pub(super) payload: Option<Payload>,
    pub(super) messages: Option<usize>,
    pub(super) counted: bool,
    pub(super) began: Option<(SystemTime, Instant)>,
    pub(super) attributes: Vec<KeyValue>,
}

/// Whom the client talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) address: Text,
    pub(crate) port: u16,
}

/// The ids that the application has put into the headers of a message it is about to send.
#[derive(Default)]
pub(super) struct OutgoingIds {
    pub(super) correlation: Option<Arc<str>>,
    pub(super) tenant: Option<Arc<str>>,
}

impl SpanSpec {
    pub(crate) fn new(operation: Operation, destination: Option<Text>) -> Self {
        Self {
            operation,
            destination,
            name: None,
            operation_name: None,
            system: Cow::Borrowed("kafka"),
            profile: settings::profile(),
            mode: None,
            parent: None,
            incoming: None,
            lineage: None,
            links: Vec::new(),
            ids: OutgoingIds::default(),
            group: None,
            client_id: None,
            server: None,
            partition: None,
            offset: None,
            key: None,
            record_timestamp: None,
            payload: None,
            messages: None,
            counted: false,
            began: None,
            attributes: Vec::new(),
        }
    }

    /// The messaging system; `kafka` unless said otherwise.
    pub fn system(mut self, system: impl Into<Cow<'static, str>>) -> Self {
        self.system = system.into();
        self
    }

    /// Another span name than the conventions'. The destination attribute stays where the messages came from.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Another `messaging.operation.name`, for clients that call it differently (`ack`, `nack`, `fetch`).
    pub fn operation_name(mut self, name: &'static str) -> Self {
        self.operation_name = Some(name);
        self
    }

    /// The consumer group.
    pub fn group(mut self, group: impl AsRef<str>) -> Self {
        self.group = Some(Text::of(group.as_ref()));
        self
    }

    /// The client's id.
    pub fn client_id(mut self, id: impl AsRef<str>) -> Self {
        self.client_id = Some(Text::of(id.as_ref()));
        self
    }

    /// The server's address and port, where there is only one it can be. They are labels of the metrics as well.
    pub fn server(mut self, address: impl AsRef<str>, port: u16) -> Self {
        self.server = Some(Server { address: Text::of(address.as_ref()), port });
        self
    }

    /// The partition.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The offset.
    pub fn offset(mut self, offset: i64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// The message's key. Left out if it is not UTF-8; hashed or left out if [`settings::set_message_keys`] says so.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = shown_key(key.as_ref());
        self
    }

    /// When the broker or the producer stamped the record, in Unix milliseconds: with it the wait in the queue can be told.
    pub fn record_timestamp(mut self, unix_millis: i64) -> Self {
        self.record_timestamp = Some(unix_millis);
        self
    }

    /// The payload's size, or that there is none. The payload itself is never read.
    pub fn payload(mut self, payload: Payload) -> Self {
        self.payload = Some(payload);
        self
    }

    /// How many messages a batch operation covers. Only for batch operations, and for those even when it is 1.
    pub fn message_count(mut self, messages: usize) -> Self {
        self.messages = Some(messages);
        self
    }

    /// The message's headers: see [`extract`](crate::extract).
    pub fn headers<H: HeaderSource + ?Sized>(self, headers: &H) -> Self {
        self.incoming(crate::extract(headers))
    }

    /// What the message carried, where it has been extracted before.
    pub fn incoming(mut self, incoming: Incoming) -> Self {
        self.incoming = Some(incoming);
        self
    }

    /// The headers of the message to be sent: a correlation id or tenant that the application has put there is also the
    /// span's.
    pub fn outgoing<H: HeaderSource + ?Sized>(mut self, headers: &H) -> Self {
        use throughline_semconv::header::{X_CORRELATION_ID, X_TENANT_ID};
        let (mut correlation, mut tenant) = (CarriedId::default(), CarriedId::default());
        headers.visit(&mut |name, value| {
            let (id, own) = match name.len() {
                16 => (&mut correlation, X_CORRELATION_ID),
                11 => (&mut tenant, X_TENANT_ID),
                _ => return,
            };
            if let (Some(spelling), Some(value)) = (Spelling::of(name, own), value) {
                id.offer(spelling, value);
            }
        });
        self.ids.correlation = correlation.take().or(self.ids.correlation);
        self.ids.tenant = tenant.take().or(self.ids.tenant);
        self
    }

    /// How the span relates to message and ambient span.
    pub fn mode(mut self, mode: ContextMode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// The context to start in, instead of the caller's current one.
    pub fn parent(mut self, context: Context) -> Self {
        self.parent = Some(context);
        self
    }

    /// Links to other traces, present when the sampler is asked.
    pub fn links(mut self, links: impl IntoIterator<Item = Link>) -> Self {
        self.links.extend(links);
        self
    }

    /// The lineage of a batch: its links, count, hash, oldest and newest origin, and what all its messages agree on. A
    /// processing span with a lineage begins a trace of its own.
    pub fn lineage(mut self, lineage: Lineage) -> Self {
        self.lineage = Some(Box::new(lineage));
        self
    }

    /// One attribute more, present when the sampler is asked. Replaces one of the same name.
    pub fn set(mut self, key: impl Into<Key>, value: impl Into<Value>) -> Self {
        let attribute = KeyValue::new(key, value);
        match self.attributes.iter_mut().find(|known| known.key == attribute.key) {
            Some(known) => *known = attribute,
            None => self.attributes.push(attribute),
        }
        self
    }

    /// The names this one span is written with.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// The delivery of these messages has been counted already, by [`metrics::count_delivered`](crate::metrics): a
    /// delivery counts once.
    pub fn already_counted(mut self) -> Self {
        self.counted = true;
        self
    }

    /// When it began, on both clocks, for an operation that is known only when it is over: a poll has links to what it
    /// brought, and a sampler sees links only at creation.
    pub fn began(mut self, moment: (SystemTime, Instant)) -> Self {
        self.began = Some(moment);
        self
    }

    /// All that is the same with every message of one client.
    #[cfg(feature = "kafka")]
    pub(crate) fn of_client(
        mut self,
        id: Option<&Text>,
        group: Option<&Text>,
        server: Option<&Server>,
    ) -> Self {
        self.client_id = id.cloned();
        self.group = group.cloned();
        self.server = server.cloned();
        self
    }

    /// A link to one span context, with a reason.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "only the HTTP layers link by hand"))]
    pub(crate) fn link_to(mut self, span: SpanContext, reason: &'static str) -> Self {
        self.links.push(super::start::link(span, reason));
        self
    }
}

/// A key as spans show it.
pub(crate) fn shown_key(key: &[u8]) -> Option<String> {
    match settings::message_keys() {
        MessageKeys::Shown => std::str::from_utf8(key).ok().map(str::to_owned),
        MessageKeys::Hashed => Some(crate::lineage::short_hash(key)),
        MessageKeys::Hidden => None,
    }
}
