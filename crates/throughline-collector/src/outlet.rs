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
    /// A record of decisions is durable. Called by the journal's thread, in order of position.
    pub(crate) fn decided(&self, unit: Unit) {
        match self {
            Self::Exporter(delivery) => delivery.push(unit),
            Self::Store(keep) => keep.decided(unit),
        }
    }
}
