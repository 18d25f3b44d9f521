//! What stands before a listener's requests: certificates and tokens, read at start and again while it runs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, timeout_at};

use super::Listener;
use super::guard::Guard;
use super::stream::Stream;
use super::tls::Certificates;
use crate::counters::PerListener;
use crate::export::SettingError;
use crate::refusal::Refusal;
use crate::topology::Server;

/// How soon a token that is added to or taken from a file counts.
const TOKENS_EVERY: Duration = Duration::from_secs(1);

/// Everything that a listener's settings name in files.
#[derive(Default)]
pub(crate) struct Gate {
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) guard: Option<Arc<Guard>>,
}

impl Gate {
    /// Reads the files. What is wrong is told with its key, as it stands under the listener's protocol.
    pub(crate) fn open(which: Listener, server: &Server) -> Result<Self, SettingError> {
        let certificates = server.tls.as_ref().map(|tls| Certificates::open(which, tls)).transpose()?;
        let guard = server.authenticator.as_ref().map(Guard::open).transpose()?;
        Ok(Self { certificates: certificates.map(Arc::new), guard: guard.map(Arc::new) })
    }

    /// Whether whoever shows these headers may come in.
    pub(crate) fn admit(&self, headers: &::http::HeaderMap) -> Result<(), Refusal> {
        self.guard.as_ref().map_or(Ok(()), |guard| guard.check(headers))
    }

    /// The stream that requests come over: behind a TLS handshake if there are certificates, done by then.
    pub(crate) async fn secure(&self, stream: TcpStream, by: Instant) -> io::Result<Stream> {
        let Some(certificates) = &self.certificates else { return Ok(Stream::Plain(stream)) };
        let secured = timeout_at(by, certificates.acceptor().accept(stream)).await;
        secured.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(|it| Stream::Tls(Box::new(it)))
    }

    /// Whether anybody who reaches the listener may send.
    pub(super) fn is_open(&self) -> bool {
        self.certificates.is_none() && self.guard.is_none()
    }

    /// Reads them again from time to time, until what is returned is dropped.
    pub(super) fn keep_fresh(&self, counters: &Arc<PerListener>) -> JoinSet<()> {
        let mut chores = JoinSet::new();
        if let Some(certificates) = &self.certificates
            && let Some(every) = certificates.reload()
        {
            let certificates = Arc::clone(certificates);
            chores.spawn(refreshing(every, Arc::clone(counters), move || certificates.refresh()));
        }
        if let Some(guard) = self.guard.as_ref().filter(|guard| guard.has_file()) {
            let guard = Arc::clone(guard);
            chores.spawn(refreshing(TOKENS_EVERY, Arc::clone(counters), move || guard.refresh()));
        }
        chores
    }
}

/// Refreshes off the runtime's threads, and says once what is wrong for as long as it is.
async fn refreshing(
    every: Duration,
    counters: Arc<PerListener>,
    refresh: impl Fn() -> Result<(), SettingError> + Send + Sync + 'static,
) {
    let refresh = Arc::new(refresh);
    let mut looks = tokio::time::interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is at once, and everything was read just now.
    looks.tick().await;
    let mut known = Ok(());
    loop {
        looks.tick().await;
        let refresh = Arc::clone(&refresh);
        // A panic in reading files would be this module's own: the next look tries again.
        let Ok(result) = tokio::task::spawn_blocking(move || refresh()).await else { continue };
        if let Err(error) = &result {
            counters.fail_reload();
            if result != known {
                let (receiver, transport) = counters.names();
                tracing::warn!(%error, receiver, transport, "cannot be read again; what was read before stays in use");
            }
        }
        known = result;
    }
}
