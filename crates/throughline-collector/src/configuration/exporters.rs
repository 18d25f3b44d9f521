//! `exporters`: where kept data goes. `kafka` is in `kafka`, `loadbalancing` in `balancing`.

use std::path::PathBuf;
use std::time::Duration;

use super::balancing::{self, LoadBalancingExporter};
use super::component::ComponentId;
use super::endpoint::{HostPort, Scheme, Url};
use super::kafka::{self, Encoding, KafkaExporter};
use super::read::{At, Block};
use super::sending::{self, Sending};
use super::tls::Transport;

/// Where data goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Exporter {
    /// `otlp`, `otlp_grpc`
    Otlp(OtlpExporter),
    /// `otlphttp`, `otlp_http`
    OtlpHttp(OtlpHttpExporter),
    /// `loadbalancing`, `load_balancing`
    LoadBalancing(LoadBalancingExporter),
    /// `kafka`
    Kafka(KafkaExporter),
    /// `debug`
    Debug(DebugExporter),
    /// `file`
    File(FileExporter),
    /// `nop`: nowhere.
    Nop,
    /// `throughline`: our own store, with the page and the query endpoints over it.
    Throughline(StoreExporter),
}

/// Types of exporters.
pub(super) const KINDS: &[&str] = &[
    "otlp",
    "otlp_grpc",
    "otlphttp",
    "otlp_http",
    "loadbalancing",
    "load_balancing",
    "kafka",
    "debug",
    "file",
    "nop",
    "throughline",
];

/// OTLP over gRPC.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpExporter {
    /// `endpoint`
    pub endpoint: HostPort,
    /// How it is sent; `sending.tls.transport` says whether with TLS.
    pub sending: Sending,
    /// `authority`: the name the server is addressed by, if it is not the endpoint's.
    pub authority: Option<String>,
}

/// OTLP over HTTP. A signal without a URL can not be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpHttpExporter {
    /// `traces_endpoint`, or `endpoint` with `/v1/traces`.
    pub traces: Option<Url>,
    /// `logs_endpoint`, or `endpoint` with `/v1/logs`.
    pub logs: Option<Url>,
    /// `metrics_endpoint`, or `endpoint` with `/v1/metrics`.
    pub metrics: Option<Url>,
    /// `encoding`. Default protobuf.
    pub encoding: Encoding,
    /// How it is sent.
    pub sending: Sending,
}

/// `debug`: says on standard error what would be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugExporter {
    /// `verbosity`
    pub verbosity: Verbosity,
    /// `sampling_initial`: so many lines a second are all written. Default 2.
    pub first_each_second: u32,
    /// `sampling_thereafter`: of the others every so many-th; 0 is none. Default 1, all.
    pub then_every: u32,
}

/// `verbosity`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// A line with counts.
    #[default]
    Basic,
    /// A line per span.
    Normal,
    /// Everything.
    Detailed,
}

/// `file`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileExporter {
    /// `path`
    pub path: PathBuf,
    /// `format`: a request a line, or each request behind its length in four bytes.
    pub format: Encoding,
    /// `compression`
    pub compression: FileCompression,
    /// `append`
    pub opening: Opening,
    /// `rotation`
    pub rotation: Option<Rotation>,
    /// `flush_interval`. Default 1 s.
    pub flush: Duration,
    /// `create_directory`
    pub folders: Folders,
}

/// `compression` of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileCompression {
    /// None.
    #[default]
    None,
    /// `zstd`
    Zstd,
}

/// `append`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// What was there before is gone.
    #[default]
    Truncate,
    /// After what was there before.
    Append,
}

/// `create_directory`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Folders {
    /// The folder must be there.
    #[default]
    Expect,
    /// The folder is made.
    Create,
}

/// `rotation`: when a file is closed and set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// `max_megabytes`, in bytes. Default 100 MiB.
    pub most_bytes: u64,
    /// `max_days`: older ones are removed.
    pub most_days: Option<u32>,
    /// `max_backups`: more are removed. `None`, written 0: none is. Default 100.
    pub most_files: Option<u32>,
}

/// `throughline`: how long the store keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreExporter {
    /// `retention_age`; `None`: the flag's, or the default of 7 days.
    pub retention_age: Option<Duration>,
    /// `retention_size`, in bytes; `None`: the flag's, or the default of 10 GiB.
    pub retention_bytes: Option<u64>,
}

pub(super) fn exporter(id: &ComponentId, at: &At<'_>) -> Option<Exporter> {
    match id.kind.as_str() {
        "otlp" | "otlp_grpc" => otlp(at).map(Exporter::Otlp),
        "otlphttp" | "otlp_http" => otlp_http(at).map(Exporter::OtlpHttp),
        "loadbalancing" | "load_balancing" => balancing::exporter(at).map(Exporter::LoadBalancing),
        "kafka" => kafka::exporter(at).map(Exporter::Kafka),
        "debug" => debug(at).map(Exporter::Debug),
        "file" => file(at).map(Exporter::File),
        "nop" => {
            at.block()?.finish();
            Some(Exporter::Nop)
        }
        "throughline" => store(at).map(Exporter::Throughline),
        _ => None,
    }
}

/// The keys of gRPC clients besides the endpoint.
pub(super) fn grpc_client(block: &mut Block<'_>) -> (Sending, Option<String>) {
    let sending = sending::sending(block, Duration::from_secs(5));
    let authority = block.some_text("authority");
    let why = "each exporter has one connection per backend, which it keeps";
    block.without_effect(&["keepalive", "wait_for_ready", "balancer_name"], why);
    block.without_effect(&["read_buffer_size", "write_buffer_size"], "buffers are sized by what is sent");
    block.without_effect(&["compression_params"], "the level is fixed");
    block.unsupported(&["middlewares"], "there are no middlewares here");
    (sending, authority)
}

fn otlp(at: &At<'_>) -> Option<OtlpExporter> {
    let mut block = at.block()?;
    let given = block.required("endpoint").and_then(|at| at.text_with(grpc_endpoint));
    let (mut sending, authority) = grpc_client(&mut block);
    block.finish();
    let (endpoint, scheme) = given?;
    match scheme {
        Some(Scheme::Http) => sending.tls.transport = Transport::Plain,
        Some(Scheme::Https) => sending.tls.transport = Transport::Tls,
        None => {}
    }
    Some(OtlpExporter { endpoint, sending, authority })
}

/// `host:port`, with a scheme before it or without.
fn grpc_endpoint(text: &str) -> Result<(HostPort, Option<Scheme>), String> {
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Ok((HostPort::to_reach(text, None)?, None));
    }
    let url = Url::parse(text)?;
    if url.path != "/" {
        return Err(format!(
            "is `{text}`; OTLP over gRPC has no path, write host:port, or use the exporter `otlphttp`"
        ));
    }
    Ok((url.address, Some(url.scheme)))
}

fn otlp_http(at: &At<'_>) -> Option<OtlpHttpExporter> {
    let before = at.findings.errors();
    let mut block = at.block()?;
    let base = block.get("endpoint").and_then(|at| at.text_with(Url::parse));
    let mut url = |key, path| {
        let own = block.get(key).and_then(|at| at.text_with(Url::parse));
        own.or_else(|| base.as_ref().map(|base| base.join(path)))
    };
    let traces = url("traces_endpoint", "/v1/traces");
    let logs = url("logs_endpoint", "/v1/logs");
    let metrics = url("metrics_endpoint", "/v1/metrics");
    let sound = at.findings.errors() == before;
    let encodings = [("proto", Encoding::Protobuf), ("json", Encoding::Json)];
    let encoding = block.get("encoding").and_then(|at| at.one_of(&encodings)).unwrap_or_default();
    let sending = sending::sending(&mut block, Duration::from_secs(30));
    let keys = ["max_idle_conns", "max_idle_conns_per_host", "max_conns_per_host", "idle_conn_timeout"];
    block.without_effect(&keys, "connections are kept for as many requests as are under way");
    let keys =
        ["disable_keep_alives", "http2_read_idle_timeout", "http2_ping_timeout", "force_attempt_http2"];
    block.without_effect(&keys, "connections are kept for as many requests as are under way");
    block.without_effect(&["read_buffer_size", "write_buffer_size"], "buffers are sized by what is sent");
    block.without_effect(&["compression_params"], "the level is fixed");
    block.without_effect(&["profiles_endpoint"], "profiles are not sent");
    block.unsupported(&["proxy_url", "cookies", "middlewares"], "take it out");
    if sound && traces.is_none() && logs.is_none() && metrics.is_none() {
        block.at().error("`endpoint` is missing (or `traces_endpoint`, `logs_endpoint`)");
    }
    block.finish();
    sound.then_some(OtlpHttpExporter { traces, logs, metrics, encoding, sending })
}

fn debug(at: &At<'_>) -> Option<DebugExporter> {
    let mut block = at.block()?;
    let words =
        [("basic", Verbosity::Basic), ("normal", Verbosity::Normal), ("detailed", Verbosity::Detailed)];
    let number = |block: &mut Block<'_>, key, default: u32| {
        let at = block.get(key).and_then(|at| at.integer(0, u32::MAX.into()));
        at.and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
    };
    let exporter = DebugExporter {
        verbosity: block.get("verbosity").and_then(|at| at.one_of_any_case(&words)).unwrap_or_default(),
        first_each_second: number(&mut block, "sampling_initial", 2),
        then_every: number(&mut block, "sampling_thereafter", 1),
    };
    let why = "what is sent is always written to standard error";
    block.without_effect(&["use_internal_logger", "output_paths"], why);
    sending::queue(&mut block);
    block.finish();
    Some(exporter)
}

fn file(at: &At<'_>) -> Option<FileExporter> {
    let mut block = at.block()?;
    let path = block.required("path").and_then(|at| at.filled()).map(PathBuf::from);
    let formats = [("json", Encoding::Json), ("proto", Encoding::Protobuf)];
    let compressions =
        [("none", FileCompression::None), ("", FileCompression::None), ("zstd", FileCompression::Zstd)];
    let format = block.get("format").and_then(|at| at.one_of(&formats)).unwrap_or(Encoding::Json);
    let compression = block.get("compression").and_then(|at| at.one_of(&compressions)).unwrap_or_default();
    let append = block.boolean("append").unwrap_or(false);
    let create = block.boolean("create_directory").unwrap_or(false);
    let rotation = block.present("rotation").and_then(|at| rotation(&at));
    let flush = block.get("flush_interval").and_then(|at| at.some_time()).unwrap_or(Duration::from_secs(1));
    if append && compression == FileCompression::Zstd {
        block.at().error("`append: true` does not go with `compression: zstd`");
    }
    if append && rotation.is_some() {
        block.at().error("`append: true` does not go with `rotation`, which appends by itself");
    }
    let why = "folders are made for their owner only";
    block.without_effect(&["directory_permissions"], why);
    block.unsupported(&["group_by", "encoding"], "each exporter writes one file, in `format`");
    block.finish();
    Some(FileExporter {
        path: path?,
        format,
        compression,
        opening: if append { Opening::Append } else { Opening::Truncate },
        rotation,
        flush,
        folders: if create { Folders::Create } else { Folders::Expect },
    })
}

fn rotation(at: &At<'_>) -> Option<Rotation> {
    let mut block = at.block()?;
    let mut number = |key, default: u32| {
        let at = block.get(key).and_then(|at| at.integer(0, 1_000_000));
        at.and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
    };
    let megabytes = number("max_megabytes", 100).max(1);
    let days = number("max_days", 0);
    let files = number("max_backups", 100);
    block.without_effect(&["localtime"], "the times in file names are UTC");
    block.finish();
    let some = |number: u32| Some(number).filter(|number| *number > 0);
    Some(Rotation { most_bytes: u64::from(megabytes) << 20, most_days: some(days), most_files: some(files) })
}

fn store(at: &At<'_>) -> Option<StoreExporter> {
    let mut block = at.block()?;
    let retention_age = block.get("retention_age").and_then(|at| at.some_time());
    let retention_bytes = block.get("retention_size").and_then(|at| at.some_size());
    block.finish();
    Some(StoreExporter { retention_age, retention_bytes })
}
