//! `receivers`: `otlp`, and `kafka` (in `kafka`).

use std::time::Duration;

use super::component::ComponentId;
use super::endpoint::HostPort;
use super::kafka::{self, KafkaReceiver};
use super::read::{At, Block};
use super::tls::{self, ServerTls};

const MIB: u64 = 1 << 20;

/// Where data comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Receiver {
    /// `otlp`
    Otlp(OtlpReceiver),
    /// `kafka`
    Kafka(KafkaReceiver),
}

/// Types of receivers.
pub(super) const KINDS: &[&str] = &["otlp", "kafka"];

/// `otlp`: at least one protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpReceiver {
    /// `protocols::grpc`
    pub grpc: Option<GrpcServer>,
    /// `protocols::http`
    pub http: Option<HttpServer>,
}

/// OTLP over gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcServer {
    /// `endpoint`. Default localhost:4317.
    pub endpoint: HostPort,
    /// `tls`
    pub tls: Option<ServerTls>,
    /// `auth`
    pub authenticator: Option<ComponentId>,
    /// `max_recv_msg_size_mib`, in bytes. Default 16 MiB.
    pub max_message_bytes: u64,
}

/// OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpServer {
    /// `endpoint`. Default localhost:4318.
    pub endpoint: HostPort,
    /// `tls`
    pub tls: Option<ServerTls>,
    /// `auth`
    pub authenticator: Option<ComponentId>,
    /// `cors`
    pub cors: Option<Cors>,
    /// `max_request_body_size`. Default 16 MiB.
    pub max_body_bytes: u64,
    /// `traces_url_path`. Default `/v1/traces`.
    pub traces_path: String,
    /// `logs_url_path`. Default `/v1/logs`.
    pub logs_path: String,
    /// `metrics_url_path`. Default `/v1/metrics`.
    pub metrics_path: String,
    /// `read_header_timeout`
    pub header_timeout: Option<Duration>,
    /// `idle_timeout`
    pub idle_timeout: Option<Duration>,
}

/// Which pages a browser may send from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// `allowed_origins`: exact, or with one `*`.
    pub origins: Vec<String>,
    /// `allowed_headers`, besides those that are always allowed.
    pub headers: Vec<String>,
    /// `max_age`: how long a browser may remember the answer.
    pub max_age: Option<Duration>,
}

pub(super) fn receiver(id: &ComponentId, at: &At<'_>) -> Option<Receiver> {
    match id.kind.as_str() {
        "otlp" => otlp(at).map(Receiver::Otlp),
        "kafka" => kafka::receiver(at).map(Receiver::Kafka),
        _ => None,
    }
}

fn otlp(at: &At<'_>) -> Option<OtlpReceiver> {
    let mut block = at.block()?;
    let protocols = block.required("protocols");
    block.finish();
    let protocols_at = protocols?;
    let mut protocols = protocols_at.block()?;
    // `grpc:` with nothing after it is a server with every default.
    let grpc = protocols.present("grpc").map(|at| grpc(&at));
    let http = protocols.present("http").map(|at| http(&at));
    protocols.finish();
    if grpc.is_none() && http.is_none() {
        protocols_at.error("names no protocol: `grpc`, `http` or both");
    }
    let receiver = OtlpReceiver { grpc: grpc.flatten(), http: http.flatten() };
    if let (Some(grpc), Some(http)) = (&receiver.grpc, &receiver.http)
        && grpc.endpoint == http.endpoint
        && grpc.endpoint.port != 0
    {
        protocols_at.error(format!("has both protocols at {}: each needs its own port", grpc.endpoint));
    }
    Some(receiver)
}

const KEEPALIVE: &str =
    "connections are kept alive and closed by fixed limits, which the documentation lists";
const BUFFERS: &str = "buffers are sized by what is received";

fn grpc(at: &At<'_>) -> Option<GrpcServer> {
    let mut block = at.block()?;
    let server = GrpcServer {
        endpoint: endpoint(&mut block, 4317),
        tls: block.get("tls").and_then(|at| tls::server(&at)),
        authenticator: tls::authenticator(&mut block),
        max_message_bytes: block
            .get("max_recv_msg_size_mib")
            .and_then(|at| at.integer(0, 2047))
            .filter(|mib| *mib > 0)
            .map_or(16 * MIB, |mib| mib.unsigned_abs() * MIB),
    };
    if let Some(at) = block.get("transport") {
        at.one_of(&[("tcp", ()), ("tcp4", ()), ("tcp6", ())]);
    }
    block.without_effect(&["keepalive", "max_concurrent_streams"], KEEPALIVE);
    block.without_effect(&["read_buffer_size", "write_buffer_size"], BUFFERS);
    block.without_effect(&["include_metadata"], "nothing here reads request metadata");
    block.unsupported(&["middlewares"], "there are no middlewares here");
    block.finish();
    Some(server)
}

fn http(at: &At<'_>) -> Option<HttpServer> {
    let mut block = at.block()?;
    let server = HttpServer {
        endpoint: endpoint(&mut block, 4318),
        tls: block.get("tls").and_then(|at| tls::server(&at)),
        authenticator: tls::authenticator(&mut block),
        cors: block.get("cors").and_then(|at| cors(&at)),
        max_body_bytes: block
            .get("max_request_body_size")
            .and_then(|at| at.integer(0, 1 << 31))
            .filter(|bytes| *bytes > 0)
            .map_or(16 * MIB, i64::unsigned_abs),
        traces_path: url_path(&mut block, "traces_url_path", "/v1/traces"),
        logs_path: url_path(&mut block, "logs_url_path", "/v1/logs"),
        metrics_path: url_path(&mut block, "metrics_url_path", "/v1/metrics"),
        header_timeout: block.get("read_header_timeout").and_then(|at| at.some_time()),
        idle_timeout: block.get("idle_timeout").and_then(|at| at.some_time()),
    };
    if let Some(at) = block.get("transport") {
        at.one_of(&[("tcp", ()), ("tcp4", ()), ("tcp6", ())]);
    }
    block.without_effect(&["read_timeout", "write_timeout", "keep_alives_enabled"], KEEPALIVE);
    block.without_effect(&["include_metadata"], "nothing here reads request metadata");
    block.without_effect(&["compression_algorithms"], "bodies may be plain or gzip");
    block.unsupported(&["middlewares", "response_headers"], "take it out");
    block.finish();
    Some(server)
}

fn endpoint(block: &mut Block<'_>, port: u16) -> HostPort {
    let default = || HostPort { host: super::endpoint::Host::Name("localhost".to_owned()), port };
    block.get("endpoint").and_then(|at| at.text_with(HostPort::to_listen)).unwrap_or_else(default)
}

fn url_path(block: &mut Block<'_>, key: &'static str, default: &str) -> String {
    let path = block.get(key).and_then(|at| {
        at.text_with(|path| {
            let fits = path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
            let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
            if fits { Ok(path) } else { Err(format!("is `{path}`, which is no path of a URL")) }
        })
    });
    path.unwrap_or_else(|| default.to_owned())
}

fn cors(at: &At<'_>) -> Option<Cors> {
    let mut block = at.block()?;
    let origins = block.get("allowed_origins").map(|at| at.list()).unwrap_or_default();
    let origins = origins
        .iter()
        .filter_map(|at| {
            at.text_with(|origin| match origin.matches('*').count() {
                0 | 1 => Ok(origin.to_owned()),
                _ => Err(format!("is `{origin}`, but an origin may have one `*`")),
            })
        })
        .collect();
    let headers = block.texts("allowed_headers");
    let max_age = block.get("max_age").and_then(|at| at.integer(0, 86_400 * 365));
    let max_age = max_age.map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
    block.finish();
    Some(Cors { origins, headers, max_age })
}
