//! `extensions: throughline: peers`, checked without calling anybody.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};

use super::calls::Instance;
use crate::configuration::{BearerToken, ServerTls, Tokens};
use crate::export::SettingError;
use crate::export::otlp::{CallSettings, Caller};
use crate::export::resolver::{Resolver, ResolverSettings};
use crate::export::tls::TlsSettings;
use crate::receive::{Gate, Listener};
use crate::topology::Server;

/// Longest answer that is read.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Between a call that has failed and the shard that hears of it.
const SLACK: Duration = Duration::from_millis(250);

/// `extensions: throughline: peers`
#[derive(Clone, PartialEq)]
pub struct PeerSettings {
    /// `endpoint`: where this node is called. The others are called at the same port of their own hosts.
    pub listen: SocketAddr,
    /// `advertise`: this node's name among the resolved ones.
    pub advertise: Option<String>,
    /// `resolver`: all nodes, by the names under which the fronts send to them.
    pub resolver: ResolverSettings,
    /// `token`
    pub token: String,
    /// `timeout` of a call.
    pub timeout: Duration,
    /// `tls::server`
    pub server_tls: Option<ServerTls>,
    /// `tls::client`
    pub client_tls: Option<TlsSettings>,
    /// How long a wish is worth delivering.
    pub look_back: Duration,
}

/// A token never shows in a log.
impl fmt::Debug for PeerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listen, advertise, resolver, .. } = self;
        f.debug_struct("PeerSettings")
            .field("listen", listen)
            .field("advertise", advertise)
            .field("resolver", resolver)
            .finish_non_exhaustive()
    }
}

impl PeerSettings {
    /// Whether a node could be made of them, without making one. Reads the files they name.
    ///
    /// # Errors
    /// [`SettingError`], with the key that has to change.
    pub fn check(&self) -> Result<(), SettingError> {
        self.gate()?;
        self.caller("127.0.0.1", &Instance::new())?;
        self.check_names()?;
        Resolver::new(self.resolver.clone()).map(drop)
    }

    pub(crate) fn check_names(&self) -> Result<(), SettingError> {
        if let (ResolverSettings::Static { hostnames }, Some(advertise)) = (&self.resolver, &self.advertise)
            && !hostnames.contains(advertise)
        {
            let problem = format!("{advertise:?} is none of the nodes: {}", hostnames.join(", "));
            return Err(SettingError::new("peers.advertise", problem));
        }
        Ok(())
    }

    pub(super) fn gate(&self) -> Result<Gate, SettingError> {
        let token = BearerToken {
            header: AUTHORIZATION.to_string(),
            scheme: "Bearer".to_owned(),
            tokens: Tokens::Text(vec![self.token.clone()]),
        };
        let server =
            Server { tls: self.server_tls.clone(), authenticator: Some(token), ..Server::at(self.listen) };
        Gate::open(Listener::Http, &server)
    }

    /// How long a trace that is due waits for what peers hold of it: a question may wait for the call before it.
    pub(crate) fn ask_wait(&self) -> Duration {
        self.timeout.saturating_mul(2).saturating_add(SLACK)
    }

    /// How long a start waits to know who the others are.
    pub(super) fn first_answer(&self) -> Duration {
        match &self.resolver {
            ResolverSettings::Dns { timeout, .. } => timeout.saturating_add(SLACK),
            ResolverSettings::Static { .. } => Duration::ZERO,
        }
    }

    pub(super) fn caller(&self, host: &str, instance: &Instance) -> Result<Caller, SettingError> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", self.token))
            .map_err(|_| SettingError::new("peers.token", "has characters no header can have"))?;
        bearer.set_sensitive(true);
        let settings = CallSettings {
            tls: self.client_tls.clone(),
            headers: instance.headers(bearer),
            timeout: self.timeout,
            answer_bytes: ANSWER_BYTES,
        };
        Caller::new(host, self.listen.port(), settings)
    }
}
