//! A front and a back tier as processes on one machine: each node of the back tier has a loopback address of its own, so that
//! all have the same ports, as machines would. It asserts nothing about tracing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use throughline_collector::export::ring::Ring;
use throughline_otlp::TraceId;

use crate::serve::Serve;

/// Longer than anything here takes: a hang fails instead of hanging.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The token that all nodes share.
pub const TOKEN: &str = "the tier's own secret";

/// Made by this process so far.
static TIERS: AtomicU8 = AtomicU8::new(0);

/// Where the nodes of a back tier are.
#[derive(Clone, Debug)]
pub struct Tier {
    hosts: Vec<Ipv4Addr>,
    otlp: u16,
    peers: u16,
}

impl Tier {
    /// Addresses for so many nodes that nobody else uses.
    ///
    /// # Panics
    /// If there are none.
    #[must_use]
    pub fn new(nodes: u8) -> Self {
        let [.., high, low] = std::process::id().to_be_bytes();
        for _ in 0..200_u8 {
            // From the process's id, so that tests at the same time have different ones; 127.0.0.0 is everybody's.
            let third = low.wrapping_add(TIERS.fetch_add(1, Ordering::Relaxed));
            let hosts: Vec<_> =
                (1..=nodes).map(|node| Ipv4Addr::new(127, 1 + high % 250, third, node)).collect();
            let free = |port: u16| hosts.iter().all(|host| TcpListener::bind((*host, port)).is_ok());
            let (otlp, peers) = (14_317, 14_319);
            if free(otlp) && free(peers) {
                return Self { hosts, otlp, peers };
            }
        }
        panic!("no free loopback addresses");
    }

    fn host(&self, node: usize) -> Ipv4Addr {
        *self.hosts.get(node).expect("as many nodes as the tier was made for")
    }

    /// The name by which a front sends to a node.
    #[must_use]
    pub fn name(&self, node: usize) -> String {
        format!("{}:{}", self.host(node), self.otlp)
    }

    /// Where a node is called by its peers.
    #[must_use]
    pub fn peer(&self, node: usize) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.host(node)), self.peers)
    }

    /// A trace, the `number`th, that belongs to this node while these nodes are on the ring.
    #[must_use]
    pub fn trace_of(&self, node: usize, among: &[usize], number: u64) -> TraceId {
        self.trace_that_moves(&[(node, among)], number)
    }

    /// A trace, the `number`th, that belongs to each of these nodes while those beside it are on the ring.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn trace_that_moves(&self, owners: &[(usize, &[usize])], number: u64) -> TraceId {
        let owners: Vec<(Ring, String)> =
            owners.iter().map(|(node, among)| (self.ring(among), self.name(*node))).collect();
        let ids = (1..u64::MAX).map(|count| {
            let mixed = (count ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let text = format!("{mixed:016x}{:016x}", count.wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1);
            TraceId::from_hex(&text).expect("an id")
        });
        let owned = |id: &TraceId| {
            let is_owner = |(ring, name): &(Ring, String)| {
                ring.owner(&id.bytes()).is_some_and(|owner| ring.name(owner) == name)
            };
            owners.iter().all(is_owner)
        };
        let nth = usize::try_from(number).expect("few");
        ids.filter(owned).nth(nth).expect("each node owns many")
    }

    fn ring(&self, among: &[usize]) -> Ring {
        let names: Vec<String> = among.iter().map(|node| self.name(*node)).collect();
        Ring::new(names.iter().map(String::as_str))
    }

    /// `extensions::throughline` of a node whose tier is `among`.
    #[must_use]
    pub fn extension(&self, node: usize, among: &[usize], folder: &Path, token: &str) -> Value {
        let hostnames: Vec<String> = among.iter().map(|node| self.name(*node)).collect();
        json!({
            "data_dir": folder, "look_back": "1h", "restart_grace": "1s", "shards": 2,
            "ui": { "endpoint": "127.0.0.1:0" }, "tempo": { "endpoint": "127.0.0.1:0" },
            "peers": {
                "endpoint": self.peer(node).to_string(), "advertise": self.name(node), "token": token, "timeout": "2s",
                "resolver": { "static": { "hostnames": hostnames } },
            },
        })
    }

    /// A node's configuration: what these policies keep goes to `sink`.
    #[must_use]
    pub fn back(&self, node: usize, extension: &Value, policies: &Value, sink: SocketAddr) -> Value {
        json!({
            "receivers": { "otlp": { "protocols": { "grpc": { "endpoint": self.name(node) } } } },
            "processors": { "tail_sampling": { "decision_wait": "1s", "policies": policies } },
            "exporters": { "otlphttp": {
                "endpoint": format!("http://{sink}"), "compression": "none",
                "retry_on_failure": { "initial_interval": "200ms", "max_interval": "1s" },
            } },
            "extensions": { "throughline": extension },
            "service": { "extensions": ["throughline"], "pipelines": { "traces": {
                "receivers": ["otlp"], "processors": ["tail_sampling"], "exporters": ["otlphttp"],
            } } },
        })
    }

    /// A front that sends to these nodes.
    #[must_use]
    pub fn front(&self, among: &[usize], folder: &Path) -> Value {
        let hostnames: Vec<String> = among.iter().map(|node| self.name(*node)).collect();
        json!({
            "receivers": { "otlp": { "protocols": { "http": { "endpoint": "127.0.0.1:0" } } } },
            "exporters": { "loadbalancing": {
                "protocol": { "otlp": {
                    "tls": { "insecure": true }, "timeout": "5s", "compression": "none",
                    "retry_on_failure": { "initial_interval": "200ms", "max_interval": "1s" },
                } },
                "resolver": { "static": { "hostnames": hostnames } },
            } },
            "extensions": { "throughline": {
                "data_dir": folder,
                "ui": { "endpoint": "127.0.0.1:0" }, "tempo": { "endpoint": "127.0.0.1:0" },
            } },
            "service": { "extensions": ["throughline"], "pipelines": { "traces": {
                "receivers": ["otlp"], "exporters": ["loadbalancing"],
            } } },
        })
    }
}

/// Starts what a configuration says.
#[must_use]
pub fn start(configuration: &Value) -> Serve {
    Serve::with(["--config".to_owned(), format!("yaml:{configuration}")])
}

fn client() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    config.timeout_global(Some(PATIENCE)).build().into()
}

/// Gets a page of a node.
///
/// # Panics
/// If it does not answer.
#[must_use]
pub fn ask(url: &str) -> String {
    let mut response = client().get(url).call().expect("an answer");
    response.body_mut().read_to_string().expect("text")
}

/// Posts a body as it is; the status, and what was said.
///
/// # Panics
/// If there is no answer.
#[must_use]
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let request =
        headers.iter().fold(client().post(url), |request, (name, value)| request.header(*name, *value));
    let mut response = request.send(body).expect("an answer");
    let said = response.body_mut().read_to_vec().expect("a body");
    (response.status().as_u16(), String::from_utf8_lossy(&said).into_owned())
}

/// A figure of a node's `/metrics`: the sum over the samples of that name which have all these pieces in their labels.
#[must_use]
pub fn metric(node: &Serve, name: &str, pieces: &[&str]) -> u64 {
    let page = ask(&format!("{}/metrics", node.ui));
    let fits = |line: &&str| {
        let (head, _) = line.split_once(' ').unwrap_or((line, ""));
        let of = head.split('{').next().is_some_and(|of| of == name);
        of && pieces.iter().all(|piece| line.contains(piece))
    };
    let values = page.lines().filter(fits).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

/// Looks again and again until it is so.
///
/// # Panics
/// If it is not within [`PATIENCE`].
pub async fn until(what: &str, done: impl Fn() -> bool) {
    let looking = async {
        let mut look = tokio::time::interval(Duration::from_millis(50));
        while !tokio::task::block_in_place(&done) {
            look.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, looking).await.is_ok(), "not so in time: {what}");
}
