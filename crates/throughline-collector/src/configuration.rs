//! The OpenTelemetry Collector's YAML, read, merged, checked: text in, plain data out. What is unknown is an error with
//! its line and column, what is known and means nothing here is a note; nothing is silently ignored.
//!
//! In the order a text travels: `source` has it, `yaml` makes it a tree that knows its places, `node` lays one tree over
//! another, `expand` replaces `${env:X}`, `read` asks the tree for typed values, a file per section turns them into data
//! (`receivers`, `processors` with `sampling`, `exporters`, `extensions`, `service`), `check` looks at it as a whole.
//!
//! It starts nothing, resolves no name and opens no file but those of the configuration itself; [`Loaded::unreadable`]
//! looks at the others, so that `validate` catches what a start would.

mod balancing;
mod check;
mod component;
mod endpoint;
mod expand;
mod exporters;
mod extensions;
mod kafka;
mod node;
mod problem;
mod processors;
mod quantity;
mod read;
mod receivers;
mod sampling;
mod scalar;
mod sending;
mod service;
mod source;
mod tls;
mod words;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use balancing::{DnsResolver, LoadBalancingExporter, Resolver, Routing};
pub use component::ComponentId;
pub use endpoint::{Host, HostPort, Scheme, Url};
pub use exporters::{
    DebugExporter, Exporter, FileCompression, FileExporter, Folders, Opening, OtlpExporter, OtlpHttpExporter,
    Rotation, StoreExporter, Verbosity,
};
pub use extensions::{BearerToken, Extension, Peers, Throughline, Tokens};
pub use kafka::{
    Acknowledgements, Encoding, InitialOffset, KafkaClient, KafkaCompression, KafkaExporter, KafkaLogin,
    KafkaReceiver, Partitioning, SaslMechanism, Topic, Topics,
};
pub use problem::{Errors, NamedFile, Problem};
pub use processors::{Batch, MemoryLimit, MemoryLimiter, Processor};
pub use receivers::{Cors, GrpcServer, HttpServer, OtlpReceiver, Receiver};
pub use sending::{Backoff, Compression, Retry, Sending};
pub use service::{LogLevel, MetricsLevel, Pipeline, PipelineId, Service, Telemetry};
pub use source::{Source, SourceError};
pub use tls::{ClientTls, Pem, ServerTls, SystemCa, TlsVersion, Transport, Verification};

use check::Check;
use expand::Expander;
use node::{Node, Value};
use problem::{Closed, Findings, Place};
use read::{At, Block};
use service::WrittenService;
use words::{listed, nearest};

/// A whole configuration: what is defined, and which of it runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// `receivers`
    pub receivers: BTreeMap<ComponentId, Receiver>,
    /// `processors`
    pub processors: BTreeMap<ComponentId, Processor>,
    /// `exporters`
    pub exporters: BTreeMap<ComponentId, Exporter>,
    /// `extensions`
    pub extensions: BTreeMap<ComponentId, Extension>,
    /// `service`; what it names is defined.
    pub service: Service,
}

/// A configuration that can be used, and what is worth saying about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub configuration: Configuration,
    /// Keys without effect, components that nothing uses, variables that are not set.
    pub notes: Vec<Problem>,
    /// Files that must be there at the start: certificates, keys, tokens.
    pub files: Vec<NamedFile>,
    /// Where each component stands, by its path (`receivers::otlp/in`); no messages.
    pub components: Vec<Problem>,
}

impl Configuration {
    /// Reads `sources`, each laid over those before it, with `environment` for `${env:X}`.
    ///
    /// # Errors
    /// [`Errors`] with everything that is wrong, each with its place.
    pub fn load(sources: &[Source], environment: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Errors> {
        load(sources, environment).0
    }

    /// The extension `throughline`, or its defaults.
    #[must_use]
    pub fn throughline(&self) -> Throughline {
        let ours = self.extensions.values().find_map(|extension| match extension {
            Extension::Throughline(ours) => Some(ours.as_ref().clone()),
            _ => None,
        });
        ours.unwrap_or_default()
    }
}

impl Loaded {
    /// A sentence about the component of this path, at its place in the sources.
    #[must_use]
    pub fn about(&self, component: &str, message: String) -> Problem {
        let known = self.components.iter().find(|known| known.path == component);
        let nowhere = || Problem {
            file: "--config".to_owned(),
            line: 1,
            column: 1,
            path: component.to_owned(),
            message: String::new(),
        };
        Problem { message, ..known.cloned().unwrap_or_else(nowhere) }
    }

    /// The named files that can not be read now, in the words of an error.
    #[must_use]
    pub fn unreadable(&self) -> Vec<Problem> {
        let problem = |named: &NamedFile| {
            let error = std::fs::File::open(&named.file).and_then(|file| file.metadata()).err()?;
            let message = format!("cannot read {}: {error}", named.file.display());
            Some(Problem { message, ..named.place.clone() })
        };
        self.files.iter().filter_map(problem).collect()
    }
}

/// Keys that the readers know, each with the path of its block.
type Asked = std::collections::BTreeSet<(String, &'static str)>;

/// Also says which keys were asked for; the reference documentation is held against them.
fn load(sources: &[Source], environment: &dyn Fn(&str) -> Option<String>) -> (Result<Loaded, Errors>, Asked) {
    let findings = Findings::new(sources.iter().map(|source| source.name.clone()).collect());
    let mut configuration = Configuration::default();
    if let Some(mut root) = merged(sources, &findings) {
        Expander::new(environment, &findings).expand(&mut root, "");
        if findings.errors() == 0 {
            configuration = read(&root, &findings);
        }
    }
    let Closed { errors, notes, asked, files, components } = findings.close();
    let result = if errors.is_empty() {
        Ok(Loaded { configuration, notes, files, components })
    } else {
        Err(Errors { problems: errors })
    };
    (result, asked)
}

/// All sources as one tree; nothing if one is no tree, or all are empty.
fn merged(sources: &[Source], findings: &Findings) -> Option<Node> {
    let mut whole: Option<Node> = None;
    let mut sound = true;
    for (index, source) in sources.iter().enumerate() {
        match yaml::parse(index, &source.text) {
            Ok(Node { value: Value::Null, .. }) => {}
            Ok(mut node @ Node { value: Value::Map(_), .. }) => {
                node.unfold_paths();
                match &mut whole {
                    Some(whole) => whole.merge(node),
                    None => whole = Some(node),
                }
            }
            Ok(node) => {
                sound = false;
                findings.error(node.place, "", format!("is {}, expected a map", node.kind()));
            }
            Err(error) => {
                sound = false;
                findings.error(error.place, "", error.message);
            }
        }
    }
    if whole.is_none() && sound {
        let place = Place { source: sources.len().saturating_sub(1), line: 1, column: 1 };
        findings.error(place, "", "is empty, expected `receivers`, `exporters` and `service`");
    }
    whole.filter(|_| sound)
}

fn read(root: &Node, findings: &Findings) -> Configuration {
    let at = At::new(root, "", findings);
    let Some(mut top) = at.block() else { return Configuration::default() };
    let mut sections = Sections { top: &mut top, defined: BTreeMap::new() };
    let extensions = sections.read("extensions", extensions::KINDS, extensions::extension);
    let receivers = sections.read("receivers", receivers::KINDS, receivers::receiver);
    let processors = sections.read("processors", processors::KINDS, processors::processor);
    let exporters = sections.read("exporters", exporters::KINDS, exporters::exporter);
    let defined = sections.defined;
    let service = top.required("service").map(|at| service::service(&at));
    if let Some(at) = top.get("connectors").filter(|at| !at.entries().is_empty()) {
        at.error("is not supported: a pipeline's exporters are the end of it; use two pipelines");
    }
    top.finish();
    let service = service.unwrap_or_else(|| WrittenService::new(findings));
    let mut configuration =
        Configuration { receivers, processors, exporters, extensions, service: Service::default() };
    Check { configuration: &configuration, service: &service, defined: &defined }.run();
    configuration.service = service.service();
    configuration
}

/// Reads maps from ids to components, and remembers where each stands.
struct Sections<'a, 'b> {
    top: &'b mut Block<'a>,
    defined: BTreeMap<(&'static str, ComponentId), At<'a>>,
}

impl<'a> Sections<'a, '_> {
    fn read<T>(
        &mut self,
        section: &'static str,
        kinds: &[&str],
        component: impl Fn(&ComponentId, &At<'a>) -> Option<T>,
    ) -> BTreeMap<ComponentId, T> {
        let mut read = BTreeMap::new();
        for (entry, at) in self.top.get(section).map(|at| at.entries()).unwrap_or_default() {
            let place = entry.place;
            let id = match ComponentId::parse(&entry.key) {
                Ok(id) => id,
                Err(message) => {
                    at.findings.error(place, section, message);
                    continue;
                }
            };
            if !kinds.contains(&id.kind.as_str()) {
                let message = format!(
                    "there is no `{}`, expected {}{}",
                    id.kind,
                    listed(kinds),
                    nearest(&id.kind, kinds)
                );
                at.findings.error(place, &at.path, message);
                continue;
            }
            if let Some(component) = component(&id, &at) {
                read.insert(id.clone(), component);
            }
            at.findings.component(place, at.path.clone());
            self.defined.insert((section, id), at);
        }
        read
    }
}
