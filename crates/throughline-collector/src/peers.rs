//! The other nodes of a back tier behind a load balancer. Each decides about the traces that the ring gives it; what a trace
//! kept here means for a trace of another node is told to that node. No cluster: two stateless calls, and a ring that
//! everybody computes for himself from the same list of names.
//!
//! Traces of which several nodes hold a part are asked about before they are decided: `handover` knows whom, `partners` remembers
//! who asked, `asking` holds the questions and gathers the answers, `notes` who was there before a restart.
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
mod notes;
mod outbox;
mod partners;
mod server;
mod settings;
mod tier;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use throughline_journal::Journal;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};

pub(crate) use self::answering::Answering;
use self::answering::Tally;
use self::asking::{Inquiry, Questions};
use self::calls::Instance;
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
use crate::exposition::{Exposition, Kind};
use crate::intake::wall_clock;
use crate::lines::Lines;
use crate::picture::{PeerFigures, TierFigures};

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
    /// Where the rings there were are noted; `None`: the folder goes with the process.
    notes: Option<PathBuf>,
    /// It has been said that several nodes are on this machine.
    confused: AtomicBool,
    instance: Instance,
    /// By node: those that something was for within look-back.
    peers: Mutex<BTreeMap<Arc<str>, Peer>>,
    /// As long as nobody is on the ring.
    unrouted: Arc<Outbox>,
    /// Likewise, at most so many.
    unasked: Mutex<Vec<Arc<Inquiry>>>,
    partners: Arc<Partners>,
    heard_of: HeardOf,
    tally: Arc<Tally>,
    /// For couriers, which do not keep it.
    myself: Weak<Self>,
    runtime: Handle,
    /// Couriers, and who follows the resolver. They end with this.
    tasks: Mutex<JoinSet<()>>,
}

/// What waits for a node.
struct Peer {
    outbox: Arc<Outbox>,
    /// `None`: its name is no host's, and it cannot be called.
    questions: Option<Arc<Questions>>,
    couriers: Vec<AbortHandle>,
    /// When something was for it.
    used: Instant,
}

impl Peer {
    fn tell(&self, item: Waiting) {
        match self.questions {
            Some(_) => self.outbox.push(item),
            None => self.outbox.refuse(1),
        }
    }

    fn ask(&self, inquiry: &Arc<Inquiry>) {
        self.questions.iter().for_each(|questions| questions.push(inquiry));
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.couriers.iter().for_each(AbortHandle::abort);
    }
}

impl Peers {
    /// Listens, and finds out who the others are, and from `notes` who they were. Nobody is answered yet, so calls wait.
    pub(crate) async fn open(
        settings: PeerSettings,
        notes: Option<PathBuf>,
    ) -> Result<(Arc<Self>, Door), OpenError> {
        let (reading, noted) = (settings.clone(), notes.clone());
        let read = move || {
            let gate = reading.check().and_then(|()| reading.gate())?;
            Ok((gate, noted.map(|path| notes::read(&path, wall_clock())).unwrap_or_default()))
        };
        let (gate, tier) = tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| OpenError::Listen(io::Error::other(error)))?
            .map_err(OpenError::Setting)?;
        let door = Door::open(settings.listen, gate).await.map_err(OpenError::Listen)?;
        let (resolver, mut ring) = Resolver::new(settings.resolver.clone()).map_err(OpenError::Setting)?;
        let peers = Self::new(settings, notes, tier);
        peers.tasks().spawn(resolver.run());
        // What was decided before a restart is told at once, and what is due soon is asked about: better to know whom.
        let known = ring.wait_for(|ring| !ring.members().is_empty());
        let _ = timeout(peers.settings.first_answer(), known).await;
        let first = ring.borrow_and_update().clone();
        let found = peers.look(&first).await;
        peers.tasks().spawn(follow(Arc::downgrade(&peers), ring, found));
        Ok((peers, door))
    }

    fn new(settings: PeerSettings, notes: Option<PathBuf>, tier: Tier) -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            partners: Arc::new(Partners::new(settings.look_back)),
            heard_of: HeardOf::default(),
            tally: Arc::default(),
            myself: Weak::clone(myself),
            unrouted: Outbox::new(Arc::from("nobody yet"), settings.look_back),
            unasked: Mutex::default(),
            settings,
            tier: RwLock::new(Arc::new(tier)),
            notes,
            confused: AtomicBool::new(false),
            instance: Instance::new(),
            peers: Mutex::default(),
            runtime: Handle::current(),
            tasks: Mutex::default(),
        })
    }

    /// Who answers calls, over these pipelines.
    pub(crate) fn answer_with(self: &Arc<Self>, lines: &Arc<Lines>, journal: &Journal) -> Arc<Answering> {
        Answering::new(Arc::clone(lines), journal.clone(), self)
    }

    fn tier(&self) -> Arc<Tier> {
        Arc::clone(&self.tier.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This node's name among them; the one it was given if they do not, or not yet, know it.
    fn name(&self) -> Option<Arc<str>> {
        self.tier().us().cloned().or_else(|| self.settings.advertise.as_deref().map(Arc::from))
    }

    /// The nodes are these. Whether it is known which of them this is.
    async fn look(&self, ring: &Arc<Ring>) -> bool {
        let us = match identity::find(ring.members(), self.settings.advertise.as_deref()).await {
            Identity::Is(us) => Some(us),
            Identity::Nobody => None,
            Identity::Several(names) => {
                if !self.confused.swap(true, Ordering::Relaxed) {
                    let names = names.join(", ");
                    tracing::error!(
                        names,
                        "several nodes are on this machine: say in peers::advertise which is this"
                    );
                }
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
            let unasked = std::mem::take(&mut *self.unasked.lock().unwrap_or_else(PoisonError::into_inner));
            unasked.iter().for_each(|inquiry| self.inquire(inquiry));
        }
        self.note(now).await;
        known
    }

    /// Notes who the nodes are, for the next process.
    async fn note(&self, tier: Arc<Tier>) {
        let Some(path) = self.notes.clone() else { return };
        let noting = tokio::task::spawn_blocking(move || notes::write(&path, &tier));
        let noted = noting.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        if let Err(error) = noted {
            tracing::warn!(%error, "cannot note who the nodes are: after a restart they are not asked");
        }
    }

    /// Queues what waits for the owner of its trace. A trace may be this node's own only if the ring has just changed: then
    /// this node is called like any other.
    fn queue(&self, item: Waiting) {
        match self.tier().owner(item.wish.trace()) {
            Owner::Peer(node) | Owner::Us(node) => self.with_peer(&node, |peer| peer.tell(item)),
            Owner::Unknown => self.unrouted.push(item),
        }
    }

    /// Does something with a peer, which must not block. It is not let go of meanwhile.
    fn with_peer(&self, node: &Arc<str>, act: impl FnOnce(&Peer)) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get_mut(node) {
            peer.used = Instant::now();
            return act(peer);
        }
        // Where nodes come and go they have new names each time.
        let look_back = self.settings.look_back;
        peers.retain(|_, peer| peer.used.elapsed() <= look_back || peer.outbox.len() > 0);
        act(peers.entry(Arc::clone(node)).or_insert_with(|| self.new_peer(node)));
    }

    fn new_peer(&self, node: &Arc<str>) -> Peer {
        let outbox = Outbox::new(Arc::clone(node), self.settings.look_back);
        let mut peer = Peer { outbox, questions: None, couriers: Vec::new(), used: Instant::now() };
        let made = host(node).ok_or_else(|| SettingError::new("peers.resolver", "names no host"));
        match made.and_then(|host| self.settings.caller(&host, &self.instance)) {
            Ok(caller) => {
                let caller = Arc::new(caller);
                let questions = Questions::new(Arc::clone(node), self.settings.timeout);
                let asking = calls::Asking { caller: Arc::clone(&caller), peers: Weak::clone(&self.myself) };
                let mut tasks = self.tasks();
                while tasks.try_join_next().is_some() {}
                let telling = outbox::run(Arc::clone(&peer.outbox), calls::Telling(caller));
                peer.couriers = vec![
                    tasks.spawn_on(telling, &self.runtime),
                    tasks.spawn_on(asking::run(Arc::clone(&questions), asking), &self.runtime),
                ];
                peer.questions = Some(questions);
            }
            // The same settings were tried at the start: only the name can be at fault, and it came from DNS.
            Err(error) => tracing::error!(%error, node = &**node, "a peer cannot be called"),
        }
        peer
    }

    /// Waits until everything is delivered, or not taken, or time is over; then nobody is called any more.
    pub(crate) async fn drain(&self, limit: Duration) {
        let outboxes: Vec<Arc<Outbox>> = self.all().into_iter().map(|(outbox, _)| outbox).collect();
        let settled = async {
            for outbox in &outboxes {
                outbox.settled().await;
            }
        };
        // What is left is in the journal: the next process asks again.
        let _ = timeout(limit, settled).await;
        let left: usize = outboxes.iter().map(|outbox| outbox.len()).sum();
        if left > 0 {
            tracing::warn!(wishes = left, "peers were not reached before the shutdown");
        }
        // Couriers hold questions, questions their samplers, and samplers this.
        let mut tasks = std::mem::take(&mut *self.tasks());
        tasks.shutdown().await;
        let peers = std::mem::take(&mut *self.peers.lock().unwrap_or_else(PoisonError::into_inner));
        let unasked = std::mem::take(&mut *self.unasked.lock().unwrap_or_else(PoisonError::into_inner));
        drop((peers, unasked));
    }

    fn all(&self) -> Vec<(Arc<Outbox>, Option<Arc<Questions>>)> {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.values().map(|peer| (Arc::clone(&peer.outbox), peer.questions.clone())).collect()
    }

    /// For whoever shows them.
    pub(crate) fn figures(&self) -> TierFigures {
        let of = |(outbox, questions): (Arc<Outbox>, Option<Arc<Questions>>)| {
            let (answered, unanswered) = questions.map_or((0, 0), |questions| questions.outcomes());
            let (delivered, given_up) = outbox.outcomes();
            let (name, waiting) = (outbox.node().to_owned(), outbox.len());
            PeerFigures { name, waiting, delivered, given_up, answered, unanswered }
        };
        let peers = self.all().into_iter().map(of).collect();
        let (nodes, us) = (self.tier().members().len(), self.tier().us().map(|us| us.to_string()));
        TierFigures { us, nodes, peers, ..self.tally.figures() }
    }

    /// What it says of itself at `/metrics`.
    pub(crate) fn write(&self, page: &mut Exposition) {
        let help = "Nodes of the tier, this one too.";
        page.single("throughline_peers_nodes", Kind::Gauge, help, self.tier().members().len());
        for (outbox, questions) in self.all() {
            outbox.write(page);
            questions.iter().for_each(|questions| questions.write(page));
        }
        self.tally.write(page);
    }
}

/// Follows the resolver, and looks for this node among the others until it is found.
async fn follow(peers: Weak<Peers>, mut ring: watch::Receiver<Arc<Ring>>, mut known: bool) {
    loop {
        let changed = tokio::select! {
            changed = ring.changed() => changed,
            () = tokio::time::sleep(LOOK_EVERY), if !known => Ok(()),
        };
        if changed.is_err() {
            return;
        }
        let Some(strong) = peers.upgrade() else { return };
        let now = ring.borrow_and_update().clone();
        known = strong.look(&now).await;
    }
}

/// Why a node cannot be one of a tier.
#[derive(Debug)]
pub(crate) enum OpenError {
    Setting(SettingError),
    Listen(io::Error),
}

#[cfg(test)]
pub(crate) mod tests;
