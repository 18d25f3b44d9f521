//! The backend's running part: receive, journal, keep.
//!
//! In the order a request travels: `receive` takes OTLP off the wire, `intake` checks it and appends it to the
//! journal, the answer goes out once the journal says it is durable, `pipeline` decides what the `keep` threads do
//! next, which is to index it in the store and announce its traces. Metrics leave at intake, for `series`.
//! `backend` builds, runs and drains all of it over one `folder`.
//!
//! What it is told comes as `Config`; [`configuration`] reads the OpenTelemetry Collector's YAML, and starts nothing.
//!
//! It prints nothing, serves no query and knows no page: what it holds is read through [`Backend::store`].

mod backend;
mod budget;
mod config;
pub mod configuration;
mod counters;
pub mod export;
mod exposition;
mod folder;
mod inflate;
mod intake;
mod keep;
mod pipeline;
mod receive;
mod refusal;
mod series;

pub use backend::{Addresses, Backend, Probe, StartError};
pub use config::{Config, DataFolder, Limits};
pub use folder::{FolderError, default_data_folder};
pub use receive::Listener;
pub use throughline_journal::Durability;
