//! `extensions`: our own block `throughline`, tokens, and what the OpenTelemetry Collector's users have beside it.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use throughline_journal::Durability;

use super::balancing::{self, Resolver};
use super::component::ComponentId;
use super::endpoint::HostPort;
use super::read::{At, Block};
use super::sampling::LOOK_BACK;
use super::tls::{self, ClientTls, ServerTls};
use crate::DataFolder;

/// What is neither received nor sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Extension {
    /// `throughline`
    Throughline(Box<Throughline>),
    /// `bearertokenauth`
    BearerToken(BearerToken),
    /// `health_check`, `file_storage`: accepted, and done by other means.
    WithoutEffect,
}

/// Types of extensions.
pub(super) const KINDS: &[&str] = &["throughline", "bearertokenauth", "health_check", "file_storage"];

/// What has no key in the OpenTelemetry Collector. `None` is a flag's to say, or its default.
#[derive(Clone, Debug, PartialEq)]
pub struct Throughline {
    /// `data_dir` or `ephemeral: true`
    pub data: Option<DataFolder>,
    /// `durability`, and `durability_window` for `batch`.
    pub durability: Option<Durability>,
    /// `journal_size`: its cap, in bytes.
    pub journal_bytes: Option<NonZeroU64>,
    /// `look_back`: how long what was dropped can still be brought back. Default 1 h.
    pub look_back: Duration,
    /// `shards`; `None`, also written 0: one per core.
    pub shards: Option<NonZeroUsize>,
    /// `restart_grace`: a trace undecided at a restart is decided no sooner than this after it. Default 5 s.
    pub restart_grace: Duration,
    /// `drain_timeout`: how long a shutdown may take. Default 10 s.
    pub drain: Duration,
    /// `ui::endpoint`: the page, and the Jaeger and own APIs.
    pub ui: Option<HostPort>,
    /// `tempo::endpoint`: the Tempo API.
    pub tempo: Option<HostPort>,
    /// `allow_hosts`: further names under which the endpoints may be asked.
    pub allow_hosts: Vec<String>,
    /// `peers`: the other nodes of the same tier.
    pub peers: Option<Peers>,
}

/// `peers`: nodes that decide about their own part of all traces.
#[derive(Clone, PartialEq)]
pub struct Peers {
    /// `endpoint`: where this node is called by the others.
    pub endpoint: HostPort,
    /// `advertise`: which of the resolved names this node is; `None`: the one with an address of this machine.
    pub advertise: Option<String>,
    /// `static` or `dns`: all nodes, this one included, as the fronts' `loadbalancing` has them: their ring is made of the
    /// same names. They are called at these hosts, at `endpoint`'s port.
    pub resolver: Resolver,
    /// `token`: what callers must show. The same on all nodes.
    pub token: String,
    /// `timeout` of a call. Default 1 s.
    pub timeout: Duration,
    /// `tls::server`
    pub server_tls: Option<ServerTls>,
    /// `tls::client`
    pub client_tls: Option<ClientTls>,
}

/// `bearertokenauth`
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken {
    /// `header`. Default `authorization`.
    pub header: String,
    /// `scheme`. Default `Bearer`; empty: the bare token.
    pub scheme: String,
    /// Where the tokens are.
    pub tokens: Tokens,
}

/// The tokens of `bearertokenauth`: a server accepts any, a client shows the first.
#[derive(Clone, PartialEq, Eq)]
pub enum Tokens {
    /// `token` or `tokens`
    Text(Vec<String>),
    /// `filename`: a line each, read again when it changes.
    File(PathBuf),
}

/// A token never shows in a log.
impl std::fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BearerToken").field("header", &self.header).field("scheme", &self.scheme).finish()
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers")
            .field("endpoint", &self.endpoint)
            .field("advertise", &self.advertise)
            .field("resolver", &self.resolver)
            .finish()
    }
}

impl Default for Throughline {
    fn default() -> Self {
        Self {
            data: None,
            durability: None,
            journal_bytes: None,
            look_back: LOOK_BACK,
            shards: None,
            restart_grace: Duration::from_secs(5),
            drain: Duration::from_secs(10),
            ui: None,
            tempo: None,
            allow_hosts: Vec::new(),
            peers: None,
        }
    }
}

pub(super) fn extension(id: &ComponentId, at: &At<'_>) -> Option<Extension> {
    match id.kind.as_str() {
        "throughline" => {
            if id.name.is_some() {
                at.error("there is one block `throughline`, without a name");
            }
            throughline(at).map(|ours| Extension::Throughline(Box::new(ours)))
        }
        "bearertokenauth" => bearer_token(at).map(Extension::BearerToken),
        "health_check" => {
            at.note("has no effect: health is answered at /healthz and /readyz of the page's address");
            let mut block = at.block()?;
            let _ = block.get("endpoint").and_then(|at| at.text_with(HostPort::to_listen));
            block.without_effect(
                &["path", "response_body", "check_collector_pipeline", "tls"],
                "health is answered at /healthz and /readyz of the page's address",
            );
            block.finish();
            Some(Extension::WithoutEffect)
        }
        "file_storage" => {
            at.note("has no effect: what is accepted is in the journal");
            Some(Extension::WithoutEffect)
        }
        _ => None,
    }
}

fn throughline(at: &At<'_>) -> Option<Throughline> {
    let mut block = at.block()?;
    let default = Throughline::default();
    let time =
        |block: &mut Block<'_>, key, default| block.get(key).and_then(|at| at.some_time()).unwrap_or(default);
    let ours = Throughline {
        data: data(&mut block),
        durability: durability(&mut block),
        journal_bytes: block.get("journal_size").and_then(|at| at.some_size()).and_then(NonZeroU64::new),
        look_back: time(&mut block, "look_back", default.look_back),
        shards: block
            .get("shards")
            .and_then(|at| at.integer(0, 1024))
            .and_then(|shards| NonZeroUsize::new(usize::try_from(shards).ok()?)),
        restart_grace: block.duration("restart_grace").unwrap_or(default.restart_grace),
        drain: time(&mut block, "drain_timeout", default.drain),
        ui: endpoint(&mut block, "ui"),
        tempo: endpoint(&mut block, "tempo"),
        allow_hosts: block.texts("allow_hosts"),
        peers: block.get("peers").and_then(|at| peers(&at)),
    };
    block.finish();
    Some(ours)
}

fn data(block: &mut Block<'_>) -> Option<DataFolder> {
    let folder = block.some_text("data_dir").map(PathBuf::from);
    let ephemeral = block.boolean("ephemeral").unwrap_or(false);
    match (folder, ephemeral) {
        (Some(_), true) => {
            block.at().error("has both `data_dir` and `ephemeral: true`: give one");
            None
        }
        (folder, false) => folder.map(DataFolder::Persistent),
        (None, true) => Some(DataFolder::Ephemeral),
    }
}

fn durability(block: &mut Block<'_>) -> Option<Durability> {
    let window = block.get("durability_window").and_then(|at| Some((at.some_time()?, at)));
    let length = window.as_ref().map_or(Durability::DEFAULT_WINDOW, |(window, _)| *window);
    let words = [
        ("sync", Durability::Sync),
        ("batch", Durability::Batch { window: length }),
        ("none", Durability::None),
    ];
    let chosen = block.get("durability").and_then(|at| at.one_of(&words));
    if let (Some((_, at)), false) = (window, matches!(chosen, Some(Durability::Batch { .. }))) {
        at.note("has no effect without `durability: batch`");
    }
    chosen
}

fn endpoint(block: &mut Block<'_>, key: &'static str) -> Option<HostPort> {
    let mut block = block.get(key)?.block()?;
    let endpoint = block.required("endpoint").and_then(|at| at.text_with(HostPort::to_listen));
    block.finish();
    endpoint
}

fn peers(at: &At<'_>) -> Option<Peers> {
    let mut block = at.block()?;
    let callable = |text: &str| match HostPort::to_listen(text)? {
        HostPort { port: 0, .. } => Err(format!("is `{text}`, but the other nodes have to know the port")),
        endpoint => Ok(endpoint),
    };
    let endpoint = block.required("endpoint").and_then(|at| at.text_with(callable));
    let name = |text: &str| HostPort::to_reach(text, Some(1)).map(|_| text.to_owned());
    let advertise = block.get("advertise").and_then(|at| at.text_with(name));
    let resolver = block.required("resolver").and_then(|at| balancing::resolver(&at, &[], 4317));
    let token = block.required("token").and_then(|at| at.filled());
    let timeout = block.get("timeout").and_then(|at| at.some_time()).unwrap_or(Duration::from_secs(1));
    let mut server_tls = None;
    let mut client_tls = None;
    if let Some(mut both) = block.get("tls").and_then(|at| at.block()) {
        server_tls = both.required("server").and_then(|at| tls::server(&at));
        client_tls = both.required("client").and_then(|at| tls::client(&at));
        both.finish();
    }
    block.finish();
    Some(Peers {
        endpoint: endpoint?,
        advertise,
        resolver: resolver?,
        token: token?,
        timeout,
        server_tls,
        client_tls,
    })
}

fn bearer_token(at: &At<'_>) -> Option<BearerToken> {
    let mut block = at.block()?;
    let header = block.some_text("header").unwrap_or_else(|| "authorization".to_owned());
    let scheme = block.text("scheme").unwrap_or_else(|| "Bearer".to_owned());
    let token = block.some_text("token");
    let tokens: Vec<String> = token.into_iter().chain(block.texts("tokens")).collect();
    let file = tls::file(&mut block, "filename");
    let tokens = match (tokens.is_empty(), file) {
        (false, None) => Some(Tokens::Text(tokens)),
        (true, Some(file)) => Some(Tokens::File(file)),
        (false, Some(_)) => {
            block.at().error("has both `filename` and `token` or `tokens`: give one");
            None
        }
        (true, None) => {
            block.at().error("needs `token`, `tokens` or `filename`; an empty token would let everybody in");
            None
        }
    };
    if header.parse::<http::HeaderName>().is_err() {
        block.at().error(format!("`header` is `{header}`, which is no name of a header"));
    }
    block.finish();
    Some(BearerToken { header: header.to_lowercase(), scheme, tokens: tokens? })
}
