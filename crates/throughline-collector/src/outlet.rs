//! Where a pipeline ends: an exporter's queue, or the store.

use std::sync::Arc;

use crate::delivery::Delivery;
use crate::delivery::queue::Unit;
use crate::keep::Keep;

/// One end of a pipeline.
#[derive(Clone)]
pub(crate) enum Outlet {
    /// An exporter.
    Exporter(Arc<Delivery>),
    /// The store of this process.
    Store(Arc<Keep>),
}

impl Outlet {
    /// First position of which not everything has been delivered.
    pub(crate) fn resume_at(&self) -> u64 {
        match self {
            Self::Exporter(delivery) => delivery.progress().0,
            Self::Store(keep) => keep.needs_from(),
        }
    }

    /// The lowest position that must stay readable for its sake.
    pub(crate) fn needs_from(&self) -> u64 {
        match self {
            Self::Exporter(delivery) => delivery.progress().1,
            Self::Store(keep) => keep.needs_from(),
        }
    }

    /// A record of decisions is durable. Called by the journal's thread, in order of position.
    pub(crate) fn decided(&self, unit: Unit) {
        match self {
            Self::Exporter(delivery) => delivery.push(unit),
            Self::Store(keep) => keep.decided(unit),
        }
    }
}
