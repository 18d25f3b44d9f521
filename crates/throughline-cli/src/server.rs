//! Everything that listens, as one thing: the backend, and the query routers over its store. Used by `serve` and `demo`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use serde_json::{Value as Json, json};
use throughline_collector::{Backend, Config, StartError};
use throughline_otlp::TraceId;
use throughline_query::{App, Arrival};
use throughline_store::Store;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use crate::cli::PortArgs;
use crate::exit::Failure;
use crate::live::{Metrics, Pulse, Wired};

/// How long open answers (an event stream never ends by itself) may go on after a stop.
const DRAIN: Duration = Duration::from_secs(2);
/// Arrivals kept for a follower that is behind; one that misses some reads the store again.
const ARRIVALS: usize = 1024;

/// The running server.
pub(crate) struct Server {
    backend: Backend,
    addresses: Addresses,
    /// Listeners that are not where they were looked for.
    moved: Vec<String>,
    stop: watch::Sender<bool>,
    /// They end by the stop.
    tasks: JoinSet<()>,
    /// They go on until they are dropped, or the backend is.
    background: JoinSet<()>,
}

/// Where it listens, with the real ports. With several receivers: the first of each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) otlp_grpc: Option<SocketAddr>,
    pub(crate) otlp_http: Option<SocketAddr>,
    pub(crate) ui: SocketAddr,
    pub(crate) tempo: SocketAddr,
    /// Metrics, where they have an address of their own.
    pub(crate) metrics: Option<SocketAddr>,
}

/// What there is to know before it can start.
pub(crate) struct Plan {
    pub(crate) ui: Place,
    pub(crate) tempo: Place,
    pub(crate) metrics_at: Option<SocketAddr>,
    pub(crate) metrics: Metrics,
    pub(crate) receivers: Receivers,
    pub(crate) config: Config,
}

/// Where to listen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// There and nowhere else.
    Exactly(SocketAddr),
    /// There, or at any free port if that one is taken.
    Rather(SocketAddr),
}

/// Who says where OTLP is received, for the words of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receivers {
    /// Flags do.
    OfFlags,
    /// The configuration does.
    OfConfiguration,
}

impl Plan {
    /// Without a configuration: everything into the store.
    pub(crate) fn of_flags(bind: IpAddr, ports: PortArgs, config: Config) -> Self {
        let at = |port| SocketAddr::new(bind, port);
        Self {
            ui: Place::Exactly(at(ports.ui())),
            tempo: Place::Exactly(at(ports.tempo())),
            metrics_at: None,
            metrics: Metrics::Served,
            receivers: Receivers::OfFlags,
            config: Config { grpc: at(ports.otlp_grpc()), http: at(ports.otlp_http()), ..config },
        }
    }
}

impl Server {
    /// Binds every port first, so that nothing is touched when one is taken.
    pub(crate) async fn start(plan: Plan) -> Result<Self, Failure> {
        let Plan { ui, tempo, metrics_at, metrics, receivers, config } = plan;
        let mut moved = Vec::new();
        let ui = listen_at(ui, "the page", "--ui-port", &mut moved).await?;
        let tempo = listen_at(tempo, "the Tempo API", "--tempo-port", &mut moved).await?;
        let scraped = match metrics_at {
            Some(at) => Some(listen(at, "metrics", "service::telemetry::metrics::address").await?),
            None => None,
        };
        let allow_hosts = config.allow_hosts.clone();
        let backend = Backend::start(config).await.map_err(|error| told(&error, receivers))?;
        let addresses = Addresses {
            otlp_grpc: backend.addresses().grpc,
            otlp_http: backend.addresses().http,
            ui: address(&ui)?,
            tempo: address(&tempo)?,
            metrics: scraped.as_ref().map(address).transpose()?,
        };

        let stop = watch::Sender::new(false);
        let (mut tasks, mut background) = (JoinSet::new(), JoinSet::new());
        let (arrived, _) = broadcast::channel(ARRIVALS);
        background.spawn(announce(backend.arrivals(), arrived.clone()));
        let pulse = Pulse::new();
        background.spawn(Arc::clone(&pulse).beat(backend.probe()));
        let live = Wired { probe: backend.probe(), arrived, metrics, pulse };
        let mut app = App::new(backend.store(), Arc::new(live)).allow_hosts(allow_hosts);
        if let Some(otlp) = addresses.otlp() {
            app = app.otlp_endpoint(&otlp);
        }
        if let Some(scraped) = scraped {
            tasks.spawn(answer(scraped, throughline_query::metrics(app.clone()), stop.subscribe()));
        }
        tasks.spawn(answer(ui, throughline_query::ui(app.clone()), stop.subscribe()));
        tasks.spawn(answer(tempo, throughline_query::tempo(app), stop.subscribe()));
        Ok(Self { backend, addresses, moved, stop, tasks, background })
    }

    /// What listens elsewhere than it was looked for, a sentence each.
    pub(crate) fn moved(&self) -> &[String] {
        &self.moved
    }

    /// Where each receiver listens.
    pub(crate) fn receivers(&self) -> &[(String, throughline_collector::Addresses)] {
        self.backend.receivers()
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
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(DRAIN, rest).await;
        self.tasks.shutdown().await;
        self.background.shutdown().await;
        self.backend.shutdown().await;
    }
}

impl Addresses {
    /// For programs: `serve --json`, `demo --json`. `null`: nothing listens for it.
    pub(crate) fn json(&self) -> Json {
        let mut json = json!({
            "otlp_grpc": self.otlp_grpc.map(|it| it.to_string()),
            "otlp_http": self.otlp_http.map(url),
            "ui": url(self.ui),
            "tempo": url(self.tempo),
        });
        if let (Some(object), Some(metrics)) = (json.as_object_mut(), self.metrics) {
            object.insert("metrics".to_owned(), format!("{}/metrics", url(metrics)).into());
        }
        json
    }

    /// Where a service sends to.
    pub(crate) fn otlp(&self) -> Option<String> {
        self.otlp_http.or(self.otlp_grpc).map(url)
    }
}

/// `http://127.0.0.1:16686`; an address that means "all" is reached through the loopback.
pub(crate) fn url(address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_unspecified() => format!("http://localhost:{}", address.port()),
        _ => format!("http://{address}"),
    }
}

/// As [`listen`], or elsewhere, which is noted.
async fn listen_at(
    place: Place,
    what: &str,
    flag: &str,
    moved: &mut Vec<String>,
) -> Result<TcpListener, Failure> {
    let wanted = match place {
        Place::Exactly(at) => return listen(at, what, flag).await,
        Place::Rather(at) => at,
    };
    match TcpListener::bind(wanted).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let listener = listen(SocketAddr::new(wanted.ip(), 0), what, flag).await?;
            let (taken, real) = (wanted.port(), address(&listener)?);
            moved.push(format!(
                "port {taken} is in use: {what} is at {}; choose a port with {flag}",
                url(real)
            ));
            Ok(listener)
        }
        Ok(listener) => Ok(listener),
        Err(error) => Err(Failure::Start(format!("cannot listen on {wanted} for {what}: {error}"))),
    }
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::Start(format!("a listener has no address: {error}")))
}

/// A flag is no help where the configuration says the port.
fn told(error: &StartError, receivers: Receivers) -> Failure {
    Failure::Start(match error {
        StartError::PortInUse { addr, which } if receivers == Receivers::OfConfiguration => format!(
            "port {} for {which} is in use ({addr}); choose another for the receiver in the configuration",
            addr.port()
        ),
        other => other.to_string(),
    })
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
