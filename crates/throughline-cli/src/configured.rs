//! A configuration of the OpenTelemetry Collector, from `--config` to what can run: loaded, adopted, and asked for everything
//! that would keep it from starting. Used by `serve` and `validate`, so that they cannot disagree. It starts nothing.

use std::net::SocketAddr;
use std::path::Path;

use throughline_collector::Config;
use throughline_collector::configuration::{Configuration, HostPort, Loaded, Problem, Source};
use throughline_collector::export::balance::LoadBalancer;
use throughline_collector::export::file::{FileSettings, Folder};
use throughline_collector::export::otlp::OtlpExporter;
use throughline_collector::export::resolver::Resolver;
use throughline_collector::topology::{End, Exporter, ExporterSettings};

use crate::exit::Failure;

/// A configuration that can run.
pub(crate) struct Configured {
    pub(crate) loaded: Loaded,
    pub(crate) config: Config,
    /// Where it says that the page is.
    pub(crate) ui: Option<SocketAddr>,
    /// Where it says that the Tempo API is.
    pub(crate) tempo: Option<SocketAddr>,
    /// Where it says that metrics are, besides the page's address.
    pub(crate) metrics: Option<SocketAddr>,
}

/// Why a configuration cannot run.
#[derive(Debug)]
pub(crate) enum Invalid {
    /// A source cannot be had.
    Source(String),
    /// What is wrong with it, and what is worth saying besides.
    Problems { errors: Vec<Problem>, notes: Vec<Problem> },
}

/// The name under which our own block is complained about.
const OURS: &str = "extensions::throughline";

impl Configured {
    /// Reads and checks what `--config` names, in this order. What it leaves open stays as in `defaults`.
    ///
    /// Within a runtime: exporters are made, to see that they can be, and dropped.
    pub(crate) fn read(arguments: &[String], defaults: Config) -> Result<Self, Invalid> {
        let environment = |name: &str| std::env::var(name).ok();
        let sources: Result<Vec<Source>, _> =
            arguments.iter().map(|argument| Source::from_argument(argument, &environment)).collect();
        let sources = sources.map_err(|error| Invalid::Source(error.to_string()))?;
        let loaded = Configuration::load(&sources, &environment)
            .map_err(|errors| Invalid::Problems { errors: errors.problems, notes: Vec::new() })?;
        let mut errors = loaded.unreadable();
        // An exporter would complain of the same files.
        let files_are_there = errors.is_empty();
        let config = match Config::adopt(&loaded.configuration, defaults) {
            Ok(config) => {
                if files_are_there {
                    errors.extend(unusable_exporters(&loaded, &config));
                    let peers = config.peers.as_ref().and_then(|peers| peers.check().err());
                    errors.extend(peers.map(|error| loaded.about(OURS, error.to_string())));
                }
                Some(config)
            }
            Err(refused) => {
                errors.extend(refused.into_iter().map(|it| loaded.about(&it.component, it.problem)));
                None
            }
        };
        let ours = loaded.configuration.throughline();
        let telemetry = &loaded.configuration.service.telemetry;
        let mut listen = |what: &str, at: Option<&HostPort>| socket(&loaded, what, at, &mut errors);
        let ui = listen("ui::endpoint", ours.ui.as_ref());
        let tempo = listen("tempo::endpoint", ours.tempo.as_ref());
        let metrics = listen("service::telemetry::metrics", telemetry.prometheus.as_ref());
        match config {
            Some(config) if errors.is_empty() => Ok(Self { loaded, config, ui, tempo, metrics }),
            _ => {
                errors.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
                errors.dedup();
                Err(Invalid::Problems { errors, notes: loaded.notes })
            }
        }
    }
}

impl Invalid {
    /// As the end of a command.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Source(message) => Failure::Usage(message.clone()),
            Self::Problems { errors, .. } => {
                let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
                Failure::Configuration(lines.join("\n"))
            }
        }
    }
}

/// The address to listen on; a name is none.
fn socket(
    loaded: &Loaded,
    what: &str,
    at: Option<&HostPort>,
    errors: &mut Vec<Problem>,
) -> Option<SocketAddr> {
    let at = at?;
    let socket = at.socket();
    if socket.is_none() {
        let port = at.port;
        let message = format!("{what}: {at} is a name; listen on an address, such as 127.0.0.1:{port}");
        errors.push(loaded.about(OURS, message));
    }
    socket
}

/// Exporters that could not be made, each at its place.
fn unusable_exporters(loaded: &Loaded, config: &Config) -> Vec<Problem> {
    let pipelines = config.topology.iter().flat_map(|topology| &topology.pipelines);
    let exporters = pipelines.flat_map(|pipeline| &pipeline.ends).filter_map(|end| match end {
        End::Exporter(exporter) => Some(exporter.as_ref()),
        End::Store => None,
    });
    let problem = |exporter: &Exporter| {
        let message = unusable(&exporter.settings).err()?;
        Some(loaded.about(&format!("exporters::{}", exporter.name), message))
    };
    exporters.filter_map(problem).collect()
}

fn unusable(settings: &ExporterSettings) -> Result<(), String> {
    match settings {
        ExporterSettings::Otlp(settings) => {
            OtlpExporter::new(settings.clone()).map(drop).map_err(|it| it.to_string())
        }
        ExporterSettings::LoadBalancing(resolver, settings) => Resolver::new(resolver.clone())
            .and_then(|(_, ring)| LoadBalancer::new(settings.clone(), ring))
            .map(drop)
            .map_err(|error| error.to_string()),
        ExporterSettings::File(settings) => writable(settings),
        // Its settings were tried when it was adopted; an exporter would only start threads.
        ExporterSettings::Kafka(_) | ExporterSettings::Debug(..) => Ok(()),
    }
}

/// Whether a file could be written, without making or emptying it.
fn writable(settings: &FileSettings) -> Result<(), String> {
    let FileSettings { path, folder, .. } = settings;
    if path.is_dir() {
        return Err(format!("`path`: {} is a folder; name a file", path.display()));
    }
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    match parent {
        Some(parent) if *folder == Folder::MustExist && !parent.is_dir() => Err(format!(
            "`path`: the folder {} is not there; make it, or say create_directory: true",
            parent.display()
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIVER: &str = "receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:0'}}}}\n";

    /// What is wrong with this configuration, a line each, without the source's name.
    fn problems(yaml: &str) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _within = runtime.enter();
        match Configured::read(&[format!("yaml:{RECEIVER}{yaml}")], Config::default()) {
            Ok(_) => Vec::new(),
            Err(Invalid::Source(message)) => vec![message],
            Err(Invalid::Problems { errors, .. }) => errors
                .iter()
                .map(|it| format!("{}:{}: {}: {}", it.line, it.column, it.path, it.message))
                .collect(),
        }
    }

    #[test]
    fn what_a_start_would_refuse_is_told_at_its_place() {
        let pipeline = |exporter: &str| {
            format!("\nservice: {{pipelines: {{traces: {{receivers: [otlp], exporters: [{exporter}]}}}}}}\n")
        };
        let cases = [
            (format!("exporters: {{debug: {{}}}}{}", pipeline("debug")), ""),
            (
                format!("exporters: {{file: {{path: /nowhere/at/all.json}}}}{}", pipeline("file")),
                "2:13: exporters::file: `path`: the folder /nowhere/at is not there",
            ),
            (
                format!("exporters: {{file/x: {{path: /}}}}{}", pipeline("file/x")),
                "2:13: exporters::file/x: `path`: / is a folder",
            ),
            (
                format!(
                    "exporters: {{debug: {{}}}}\nextensions: {{throughline: {{ui: {{endpoint: 'box:1'}}}}}}{}",
                    pipeline("debug")
                ),
                "3:14: extensions::throughline: ui::endpoint: box:1 is a name; listen on an address, such as 127.0.0.1:1",
            ),
            (format!("exporters: {{debug: {{}}, nop: {{colour: red}}}}{}", pipeline("debug")), "2:"),
        ];
        for (yaml, expected) in cases {
            let problems = problems(&yaml);
            let as_expected = match expected {
                "" => problems.is_empty(),
                start => problems.len() == 1 && problems.iter().all(|it| it.starts_with(start)),
            };
            assert!(as_expected, "{yaml}: {problems:#?}");
        }
    }
}
