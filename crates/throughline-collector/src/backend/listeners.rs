//! The listeners of all receivers: bound, what they need read, then served.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use throughline_journal::Journal;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::open::blocking;
use super::{Addresses, StartError};
use crate::config::Config;
use crate::configuration::Cors;
use crate::folder::Folder;
use crate::intake::origin::Held;
use crate::intake::{Entrance, Intake};
use crate::lines::Lines;
use crate::peers::{Door, OpenError, Peers};
use crate::receive::{Bound, Gate, Listener, Receiver, bind, kafka, serve};
use crate::topology::{self, Server, Topology, Web};

/// How long a browser may remember the answer to a preflight, where nothing else is said.
const CORS_MAX_AGE: std::time::Duration = std::time::Duration::from_secs(7200);

/// A listener that is not served yet.
pub(super) struct Opened {
    /// The receiver's place in [`Topology::receivers`].
    index: u16,
    server: Server,
    bound: Bound,
    gate: Gate,
}

/// What listens if nothing was configured.
pub(super) fn default_receiver(config: &Config) -> topology::Receiver {
    let cors = (!config.cors_origins.is_empty()).then(|| Cors {
        origins: config.cors_origins.clone(),
        headers: Vec::new(),
        max_age: Some(CORS_MAX_AGE),
    });
    topology::Receiver {
        name: "otlp".to_owned(),
        grpc: Some(Server::at(config.grpc)),
        http: Some(Server::at(config.http)),
        web: Web { cors, ..Web::default() },
        kafka: None,
    }
}

/// Binds every receiver's ports and reads the files that their settings name.
pub(super) async fn open(topology: &Topology) -> Result<Vec<Opened>, StartError> {
    let mut opened = Vec::new();
    for (index, receiver) in (0_u16..).zip(&topology.receivers) {
        if let Some(topics) = receiver.kafka.clone() {
            let (divided, runtime) = (kafka::is_divided(topology, index), Handle::current());
            blocking(move || kafka::check_topics(&topics, divided, &runtime))
                .await?
                .map_err(|source| StartError::Receiver { name: receiver.name.clone(), source })?;
        }
        for (which, server) in [(Listener::Grpc, &receiver.grpc), (Listener::Http, &receiver.http)] {
            let Some(server) = server.clone() else { continue };
            let bound = listen(which, server.address).await?;
            let (server, gate) = blocking(move || Gate::open(which, &server).map(|gate| (server, gate)))
                .await?
                .map_err(|source| {
                    let name = format!("{} ({which})", receiver.name);
                    StartError::Receiver { name, source }
                })?;
            opened.push(Opened { index, server, bound, gate });
        }
    }
    Ok(opened)
}

async fn listen(which: Listener, addr: SocketAddr) -> Result<Bound, StartError> {
    bind(which, addr).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse { addr, which },
        _ => StartError::Listen { addr, which, source },
    })
}

/// The first of each kind.
fn addresses(opened: &[Opened]) -> Addresses {
    let first = |which| {
        opened.iter().map(|it| &it.bound).find(|bound| bound.which == which).map(|bound| bound.address)
    };
    Addresses { grpc: first(Listener::Grpc), http: first(Listener::Http) }
}

/// Where each receiver listens, by its name, and the first of each kind.
pub(super) fn places(topology: &Topology, opened: &[Opened]) -> (Vec<(String, Addresses)>, Addresses) {
    (receivers(topology, opened), addresses(opened))
}

/// Those of each receiver, by its name.
fn receivers(topology: &Topology, opened: &[Opened]) -> Vec<(String, Addresses)> {
    let listening = |(index, receiver): (u16, &topology::Receiver)| {
        let of = |which| {
            let fits = |it: &&Opened| it.index == index && it.bound.which == which;
            opened.iter().find(fits).map(|it| it.bound.address)
        };
        (receiver.name.clone(), Addresses { grpc: of(Listener::Grpc), http: of(Listener::Http) })
    };
    (0_u16..).zip(&topology.receivers).map(listening).collect()
}

/// Listens for the other nodes of the tier, if there are any, and finds out who they are.
pub(super) async fn open_peers(
    config: &Config,
    folder: &Folder,
) -> Result<Option<(Arc<Peers>, Door)>, StartError> {
    let Some(settings) = config.peers.clone() else { return Ok(None) };
    let addr = settings.listen;
    let notes = (!folder.is_ephemeral()).then(|| folder.peers());
    match Peers::open(settings, notes).await {
        Ok(opened) => Ok(Some(opened)),
        Err(OpenError::Setting(error)) => Err(StartError::Peers(error)),
        Err(OpenError::Listen(source)) => Err(StartError::PeersListen { addr, source }),
    }
}

/// Answers them, until `stop` turns true.
pub(super) fn serve_peers(
    opened: Option<(Arc<Peers>, Door)>,
    tasks: &mut JoinSet<()>,
    lines: &Arc<Lines>,
    journal: &Journal,
    stop: &watch::Sender<bool>,
) -> Option<Arc<Peers>> {
    let (peers, door) = opened?;
    tasks.spawn(door.serve(peers.answer_with(lines, journal), stop.subscribe()));
    Some(peers)
}

/// Serves them all, and watches over memory, until `stop` turns true. `numbers` are those of the receivers in the journal.
pub(super) fn serve_all(
    opened: Vec<Opened>,
    topology: &Topology,
    numbers: &[u16],
    intake: &Arc<Intake>,
    config: &Config,
    stop: &watch::Sender<bool>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    intake.memory().run(&mut tasks, stop);
    for Opened { index, server, bound, gate } in opened {
        let index = usize::from(index);
        let (Some(of), Some(&number)) = (topology.receivers.get(index), numbers.get(index)) else { continue };
        let counters = intake.counters().open(&of.name, bound.which.transport());
        let receiver = Receiver::new(
            Entrance { number, counters },
            Arc::clone(intake),
            &config.limits,
            &server,
            gate,
            of.web.clone(),
            config.allow_hosts.clone(),
        );
        tasks.spawn(serve(bound, Arc::new(receiver), stop.subscribe()));
    }
    tasks
}

/// The receivers that read topics.
pub(super) struct Members {
    tasks: JoinSet<()>,
    drained: watch::Sender<bool>,
}

impl Members {
    /// Reads every topic, until `stop` turns true, and commits until [`Members::give_back`].
    pub(super) fn serve(
        topology: &Topology,
        numbers: &[u16],
        intake: &Arc<Intake>,
        stop: &watch::Sender<bool>,
        held: &Held,
    ) -> Self {
        let (mut tasks, drained) = (JoinSet::new(), watch::Sender::new(false));
        for (&number, receiver) in numbers.iter().zip(&topology.receivers) {
            let Some(topics) = receiver.kafka.clone() else { continue };
            let counters = intake.counters().open(&receiver.name, "kafka");
            let (entrance, intake) = (Entrance { number, counters }, Arc::clone(intake));
            let (stop, drained) = (stop.subscribe(), drained.subscribe());
            tasks.spawn(kafka::serve(*topics, entrance, intake, held.clone(), stop, drained));
        }
        Self { tasks, drained }
    }

    /// What was taken is delivered, as far as it will be: commits that, and gives the partitions back.
    pub(super) async fn give_back(mut self) {
        // Without a receiver there is nobody to tell.
        let _ = self.drained.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}
