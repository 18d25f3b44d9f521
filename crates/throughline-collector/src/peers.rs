//! The other nodes of a back tier behind a load balancer. Each decides about the traces that the ring gives it; what a trace
//! kept here means for a trace of another node is told to that node. No cluster: two stateless calls, and a ring that
//! everybody computes for himself from the same list of names.
//!
//! In the order a wish travels: `tier` knows whose a trace is and `identity` which node is this one, `outbox` holds what waits
//! for a peer and calls until it is taken, `wire` is the bytes; on the other side `server` lets callers in, `answering` writes
//! down what it acknowledges, as a `mark` in the journal, and hands it to the shard.

mod answering;
mod identity;
mod mark;
mod outbox;
mod server;
mod tier;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use throughline_journal::Journal;
use throughline_sampling::decision::Wish;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use self::answering::Answering;
use self::identity::Identity;
pub(crate) use self::mark::Mark;
use self::outbox::{Delivery, Failure, Line, Outbox, Waiting};
pub(crate) use self::server::Door;
use self::tier::{Owner, Tier, host};
pub(crate) use self::wire::{Keep, Wished};
use crate::configuration::{BearerToken, ServerTls, Tokens};
use crate::export::SettingError;
use crate::export::otlp::{CallSettings, Caller};
use crate::export::resolver::{Resolver, ResolverSettings};
use crate::export::ring::Ring;
use crate::export::tls::TlsSettings;
use crate::exposition::{Exposition, Kind, Labels};
use crate::lines::Lines;
use crate::receive::{Gate, Listener};
use crate::sampler::elsewhere::Elsewhere;
use crate::topology::Server;

/// Wishes for traces of the called node.
const KEEP_PATH: &str = "/tl/v1/peer/keep";

/// Longest answer that is read.
const ANSWER_BYTES: usize = 64 * 1024;

/// As long as it is not known which node this is, it is looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

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
        self.caller("127.0.0.1")?;
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

    fn gate(&self) -> Result<Gate, SettingError> {
        let token = BearerToken {
            header: AUTHORIZATION.to_string(),
            scheme: "Bearer".to_owned(),
            tokens: Tokens::Text(vec![self.token.clone()]),
        };
        let server =
            Server { tls: self.server_tls.clone(), authenticator: Some(token), ..Server::at(self.listen) };
        Gate::open(Listener::Http, &server)
    }

    fn caller(&self, host: &str) -> Result<Caller, SettingError> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", self.token))
            .map_err(|_| SettingError::new("peers.token", "has characters no header can have"))?;
        bearer.set_sensitive(true);
        let settings = CallSettings {
            tls: self.client_tls.clone(),
            headers: HeaderMap::from_iter([(AUTHORIZATION, bearer)]),
            timeout: self.timeout,
            answer_bytes: ANSWER_BYTES,
        };
        Caller::new(host, self.listen.port(), settings)
    }
}

/// This node's side of the tier.
pub(crate) struct Peers {
    settings: PeerSettings,
    tier: RwLock<Arc<Tier>>,
    /// By node.
    outboxes: Mutex<BTreeMap<Arc<str>, Arc<Outbox>>>,
    /// As long as nobody is on the ring.
    unrouted: Arc<Outbox>,
    runtime: Handle,
    /// Couriers, and who follows the resolver. They end with this.
    tasks: Mutex<JoinSet<()>>,
    answering: OnceCell<Arc<Answering>>,
}

impl Peers {
    /// Listens, and finds out who the others are. Nobody is answered yet, so calls wait.
    pub(crate) async fn open(settings: PeerSettings) -> Result<(Arc<Self>, Door), OpenError> {
        let reading = settings.clone();
        let gate = tokio::task::spawn_blocking(move || reading.check().and_then(|()| reading.gate()))
            .await
            .map_err(|error| OpenError::Listen(io::Error::other(error)))?
            .map_err(OpenError::Setting)?;
        let door = Door::open(settings.listen, gate).await.map_err(OpenError::Listen)?;
        let (resolver, ring) = Resolver::new(settings.resolver.clone()).map_err(OpenError::Setting)?;
        let peers = Arc::new(Self {
            unrouted: Outbox::new(Arc::from("nobody yet"), settings.look_back),
            settings,
            tier: RwLock::default(),
            outboxes: Mutex::default(),
            runtime: Handle::current(),
            tasks: Mutex::default(),
            answering: OnceCell::new(),
        });
        peers.look(&ring.borrow().clone()).await;
        let follows = Arc::downgrade(&peers);
        let mut tasks = peers.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(resolver.run());
        tasks.spawn(follow(follows, ring));
        drop(tasks);
        Ok((peers, door))
    }

    /// Who answers calls, over these pipelines.
    pub(crate) fn answer_with(&self, lines: &Arc<Lines>, journal: &Journal) -> Arc<Answering> {
        let answering = Answering::new(Arc::clone(lines), journal.clone());
        // Said once, by the backend that made this.
        let _ = self.answering.set(Arc::clone(&answering));
        answering
    }

    fn tier(&self) -> Arc<Tier> {
        Arc::clone(&self.tier.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The nodes are these. Whether it is known which of them this is.
    async fn look(&self, ring: &Arc<Ring>) -> bool {
        let identity = identity::find(ring.members(), self.settings.advertise.as_deref()).await;
        let us = match identity {
            Identity::Is(us) => Some(us),
            Identity::Nobody => None,
            Identity::Several(names) => {
                let names = names.join(", ");
                tracing::error!(
                    names,
                    "several nodes are on this machine: say in peers::advertise which is this"
                );
                None
            }
        };
        let known = us.is_some();
        let tier = Arc::new(Tier::new(Arc::clone(ring), us));
        let before = std::mem::replace(&mut *self.tier.write().unwrap_or_else(PoisonError::into_inner), tier);
        let now = self.tier();
        if (before.members(), before.us()) != (now.members(), now.us()) {
            let (nodes, us) = (now.members().len(), now.us().map_or("none of them", |us| us));
            tracing::info!(nodes, us, "the tier");
        }
        if !now.members().is_empty() {
            self.unrouted.take_all().into_iter().for_each(|item| self.queue(item));
        }
        known
    }

    /// Queues what waits for the owner of its trace. A trace may be this node's own only if the ring has just changed: then
    /// this node is called like any other.
    fn queue(&self, item: Waiting) {
        let node = match self.tier().owner(item.wish.trace()) {
            Owner::Peer(node) => node,
            Owner::Us => self.tier().us().cloned().unwrap_or_else(|| Arc::from("")),
            Owner::Unknown => return self.unrouted.push(item),
        };
        self.outbox(node).push(item);
    }

    fn outbox(&self, node: Arc<str>) -> Arc<Outbox> {
        let mut outboxes = self.outboxes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outbox) = outboxes.get(&node) {
            return Arc::clone(outbox);
        }
        let outbox = Outbox::new(Arc::clone(&node), self.settings.look_back);
        outboxes.insert(Arc::clone(&node), Arc::clone(&outbox));
        let made = host(&node).ok_or_else(|| SettingError::new("peers.resolver", "names no host"));
        match made.and_then(|host| self.settings.caller(&host)) {
            Ok(caller) => {
                let courier = outbox::run(Arc::clone(&outbox), Http(caller));
                let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
                tasks.spawn_on(courier, &self.runtime);
            }
            // The same settings were tried at the start: only the name can be at fault, and it came from DNS.
            Err(error) => tracing::error!(%error, node = &*node, "a peer cannot be called"),
        }
        outbox
    }

    /// Waits until everything is delivered, or not taken, or time is over.
    pub(crate) async fn drain(&self, limit: Duration) {
        let outboxes = self.all();
        let settled = async {
            for outbox in &outboxes {
                outbox.settled().await;
            }
        };
        // What is left is in the journal: the next process asks again.
        let _ = tokio::time::timeout(limit, settled).await;
        let left: usize = outboxes.iter().map(|outbox| outbox.len()).sum();
        if left > 0 {
            tracing::warn!(wishes = left, "peers were not reached before the shutdown");
        }
    }

    fn all(&self) -> Vec<Arc<Outbox>> {
        self.outboxes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What it says of itself at `/metrics`.
    pub(crate) fn write(&self, page: &mut Exposition) {
        let help = "Nodes of the tier, this one too.";
        page.single("throughline_peers_nodes", Kind::Gauge, help, self.tier().members().len());
        for outbox in self.all() {
            outbox.write(page);
        }
        let Some(answering) = self.answering.get() else { return };
        let help = "Wishes of peers that were taken.";
        page.single("throughline_peers_taken_wishes_total", Kind::Counter, help, answering.taken());
        let help = "Calls of peers that were refused.";
        if let Some(family) = page.family("throughline_peers_refused_calls_total", Kind::Counter, help) {
            for (reason, count) in answering.refused().by_reason() {
                let mut labels = Labels::default();
                labels.add("reason", reason);
                family.sample("", &labels.finish(), count);
            }
        }
    }
}

impl Elsewhere for Peers {
    fn take(&self, pipeline: &str, wish: Wish) -> Option<Wish> {
        if self.tier().owner(wish.trace()) == Owner::Us {
            return Some(wish);
        }
        self.queue(Waiting { pipeline: Arc::from(pipeline), wish, since: Instant::now() });
        None
    }
}

/// Follows the resolver, and looks for this node among the others until it is found.
async fn follow(peers: std::sync::Weak<Peers>, mut ring: watch::Receiver<Arc<Ring>>) {
    loop {
        let Some(strong) = peers.upgrade() else { return };
        let now = ring.borrow_and_update().clone();
        let known = strong.look(&now).await;
        drop(strong);
        let changed = tokio::select! {
            changed = ring.changed() => changed,
            () = tokio::time::sleep(LOOK_EVERY), if !known => Ok(()),
        };
        if changed.is_err() {
            return;
        }
    }
}

/// A peer over HTTP.
struct Http(Caller);

impl Line for Http {
    async fn keep(&self, call: Bytes) -> Delivery {
        let answered = match self.0.post(KEEP_PATH, call).await {
            Ok(answered) => answered,
            Err(why) => return Delivery::Again(Failure::Unreachable, why),
        };
        let said = || format!("{}: {}", answered.status, String::from_utf8_lossy(&answered.body));
        match answered.status {
            StatusCode::OK => Delivery::Taken,
            // Both may be put right while this process runs.
            StatusCode::UNAUTHORIZED => Delivery::Again(Failure::Unauthenticated, said()),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Delivery::Never(said()),
            _ => Delivery::Again(Failure::Unavailable, said()),
        }
    }
}

/// Why a node cannot be one of a tier.
#[derive(Debug)]
pub(crate) enum OpenError {
    Setting(SettingError),
    Listen(io::Error),
}
