//! Older generations: what the profile `legacy` writes, and what older instrumentation wrote and the store still meets.

/// `publish` or `process`.
pub const MESSAGING_OPERATION: &str = "messaging.operation";
/// The consumer group.
pub const MESSAGING_KAFKA_CONSUMER_GROUP: &str = "messaging.kafka.consumer.group";
/// The partition, as an **int**.
pub const MESSAGING_KAFKA_PARTITION: &str = "messaging.kafka.partition";
/// The offset; a **string** in the profile `legacy`. Same key as today's int.
pub const MESSAGING_KAFKA_OFFSET: &str = "messaging.kafka.offset";

/// Older name to today's. Sorted by the older name.
pub const RENAMED: &[(&str, &str)] = &[
    ("http.method", "http.request.method"),
    ("http.scheme", "url.scheme"),
    ("http.status_code", "http.response.status_code"),
    ("http.target", "url.path"),
    ("http.url", "url.full"),
    ("messaging.client_id", "messaging.client.id"),
    ("messaging.consumer.id", "messaging.client.id"),
    ("messaging.conversation_id", "messaging.message.conversation_id"),
    ("messaging.destination", "messaging.destination.name"),
    ("messaging.kafka.client_id", "messaging.client.id"),
    ("messaging.kafka.consumer.group", "messaging.consumer.group.name"),
    ("messaging.kafka.consumer_group", "messaging.consumer.group.name"),
    ("messaging.kafka.destination.partition", "messaging.destination.partition.id"),
    ("messaging.kafka.message.offset", "messaging.kafka.offset"),
    ("messaging.kafka.message_key", "messaging.kafka.message.key"),
    ("messaging.kafka.partition", "messaging.destination.partition.id"),
    ("messaging.kafka.source.partition", "messaging.destination.partition.id"),
    ("messaging.kafka.tombstone", "messaging.kafka.message.tombstone"),
    ("messaging.message_id", "messaging.message.id"),
    ("messaging.message_payload_size_bytes", "messaging.message.body.size"),
    ("messaging.operation", "messaging.operation.type"),
    ("messaging.source.name", "messaging.destination.name"),
    ("net.peer.name", "server.address"),
    ("net.peer.port", "server.port"),
];
