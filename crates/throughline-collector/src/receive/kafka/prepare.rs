//! What has to be known of the topics before anything is read: how many partitions there are, and that the topic of decisions
//! has as many; it is made if it is not there.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use tokio::runtime::Handle;

use crate::configuration::KafkaReceiver;
use crate::export::SettingError;
use crate::export::kafka::client::{self, Events};

/// How long the decisions are kept beyond the look-back.
const MARGIN: Duration = Duration::from_secs(3600);

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReady {
    /// It may be later.
    #[error("{0}")]
    Yet(String),
    /// Somebody has to change something.
    #[error(transparent)]
    Ever(#[from] SettingError),
}

/// The topic of traces.
pub(crate) fn input_topic(receiver: &KafkaReceiver) -> &str {
    receiver.traces.names.first().map_or("", String::as_str)
}

/// The topic of decisions, by its name.
pub(crate) fn decisions_topic(receiver: &KafkaReceiver) -> String {
    let named = || receiver.traces.names.first().map(|topic| format!("{topic}_decisions"));
    receiver.decisions.clone().or_else(named).unwrap_or_default()
}

/// How many partitions the topic of traces and that of decisions have. Blocks, for about `limit`; `runtime` drives what waits.
pub(crate) fn prepare(
    receiver: &KafkaReceiver,
    look_back: Duration,
    limit: Duration,
    runtime: &Handle,
) -> Result<u32, NotReady> {
    let admin: AdminClient<Events> = client::config(&receiver.client)?
        .create_with_context(Events::of("admin"))
        .map_err(|error| SettingError::new("brokers", error.to_string()))?;
    let (input, decisions) = (input_topic(receiver), decisions_topic(receiver));
    let count = |topic: &str| partitions(admin.inner().fetch_metadata(Some(topic), limit), topic);
    let partitions =
        count(input)?.ok_or_else(|| NotReady::Yet(format!("there is no topic {input}; create it")))?;
    let found = match count(&decisions)? {
        Some(found) => found,
        None => {
            create(&admin, &decisions, partitions, look_back, limit, runtime)?;
            count(&decisions)?.ok_or_else(|| NotReady::Yet(format!("topic {decisions} is being created")))?
        }
    };
    if found == partitions {
        return Ok(partitions);
    }
    Err(NotReady::Ever(SettingError::new(
        "decisions_topic",
        format!(
            "{decisions} has {found} partitions and {input} has {partitions}; they must have as many: delete {decisions}, so \
             that it is created anew, or name another"
        ),
    )))
}

/// How many partitions a topic has, by what the brokers said of it; `None` if there is none of that name.
pub(crate) fn partitions(metadata: KafkaResult<Metadata>, topic: &str) -> Result<Option<u32>, NotReady> {
    let metadata = metadata.map_err(|error| NotReady::Yet(format!("the brokers do not answer: {error}")))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let count = found.filter(|found| found.error().is_none()).map_or(0, |found| found.partitions().len());
    Ok(u32::try_from(count).ok().filter(|count| *count > 0))
}

fn create(
    admin: &AdminClient<Events>,
    topic: &str,
    partitions: u32,
    look_back: Duration,
    limit: Duration,
    runtime: &Handle,
) -> Result<(), NotReady> {
    let kept = (look_back.saturating_add(MARGIN)).as_millis().to_string();
    // As many replicas as the cluster gives by default.
    let count = i32::try_from(partitions).unwrap_or(i32::MAX);
    let new = NewTopic::new(topic, count, TopicReplication::Fixed(-1))
        .set("cleanup.policy", "compact,delete")
        .set("retention.ms", &kept);
    let options = AdminOptions::new().request_timeout(Some(limit)).operation_timeout(Some(limit));
    let created = runtime.block_on(admin.create_topics([&new], &options));
    let created = created.map_err(|error| NotReady::Yet(format!("topic {topic} is not created: {error}")))?;
    for outcome in created {
        match outcome {
            // Another process of the group was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(NotReady::Yet(format!("topic {topic} is not created: {code}"))),
        }
    }
    Ok(())
}
