//! `service`: which components run, in which pipelines, and what the process tells about itself.

use std::fmt;

use throughline_otlp::Signal;

use super::component::ComponentId;
use super::endpoint::HostPort;
use super::problem::Findings;
use super::read::{At, Block};
use super::words::listed;

/// What runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// `extensions`
    pub extensions: Vec<ComponentId>,
    /// `pipelines`, in order.
    pub pipelines: Vec<Pipeline>,
    /// `telemetry`
    pub telemetry: Telemetry,
}

/// A way from receivers to exporters. Every list names components that are defined.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// `traces`, `logs/audit`
    pub id: PipelineId,
    /// `receivers`, at least one.
    pub receivers: Vec<ComponentId>,
    /// `processors`, in order.
    pub processors: Vec<ComponentId>,
    /// `exporters`, at least one.
    pub exporters: Vec<ComponentId>,
}

/// A signal, and a name if there are several pipelines of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PipelineId {
    /// What flows through it.
    pub signal: Signal,
    /// After the `/`.
    pub name: Option<String>,
}

/// `telemetry`: of the process itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Telemetry {
    /// `logs::level`; `None`: `RUST_LOG`'s, or warnings.
    pub log_level: Option<LogLevel>,
    /// `metrics::level`
    pub metrics: MetricsLevel,
    /// `metrics::address`, or the first `pull` reader's: where Prometheus metrics are served besides the page's address.
    pub prometheus: Option<HostPort>,
    /// `resource`: attributes of the process's own telemetry; `None` takes one away.
    pub resource: Vec<(String, Option<String>)>,
}

/// `logs::level`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// `debug`
    Debug,
    /// `info`
    Info,
    /// `warn`
    Warn,
    /// `error`
    Error,
}

/// `metrics::level`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsLevel {
    /// `none`: none are served.
    None,
    /// Any other: all are.
    #[default]
    All,
}

impl fmt::Display for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.signal {
            Signal::Traces => "traces",
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
        })?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, "/{name}"))
    }
}

impl fmt::Debug for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A component named in a list of `service`, at its place.
#[derive(Debug)]
pub(super) struct Use<'a> {
    pub(super) id: ComponentId,
    pub(super) at: At<'a>,
}

/// A pipeline as it is written.
#[derive(Debug)]
pub(super) struct Written<'a> {
    pub(super) id: PipelineId,
    pub(super) at: At<'a>,
    pub(super) receivers: Vec<Use<'a>>,
    pub(super) processors: Vec<Use<'a>>,
    pub(super) exporters: Vec<Use<'a>>,
}

/// `service` as it is written, still to be checked against what is defined.
#[derive(Debug)]
pub(super) struct WrittenService<'a> {
    pub(super) findings: &'a Findings,
    pub(super) extensions: Vec<Use<'a>>,
    pub(super) pipelines: Vec<Written<'a>>,
    pub(super) telemetry: Telemetry,
    pub(super) prometheus_at: Option<At<'a>>,
}

impl<'a> WrittenService<'a> {
    pub(super) fn new(findings: &'a Findings) -> Self {
        Self {
            findings,
            extensions: Vec::new(),
            pipelines: Vec::new(),
            telemetry: Telemetry::default(),
            prometheus_at: None,
        }
    }

    pub(super) fn service(&self) -> Service {
        let ids = |uses: &[Use<'_>]| uses.iter().map(|used| used.id.clone()).collect();
        let pipeline = |written: &Written<'_>| Pipeline {
            id: written.id.clone(),
            receivers: ids(&written.receivers),
            processors: ids(&written.processors),
            exporters: ids(&written.exporters),
        };
        Service {
            extensions: ids(&self.extensions),
            pipelines: self.pipelines.iter().map(pipeline).collect(),
            telemetry: self.telemetry.clone(),
        }
    }
}

pub(super) fn service<'a>(at: &At<'a>) -> WrittenService<'a> {
    let mut service = WrittenService::new(at.findings);
    let Some(mut block) = at.block() else { return service };
    service.extensions = uses(&mut block, "extensions");
    if let Some(at) = block.required("pipelines") {
        let pipelines = at.entries();
        if pipelines.is_empty() && matches!(at.node.value, super::node::Value::Map(_)) {
            at.error("names no pipeline, expected `traces`, `logs` or `metrics`");
        }
        service.pipelines = pipelines.iter().filter_map(|(entry, at)| pipeline(&entry.key, at)).collect();
    }
    if let Some(at) = block.get("telemetry") {
        telemetry(&at, &mut service);
    }
    block.finish();
    service
}

fn pipeline<'a>(id: &str, at: &At<'a>) -> Option<Written<'a>> {
    let parsed = at.accepted(ComponentId::parse(id))?;
    let signal = match parsed.kind.as_str() {
        "traces" => Signal::Traces,
        "logs" => Signal::Logs,
        "metrics" => Signal::Metrics,
        other => {
            let message =
                format!("`{other}` is no signal, expected {}", listed(&["traces", "logs", "metrics"]));
            at.error(message);
            return None;
        }
    };
    let mut block = at.block()?;
    let written = Written {
        id: PipelineId { signal, name: parsed.name },
        at: at.clone(),
        receivers: uses(&mut block, "receivers"),
        processors: uses(&mut block, "processors"),
        exporters: uses(&mut block, "exporters"),
    };
    block.finish();
    Some(written)
}

fn uses<'a>(block: &mut Block<'a>, key: &'static str) -> Vec<Use<'a>> {
    let listed = block.get(key).map(|at| at.list()).unwrap_or_default();
    let mut uses: Vec<Use<'a>> = Vec::new();
    for at in listed {
        let Some(id) = at.text_with(ComponentId::parse) else { continue };
        if uses.iter().any(|earlier| earlier.id == id) {
            at.error(format!("names `{id}` a second time"));
            continue;
        }
        uses.push(Use { id, at });
    }
    uses
}

const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("debug", LogLevel::Debug),
    ("info", LogLevel::Info),
    ("warn", LogLevel::Warn),
    ("error", LogLevel::Error),
    ("dpanic", LogLevel::Error),
    ("panic", LogLevel::Error),
    ("fatal", LogLevel::Error),
];

fn telemetry<'a>(at: &At<'a>, service: &mut WrittenService<'a>) {
    let Some(mut block) = at.block() else { return };
    if let Some(mut logs) = block.get("logs").and_then(|at| at.block()) {
        service.telemetry.log_level = logs.get("level").and_then(|at| at.one_of_any_case(LOG_LEVELS));
        logs.without_effect(
            &[
                "development",
                "encoding",
                "disable_caller",
                "disable_stacktrace",
                "sampling",
                "output_paths",
                "error_output_paths",
                "initial_fields",
                "processors",
            ],
            "the log is text on standard error",
        );
        logs.finish();
    }
    if let Some(mut metrics) = block.get("metrics").and_then(|at| at.block()) {
        metrics_telemetry(&mut metrics, service);
        metrics.finish();
    }
    let resource = block.get("resource").map(|at| at.entries()).unwrap_or_default();
    service.telemetry.resource = resource
        .into_iter()
        .map(|(entry, at)| (entry.key.clone(), if at.is_null() { None } else { at.text() }))
        .collect();
    block.without_effect(&["traces"], "the process makes no spans of its own, so that none loop back");
    block.finish();
}

fn metrics_telemetry<'a>(block: &mut Block<'a>, service: &mut WrittenService<'a>) {
    let words = [
        ("none", MetricsLevel::None),
        ("basic", MetricsLevel::All),
        ("normal", MetricsLevel::All),
        ("detailed", MetricsLevel::All),
    ];
    service.telemetry.metrics =
        block.get("level").and_then(|at| at.one_of_any_case(&words)).unwrap_or_default();
    block.without_effect(&["views"], "all metrics are always on");
    let address = block.get("address").and_then(|at| Some((at.text_with(HostPort::to_listen)?, at)));
    let readers = block.get("readers").map(|at| at.list()).unwrap_or_default();
    let pulled: Vec<_> = readers.iter().filter_map(reader).collect();
    if let Some((address, at)) = address.into_iter().chain(pulled).next() {
        service.telemetry.prometheus = Some(address);
        service.prometheus_at = Some(at);
    }
}

/// `{pull: {exporter: {prometheus: {host, port}}}}`
fn reader<'a>(at: &At<'a>) -> Option<(HostPort, At<'a>)> {
    let mut block = at.block()?;
    block.without_effect(&["periodic"], "metrics are pulled, not pushed");
    let pull = block.get("pull");
    block.finish();
    let mut pull = pull?.block()?;
    let exporter = pull.required("exporter");
    pull.without_effect(&["cardinality_limits", "producers"], "all metrics are always on");
    pull.finish();
    let mut exporter = exporter?.block()?;
    let prometheus = exporter.required("prometheus");
    exporter.finish();
    let prometheus = prometheus?;
    let mut block = prometheus.block()?;
    let host = block.some_text("host").unwrap_or_else(|| "localhost".to_owned());
    let port = block.get("port").and_then(|at| at.integer(0, 65_535)).unwrap_or(8888);
    block.without_effect(
        &[
            "without_scope_info",
            "without_type_suffix",
            "without_units",
            "with_resource_constant_labels",
            "translation_strategy",
        ],
        "metrics have the names that the documentation lists",
    );
    block.finish();
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    let address = prometheus.accepted(HostPort::to_listen(&format!("{host}:{port}")))?;
    Some((address, prometheus))
}
