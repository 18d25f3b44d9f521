//! Attributes of semantic conventions v1.44, spelled as in the registry.

/// Which messaging system: `kafka`, `rabbitmq`, …
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// What the client calls the operation: `send`, `poll`, `process`, `commit`.
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
/// Kind of operation: `create`, `send`, `receive`, `process`, `settle`.
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
/// The topic, queue or stream.
pub const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
/// The partition, as a **string**.
pub const MESSAGING_DESTINATION_PARTITION_ID: &str = "messaging.destination.partition.id";
/// How many messages a batch operation covered; only on batch operations, even when it is 1.
pub const MESSAGING_BATCH_MESSAGE_COUNT: &str = "messaging.batch.message_count";
/// The message's own id, where the system has one.
pub const MESSAGING_MESSAGE_ID: &str = "messaging.message.id";
/// The correlation id.
pub const MESSAGING_MESSAGE_CONVERSATION_ID: &str = "messaging.message.conversation_id";
/// Size of the body in bytes.
pub const MESSAGING_MESSAGE_BODY_SIZE: &str = "messaging.message.body.size";
/// The consumer group.
pub const MESSAGING_CONSUMER_GROUP_NAME: &str = "messaging.consumer.group.name";
/// The client's own id.
pub const MESSAGING_CLIENT_ID: &str = "messaging.client.id";
/// The record's offset, as an **int**.
pub const MESSAGING_KAFKA_OFFSET: &str = "messaging.kafka.offset";
/// The record's key; only if it has a canonical string form.
pub const MESSAGING_KAFKA_MESSAGE_KEY: &str = "messaging.kafka.message.key";
/// `true` on a tombstone (null payload), absent otherwise.
pub const MESSAGING_KAFKA_MESSAGE_TOMBSTONE: &str = "messaging.kafka.message.tombstone";
/// Id of the Kafka cluster.
pub const MESSAGING_KAFKA_CLUSTER_ID: &str = "messaging.kafka.cluster.id";
/// Class of the error; absent on success.
pub const ERROR_TYPE: &str = "error.type";
/// Host of the server.
pub const SERVER_ADDRESS: &str = "server.address";
/// Port of the server.
pub const SERVER_PORT: &str = "server.port";
/// The service.
pub const SERVICE_NAME: &str = "service.name";
/// HTTP method.
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
/// HTTP route template.
pub const HTTP_ROUTE: &str = "http.route";
/// HTTP status, an int.
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
/// Path of the URL.
pub const URL_PATH: &str = "url.path";
/// Scheme of the URL.
pub const URL_SCHEME: &str = "url.scheme";
/// Whole URL (client spans).
pub const URL_FULL: &str = "url.full";
/// Name of the exception event.
pub const EXCEPTION_EVENT: &str = "exception";
/// Class of the exception.
pub const EXCEPTION_TYPE: &str = "exception.type";
/// Message of the exception.
pub const EXCEPTION_MESSAGE: &str = "exception.message";
/// Stack trace of the exception.
pub const EXCEPTION_STACKTRACE: &str = "exception.stacktrace";
