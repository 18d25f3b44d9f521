//! What a shard is told that is not in a `tail_sampling` block.

use std::num::NonZeroUsize;
use std::time::Duration;

use throughline_otlp::UnixNanos;

/// What a shard needs to know beyond its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardOptions {
    /// Keys the hash of the table of traces, so that no sender can choose ids that collide. Has no influence on decisions.
    pub seed: u64,
    /// Shards that the pipeline's traces are divided among, evenly as ids are random: `num_traces` and the decision caches are
    /// the pipeline's, and each shard holds its part of them.
    pub shards: NonZeroUsize,
    /// After a restart no trace is decided earlier than this: clients are still retrying.
    pub grace: Duration,
    /// What came before anything that is restored or handed in. `None`: nothing did.
    pub before: Option<Before>,
    /// How far the clocks of senders may be wrong. A trace whose root began later than all that is forgotten, by more than
    /// this, is not asked about.
    pub clock_skew: Duration,
    /// Most decisions of one kind in one [`poll`](super::Shard::poll): callers stay responsive.
    pub slice: usize,
    /// Links held of all undecided and remembered traces together, and traces waiting for one they link to: 16 bytes each.
    /// Beyond it links are asked from History when their trace is kept.
    pub max_links: usize,
    /// Wishes that wait for the next `poll`. Beyond it they are refused and counted.
    pub max_wishes: usize,
    /// How long a trace that is due waits for what other nodes hold of it.
    pub ask_wait: Duration,
}

impl Default for ShardOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            shards: NonZeroUsize::MIN,
            grace: Duration::from_secs(5),
            before: None,
            clock_skew: Duration::from_secs(60),
            slice: 4096,
            max_links: 1 << 22,
            max_wishes: 1 << 16,
            ask_wait: Duration::from_secs(2),
        }
    }
}

/// Records that a shard is never handed, though History may know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// The last of them.
    pub position: u64,
    /// They arrived before this.
    pub wall: UnixNanos,
}

/// What a shutdown leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A journal from which the next process resumes.
    Resumes,
    /// Nothing: the folder is ephemeral. Undecided traces are decided now.
    Final,
}
