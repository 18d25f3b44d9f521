//! The other nodes of a back tier behind a load balancer. Each decides about the traces that the ring gives it; what a trace
//! kept here means for a trace of another node is told to that node. No cluster: two stateless calls, and a ring that
//! everybody computes for himself from the same list of names.
//!
//! Traces of which several nodes hold a part are asked about before they are decided: `handover` knows whom, `partners` remembers
//! who asked, `asking` holds the questions and gathers the answers.
//!
//! In the order a wish travels: `tier` knows whose a trace is and `identity` which node is this one, `outbox` holds what waits
//! for a peer and calls until it is taken, `wire` is the bytes; on the other side `server` lets callers in, `answering` writes
//! down what it acknowledges, as a `mark` in the journal, and hands it to the shard.

mod answering;
mod asking;
mod calls;
mod handover;
mod identity;
mod mark;
mod outbox;
mod partners;
mod server;
mod settings;
mod tier;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use throughline_journal::Journal;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinSet;

pub(crate) use self::answering::Answering;
use self::asking::Questions;
use self::identity::Identity;
pub(crate) use self::mark::Mark;
use self::outbox::{Outbox, Waiting};
use self::partners::{HeardOf, Partners};
pub(crate) use self::server::Door;
pub use self::settings::PeerSettings;
use self::tier::{Owner, Tier, host};
pub(crate) use self::wire::{Keep, Wanted, Wished};
use crate::export::SettingError;
use crate::export::resolver::Resolver;
use crate::export::ring::Ring;
use crate::exposition::{Exposition, Kind, Labels};
use crate::intake::wall_clock;
use crate::lines::Lines;

/// Wishes for traces of the called node.
const KEEP_PATH: &str = "/tl/v1/peer/keep";

/// What the called node holds of traces.
const HOLDS_PATH: &str = "/tl/v1/peer/holds";

/// As long as it is not known which node this is, it is looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// This node's side of the tier.
pub(crate) struct Peers {
    settings: PeerSettings,
    tier: RwLock<Arc<Tier>>,
    /// By node.
    peers: Mutex<BTreeMap<Arc<str>, Peer>>,
    /// As long as nobody is on the ring.
    unrouted: Arc<Outbox>,
    partners: Arc<Partners>,
    heard_of: HeardOf,
    /// For couriers, which do not keep it.
    myself: Weak<Self>,
    runtime: Handle,
    /// Couriers, and who follows the resolver. They end with this.
    tasks: Mutex<JoinSet<()>>,
    answering: OnceCell<Arc<Answering>>,
}

/// What waits for a node.
#[derive(Clone)]
struct Peer {
    outbox: Arc<Outbox>,
    /// `None`: its name is no host's, and it cannot be called.
    questions: Option<Arc<Questions>>,
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
        let peers = Arc::new_cyclic(|myself| Self {
            partners: Arc::new(Partners::new(settings.look_back)),
            heard_of: HeardOf::default(),
            myself: Weak::clone(myself),
            unrouted: Outbox::new(Arc::from("nobody yet"), settings.look_back),
            settings,
            tier: RwLock::default(),
            peers: Mutex::default(),
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
    pub(crate) fn answer_with(self: &Arc<Self>, lines: &Arc<Lines>, journal: &Journal) -> Arc<Answering> {
        let answering = Answering::new(Arc::clone(lines), journal.clone(), self);
        // Said once, by the backend that made this.
        let _ = self.answering.set(Arc::clone(&answering));
        answering
    }

    fn tier(&self) -> Arc<Tier> {
        Arc::clone(&self.tier.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// This node's name among them; the one it was given if they do not, or not yet, know it.
    fn name(&self) -> Option<Arc<str>> {
        self.tier().us().cloned().or_else(|| self.settings.advertise.as_deref().map(Arc::from))
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
        let before = self.tier();
        if (before.members(), before.us()) == (ring.members(), us.as_ref()) {
            return known;
        }
        let now = Arc::new(before.followed_by(Arc::clone(ring), us, wall_clock()));
        *self.tier.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&now);
        let (nodes, us) = (now.members().len(), now.us().map_or("none of them", |us| us));
        tracing::info!(nodes, us, "the tier");
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
        self.peer(&node).outbox.push(item);
    }

    fn peer(&self, node: &Arc<str>) -> Peer {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(node) {
            return peer.clone();
        }
        let outbox = Outbox::new(Arc::clone(node), self.settings.look_back);
        let mut peer = Peer { outbox, questions: None };
        let made = host(node).ok_or_else(|| SettingError::new("peers.resolver", "names no host"));
        match made.and_then(|host| self.settings.caller(&host)) {
            Ok(caller) => {
                let caller = Arc::new(caller);
                let questions = Questions::new(Arc::clone(node), self.settings.timeout);
                let asking = calls::Asking { caller: Arc::clone(&caller), peers: Weak::clone(&self.myself) };
                let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
                tasks.spawn_on(outbox::run(Arc::clone(&peer.outbox), calls::Telling(caller)), &self.runtime);
                tasks.spawn_on(asking::run(Arc::clone(&questions), asking), &self.runtime);
                peer.questions = Some(questions);
            }
            // The same settings were tried at the start: only the name can be at fault, and it came from DNS.
            Err(error) => tracing::error!(%error, node = &**node, "a peer cannot be called"),
        }
        peers.insert(Arc::clone(node), peer.clone());
        peer
    }

    /// Waits until everything is delivered, or not taken, or time is over.
    pub(crate) async fn drain(&self, limit: Duration) {
        let peers = self.all();
        let settled = async {
            for peer in &peers {
                peer.outbox.settled().await;
            }
        };
        // What is left is in the journal: the next process asks again.
        let _ = tokio::time::timeout(limit, settled).await;
        let left: usize = peers.iter().map(|peer| peer.outbox.len()).sum();
        if left > 0 {
            tracing::warn!(wishes = left, "peers were not reached before the shutdown");
        }
    }

    fn all(&self) -> Vec<Peer> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What it says of itself at `/metrics`.
    pub(crate) fn write(&self, page: &mut Exposition) {
        let help = "Nodes of the tier, this one too.";
        page.single("throughline_peers_nodes", Kind::Gauge, help, self.tier().members().len());
        for Peer { outbox, questions } in self.all() {
            outbox.write(page);
            questions.iter().for_each(|questions| questions.write(page));
        }
        let Some(answering) = self.answering.get() else { return };
        let help = "Wishes of peers that were taken.";
        page.single("throughline_peers_taken_wishes_total", Kind::Counter, help, answering.taken());
        let help = "Traces that peers asked about.";
        page.single("throughline_peers_answered_questions_total", Kind::Counter, help, answering.asked());
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

/// Follows the resolver, and looks for this node among the others until it is found.
async fn follow(peers: Weak<Peers>, mut ring: watch::Receiver<Arc<Ring>>) {
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

/// Why a node cannot be one of a tier.
#[derive(Debug)]
pub(crate) enum OpenError {
    Setting(SettingError),
    Listen(io::Error),
}
