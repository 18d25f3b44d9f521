//! Everything that listens, as one thing: the backend, and the query routers over its store. Used by `serve` and `demo`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use serde_json::{Value as Json, json};
use throughline_collector::{Backend, Config, Probe};
use throughline_otlp::TraceId;
use throughline_query::{App, Arrival, Live};
use throughline_store::Store;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use crate::cli::PortArgs;
use crate::exit::Failure;

/// How long open answers (an event stream never ends by itself) may go on after a stop.
const DRAIN: Duration = Duration::from_secs(2);
/// Arrivals kept for a follower that is behind; one that misses some reads the store again.
const ARRIVALS: usize = 1024;

/// The running server.
pub(crate) struct Server {
    backend: Backend,
    addresses: Addresses,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Where it listens, with the real ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) otlp_grpc: SocketAddr,
    pub(crate) otlp_http: SocketAddr,
    pub(crate) ui: SocketAddr,
    pub(crate) tempo: SocketAddr,
}

/// What there is to know before it can start.
pub(crate) struct Plan {
    pub(crate) bind: IpAddr,
    pub(crate) ports: PortArgs,
    pub(crate) allow_hosts: Vec<String>,
    /// Addresses in it are overwritten.
    pub(crate) config: Config,
}

impl Server {
    /// Binds every port first, so that nothing is touched when one is taken.
    pub(crate) async fn start(plan: Plan) -> Result<Self, Failure> {
        let at = |port| SocketAddr::new(plan.bind, port);
        let ui = listen(at(plan.ports.ui_port), "the page", "--ui-port").await?;
        let tempo = listen(at(plan.ports.tempo_port), "the Tempo API", "--tempo-port").await?;
        let config = Config {
            grpc: at(plan.ports.otlp_grpc_port),
            http: at(plan.ports.otlp_http_port),
            ..plan.config
        };
        let backend = Backend::start(config).await.map_err(|error| Failure::Start(error.to_string()))?;
        let address = |listener: &TcpListener| {
            listener
                .local_addr()
                .map_err(|error| Failure::Start(format!("a listener has no address: {error}")))
        };
        let receivers = backend.addresses();
        let (Some(otlp_grpc), Some(otlp_http)) = (receivers.grpc, receivers.http) else {
            return Err(Failure::Start("the backend does not listen for OTLP".to_owned()));
        };
        let addresses = Addresses {
            otlp_grpc,
            otlp_http,
            ui: address(&ui)?,
            tempo: address(&tempo)?,
        };

        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let (arrived, _) = broadcast::channel(ARRIVALS);
        tasks.spawn(announce(backend.arrivals(), arrived.clone()));
        let live = Wired { probe: backend.probe(), arrived };
        let app = App::new(backend.store(), Arc::new(live))
            .allow_hosts(plan.allow_hosts)
            .otlp_endpoint(&url(addresses.otlp_http));
        tasks.spawn(answer(ui, throughline_query::ui(app.clone()), stop.subscribe()));
        tasks.spawn(answer(tempo, throughline_query::tempo(app), stop.subscribe()));
        Ok(Self { backend, addresses, stop, tasks })
    }

    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses
    }

    pub(crate) fn store(&self) -> Arc<Store> {
        self.backend.store()
    }

    pub(crate) fn arrivals(&self) -> broadcast::Receiver<Arc<Vec<TraceId>>> {
        self.backend.arrivals()
    }

    pub(crate) fn data_folder(&self) -> std::path::PathBuf {
        self.backend.data_folder()
    }

    /// Answers what is being asked, for a while, then drains the backend.
    pub(crate) async fn shutdown(mut self) {
        // Whoever answers has ended already if nobody listens to this.
        let _ = self.stop.send(true);
        let backend = self.backend;
        // The task that announces arrivals ends with the backend: it is not waited for.
        let rest = async { while self.tasks.len() > 1 && self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(DRAIN, rest).await;
        self.tasks.shutdown().await;
        backend.shutdown().await;
    }
}

impl Addresses {
    /// For programs: `serve --json`, `demo --json`.
    pub(crate) fn json(&self) -> Json {
        json!({
            "otlp_grpc": self.otlp_grpc.to_string(),
            "otlp_http": url(self.otlp_http),
            "ui": url(self.ui),
            "tempo": url(self.tempo),
        })
    }
}

/// `http://127.0.0.1:16686`; an address that means "all" is reached through the loopback.
pub(crate) fn url(address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_unspecified() => format!("http://localhost:{}", address.port()),
        _ => format!("http://{address}"),
    }
}

/// Binds a port; a port in use is told with its flag.
pub(crate) async fn listen(address: SocketAddr, what: &str, flag: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            let port = address.port();
            Failure::Start(format!(
                "port {port} for {what} is in use ({address}); choose another with {flag}"
            ))
        }
        _ => Failure::Start(format!("cannot listen on {address} for {what}: {error}")),
    })
}

async fn answer(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let stopped = async move {
        // A sender that is gone is a stop too.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    // It ends only by the stop: axum retries what fails while accepting.
    let _ = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
}

/// Passes the backend's arrivals on to the queries, in their own words.
async fn announce(mut from: broadcast::Receiver<Arc<Vec<TraceId>>>, to: broadcast::Sender<Arc<Arrival>>) {
    loop {
        match from.recv().await {
            // Nobody may be following at the moment.
            Ok(traces) => drop(to.send(Arc::new(Arrival { traces: traces.to_vec() }))),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// What the queries know of the running backend.
struct Wired {
    probe: Probe,
    arrived: broadcast::Sender<Arc<Arrival>>,
}

impl Live for Wired {
    fn arrivals(&self) -> broadcast::Receiver<Arc<Arrival>> {
        self.arrived.subscribe()
    }

    fn metrics(&self) -> String {
        self.probe.metrics()
    }

    fn readiness(&self) -> Result<(), String> {
        self.probe.readiness()
    }
}
