//! The front tier: each trace to the back-tier node that owns it.
//!
//! Membership is the resolver's alone. A node that cannot be reached keeps what it owns; a request that failed to reach it
//! goes, trace by trace, to the next node on the ring, and the next request tries the owner again. So fronts that see
//! different failures still agree on who owns what. What has arrived is not sent again; what has not is handed back to
//! whoever holds the queue.
//!
//! `split` cuts a request by owner, `round` decides what follows each answer; both know no I/O.

mod round;
mod split;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use throughline_otlp::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::round::{Parcel, Round};
pub use self::split::RoutingKey;
use super::otlp::{OtlpExporter, OtlpSettings};
use super::resolver::address;
use super::ring::Ring;
use super::{Body, Outcome, SettingError};

/// `loadbalancing`, `load_balancing`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceSettings {
    /// `routing_key`
    pub routing_key: RoutingKey,
    /// `protocol.otlp`; its endpoint is each member's in turn.
    pub otlp: OtlpSettings,
}

/// Sends to the members of a ring.
pub struct LoadBalancer {
    settings: BalanceSettings,
    ring: watch::Receiver<Arc<Ring>>,
    exporters: Mutex<HashMap<Arc<str>, Arc<OtlpExporter>>>,
}

impl fmt::Debug for LoadBalancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadBalancer").field("members", &self.ring.borrow().members()).finish_non_exhaustive()
    }
}

impl LoadBalancer {
    /// Reads certificates and keys, as an exporter of a member would; connects to nothing yet.
    ///
    /// # Errors
    /// [`SettingError`] if no member's exporter could be made from the settings.
    pub fn new(settings: BalanceSettings, ring: watch::Receiver<Arc<Ring>>) -> Result<Self, SettingError> {
        let members = ring.borrow().members().to_vec();
        let probe: Vec<Arc<str>> = if members.is_empty() { vec![Arc::from("127.0.0.1")] } else { members };
        for member in &probe {
            Self::exporter_of(&settings, member)?;
        }
        Ok(Self { settings, ring, exporters: Mutex::default() })
    }

    /// Sends each trace (or service) of the request to its owner. [`Outcome::Retry`] has in `rest` what did not arrive.
    pub async fn send(&self, signal: Signal, request: Body) -> Outcome {
        let ring = Arc::clone(&self.ring.borrow());
        self.forget_who_left(&ring);
        let mut round = match Round::new(Arc::clone(&ring), self.settings.routing_key, signal, &request) {
            Ok(round) => round,
            Err(error) => return Outcome::Refused { why: format!("not OTLP: {error}") },
        };
        let mut sending = JoinSet::new();
        loop {
            while let Some(parcel) = round.next_parcel() {
                match self.exporter(ring.name(parcel.member())) {
                    Ok(exporter) => drop(sending.spawn(deliver(exporter, signal, parcel))),
                    Err(error) => round.answered(parcel, Outcome::unreachable(error.to_string())),
                }
            }
            match sending.join_next().await {
                Some(Ok((parcel, outcome))) => round.answered(parcel, outcome),
                // The runtime is stopping. All of it is sent again after the restart.
                Some(Err(_)) => return Outcome::unreachable("the collector is stopping"),
                None => return round.finish(),
            }
        }
    }

    fn exporter(&self, member: &str) -> Result<Arc<OtlpExporter>, SettingError> {
        let mut exporters = self.exporters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(exporter) = exporters.get(member) {
            return Ok(Arc::clone(exporter));
        }
        let exporter = Arc::new(Self::exporter_of(&self.settings, member)?);
        exporters.insert(Arc::from(member), Arc::clone(&exporter));
        Ok(exporter)
    }

    fn exporter_of(settings: &BalanceSettings, member: &str) -> Result<OtlpExporter, SettingError> {
        OtlpExporter::new(OtlpSettings { endpoint: address(member), ..settings.otlp.clone() })
    }

    fn forget_who_left(&self, ring: &Ring) {
        let mut exporters = self.exporters.lock().unwrap_or_else(PoisonError::into_inner);
        if exporters.len() > ring.members().len() {
            exporters.retain(|name, _| ring.members().contains(name));
        }
    }
}

async fn deliver(exporter: Arc<OtlpExporter>, signal: Signal, parcel: Parcel) -> (Parcel, Outcome) {
    let outcome = exporter.send(signal, parcel.request()).await;
    (parcel, outcome)
}

#[cfg(test)]
mod tests;
