//! The backend's running part: receive, journal, decide, keep, export.
//!
//! In the order a request travels: `receive` takes OTLP off the wire, `intake` checks it and appends it to the
//! journal, the answer goes out once the journal says it is durable. Then `lines` hands it to every pipeline of its
//! receiver: to a `sampler`, whose decisions go through the journal to their outlets; to a `delivery`, which exports; to
//! `keep`, where `pipeline` decides what its threads do next, which is to index it in the store and announce its traces.
//! What a kept trace means for traces of other nodes goes to `peers`.
//! `ledger` lets the journal use again what nobody needs. Metrics leave at intake, for `series`.
//!
//! What runs is a [`topology`], by default everything into the store; [`configuration`] reads the OpenTelemetry
//! Collector's YAML and starts nothing, `adopt` makes a topology of it, `build` makes it run. `backend` builds, runs and
//! drains all of it over one `folder`.
//!
//! It prints nothing, serves no query and knows no page: what it holds is read through [`Backend::store`].

mod adopt;
mod backend;
mod budget;
mod build;
mod config;
pub mod configuration;
mod counters;
mod delivery;
pub mod export;
mod exposition;
mod flow;
mod folder;
mod inflate;
mod intake;
mod keep;
mod ledger;
mod lines;
mod log;
mod look_back;
mod memory;
mod outlet;
mod peers;
mod picture;
mod pipeline;
mod receive;
mod refusal;
mod sampler;
mod series;
pub mod topology;

pub use adopt::AdoptError;
pub use backend::{Addresses, Backend, Probe, StartError};
pub use config::{Config, DataFolder, Limits};
pub use folder::{FolderError, default_data_folder};
pub use look_back::{Bound, Reach};
pub use peers::PeerSettings;
pub use picture::{
    ExporterFigures, Held, Links, PeerFigures, Picture, SamplerFigures, Standing, TierFigures,
};
pub use receive::Listener;
pub use throughline_journal::Durability;
