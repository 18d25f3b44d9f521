//! What a failed call to rdkafka is called in `error.type`: the broker's or librdkafka's own code, never a Rust type name.

use super::raw;
use crate::name_errors;
use rdkafka::error::KafkaError;

/// Lets every span name a `KafkaError`, boxed or as a cause, by its code. Each client does so when it is created.
pub(super) fn register_names() {
    name_errors(|error| error.downcast_cause::<KafkaError>().map(|error| error_type(error).into()));
}

/// The value of `error.type` for an error of rdkafka: the code's name (`NOT_ENOUGH_REPLICAS` from a broker,
/// `_MSG_TIMED_OUT` with its underscore from librdkafka itself), or the kind of error where there is no code.
#[must_use]
pub fn error_type(error: &KafkaError) -> &'static str {
    let code = match error {
        // rdkafka leaves this one out of `rdkafka_error_code`.
        KafkaError::AdminOp(code) => Some(*code),
        KafkaError::PartitionEOF(_) => Some(rdkafka::error::RDKafkaErrorCode::PartitionEOF),
        other => other.rdkafka_error_code(),
    };
    code.and_then(raw::error_name).unwrap_or(match error {
        KafkaError::AdminOpCreation(_) => "AdminOpCreation",
        KafkaError::Canceled => "Canceled",
        KafkaError::ClientConfig(..) => "ClientConfig",
        KafkaError::ClientCreation(_) => "ClientCreation",
        KafkaError::NoMessageReceived => "NoMessageReceived",
        KafkaError::Nul(_) => "NulByteInTopic",
        KafkaError::PauseResume(_) => "PauseResume",
        KafkaError::Seek(_) => "Seek",
        KafkaError::Subscription(_) => "Subscription",
        // What the conventions prescribe for an error without a name.
        _ => "_OTHER",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::error::RDKafkaErrorCode as Code;

    #[test]
    fn names() {
        let cases = [
            (KafkaError::MessageProduction(Code::NotEnoughReplicas), "NOT_ENOUGH_REPLICAS"),
            (KafkaError::MessageProduction(Code::MessageTimedOut), "_MSG_TIMED_OUT"),
            (KafkaError::AdminOp(Code::TopicAlreadyExists), "TOPIC_ALREADY_EXISTS"),
            (KafkaError::PartitionEOF(3), "_PARTITION_EOF"),
            (KafkaError::Canceled, "Canceled"),
            (KafkaError::Seek("nowhere".into()), "Seek"),
        ];
        for (error, name) in cases {
            assert_eq!(error_type(&error), name, "{error}");
        }
    }
}
