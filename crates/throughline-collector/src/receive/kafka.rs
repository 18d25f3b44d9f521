//! Topics of Kafka, as a member of a consumer group: each record is a request, which goes the same way as one off the network.
//!
//! An offset is committed once nobody needs the records below it: what is undecided, or kept and not delivered by every exporter,
//! is read again by whoever has the partition then, also if this process and its folder are gone. Where a pipeline samples,
//! the partitions of its topic are divided among the processes of the group, each with a sampler of its own
//! (`crate::sampler::group`); `entry` is what they tell each other, [`book`] writes and [`reader`] reads it.
//!
//! `tracker` knows what may be committed, `standing` where a partition stands, `member` is the consumer, `rebalance` takes
//! partitions and gives them back, `hand_over` gives a record to the intake, `prepare` looks at the topics first. A record that is not OTLP is counted, named and skipped: it never stops its partition.

mod book;
mod entry;
mod hand_over;
mod member;
mod prepare;
mod reader;
mod rebalance;
mod standing;
mod tracker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use self::member::Member;
use self::prepare::{NotReady, prepare};
use crate::export::SettingError;
use crate::intake::origin::Held;
use crate::intake::{Entrance, Intake};
use crate::topology::{Division, Pipeline, Topics, Topology};

/// How long a start waits to hear that the topics are as they must be. Brokers that do not answer are waited for behind it.
const START_LIMIT: Duration = Duration::from_secs(5);

/// Says what a start would refuse: settings, and topics that do not fit together.
pub(crate) fn check(topics: &Topics) -> Result<(), SettingError> {
    member::config(&topics.receiver)?
        .create_native_config()
        .map(drop)
        .map_err(|error| SettingError::new("brokers", error.to_string()))
}

/// As [`check`], and asks the brokers. Blocks.
pub(crate) fn check_topics(topics: &Topics, divided: bool, runtime: &Handle) -> Result<(), SettingError> {
    check(topics)?;
    if divided
        && let Err(NotReady::Ever(error)) = prepare(&topics.receiver, topics.look_back, START_LIMIT, runtime)
    {
        return Err(error);
    }
    Ok(())
}

/// Whether the pipelines behind a receiver divide its partitions among processes.
pub(crate) fn is_divided(topology: &Topology, receiver: u16) -> bool {
    let divides = |pipeline: &&Pipeline| {
        pipeline.division == Division::Partitions && pipeline.receivers.contains(&receiver)
    };
    topology.pipelines.iter().any(|pipeline| divides(&pipeline))
}

/// Reads until `stop` turns true, and gives the partitions back when `drained` does: what is delivered until then is committed.
pub(crate) async fn serve(
    topics: Topics,
    entrance: Entrance,
    intake: Arc<Intake>,
    held: Held,
    mut stop: watch::Receiver<bool>,
    mut drained: watch::Receiver<bool>,
) {
    let phase = Arc::<Phase>::default();
    // Also if this task is cut off.
    let ends = Ends(Arc::clone(&phase));
    let (number, runtime) = (entrance.number, Handle::current());
    let told = Arc::clone(&phase);
    let thread = tokio::task::spawn_blocking(move || match Member::new(topics, entrance, intake, held) {
        Ok(member) => member.run(&told, &runtime),
        Err(error) => tracing::error!(receiver = number, %error, "a Kafka receiver cannot run"),
    });
    // Nobody listening any more is as good as told.
    let _ = stop.wait_for(|stop| *stop).await;
    phase.stopped.store(true, Ordering::Release);
    let _ = drained.wait_for(|drained| *drained).await;
    drop(ends);
    if thread.await.is_err() {
        tracing::error!("a Kafka receiver panicked");
    }
}

/// How far a receiver's end has come.
#[derive(Debug, Default)]
struct Phase {
    /// It takes no more records, and keeps its partitions.
    stopped: AtomicBool,
    /// It gives them back.
    over: AtomicBool,
}

impl Phase {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire) || self.is_over()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

struct Ends(Arc<Phase>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
    }
}
