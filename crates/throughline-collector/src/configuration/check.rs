//! What no component can say by itself: that what is named is defined, that nothing is defined in vain, that a pipeline
//! makes sense, that no two servers want one port.

use std::collections::BTreeMap;

use throughline_otlp::Signal;
use throughline_sampling::settings::Rule;

use super::Configuration;
use super::component::ComponentId;
use super::endpoint::{Host, HostPort};
use super::exporters::Exporter;
use super::extensions::{Extension, Throughline};
use super::processors::Processor;
use super::quantity::show;
use super::read::At;
use super::receivers::Receiver;
use super::service::{Use, Written, WrittenService};
use super::words::{listed, nearest};

/// Everything that is read, and where it is written.
pub(super) struct Check<'a, 'b> {
    pub(super) configuration: &'b Configuration,
    pub(super) service: &'b WrittenService<'a>,
    /// Places of the components by section and id.
    pub(super) defined: &'b BTreeMap<(&'static str, ComponentId), At<'a>>,
}

impl<'a> Check<'a, '_> {
    pub(super) fn run(&self) {
        for pipeline in &self.service.pipelines {
            self.pipeline(pipeline);
        }
        self.references("extensions", &self.service.extensions);
        self.unused();
        self.authenticators();
        self.stores();
        self.look_back();
        self.ports();
    }

    fn pipeline(&self, pipeline: &Written<'a>) {
        self.references("receivers", &pipeline.receivers);
        self.references("processors", &pipeline.processors);
        self.references("exporters", &pipeline.exporters);
        if pipeline.receivers.is_empty() {
            pipeline.at.error("has no `receivers`: nothing would come in");
        }
        if pipeline.exporters.is_empty() {
            pipeline.at.error("has no `exporters`: nothing would go out");
        }
        let twin = self.service.pipelines.iter().find(|other| other.id == pipeline.id);
        if twin.is_some_and(|twin| twin.at.path != pipeline.at.path) {
            pipeline.at.error(format!("is a second pipeline `{}`", pipeline.id));
        }
        processors(pipeline);
        for used in &pipeline.exporters {
            self.takes(pipeline.id.signal, used);
        }
    }

    /// Whether an exporter can send a signal.
    fn takes(&self, signal: Signal, used: &Use<'a>) {
        let Some(exporter) = self.configuration.exporters.get(&used.id) else { return };
        if signal == Signal::Metrics {
            if !matches!(exporter, Exporter::Throughline(_) | Exporter::Nop | Exporter::Debug(_)) {
                let exporters = listed(&["throughline", "debug", "nop"]);
                let message = format!(
                    "`{}` sends no metrics: they are kept in memory only, and go to {exporters}",
                    used.id
                );
                used.at.error(message);
            }
            return;
        }
        if let Exporter::OtlpHttp(http) = exporter {
            let (url, key) = match signal {
                Signal::Traces => (&http.traces, "traces_endpoint"),
                _ => (&http.logs, "logs_endpoint"),
            };
            if url.is_none() {
                used.at.error(format!("`{}` has neither `endpoint` nor `{key}`", used.id));
            }
        }
    }

    fn references(&self, section: &'static str, uses: &[Use<'a>]) {
        for used in uses {
            if self.defined.contains_key(&(section, used.id.clone())) {
                continue;
            }
            let ids: Vec<String> = self.ids(section).map(ToString::to_string).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let name = used.id.to_string();
            let message = format!(
                "`{name}` is not defined; under `{section}` there is {}{}",
                listed(&ids),
                nearest(&name, &ids)
            );
            used.at.error(message);
        }
    }

    fn ids(&self, section: &'static str) -> impl Iterator<Item = &ComponentId> {
        self.defined.keys().filter(move |(of, _)| *of == section).map(|(_, id)| id)
    }

    fn is_used(&self, section: &str, id: &ComponentId) -> bool {
        let among = |uses: &[Use<'_>]| uses.iter().any(|used| used.id == *id);
        match section {
            "extensions" => among(&self.service.extensions),
            "receivers" => self.service.pipelines.iter().any(|pipeline| among(&pipeline.receivers)),
            "processors" => self.service.pipelines.iter().any(|pipeline| among(&pipeline.processors)),
            _ => self.service.pipelines.iter().any(|pipeline| among(&pipeline.exporters)),
        }
    }

    fn unused(&self) {
        for ((section, id), at) in self.defined {
            if self.is_used(section, id) {
                continue;
            }
            if *section != "extensions" {
                at.note("has no effect: no pipeline uses it");
            } else if id.kind == "health_check" || id.kind == "file_storage" {
                // Said where it is read.
            } else if id.kind == "throughline" {
                at.note("takes effect, though it is not listed under `service::extensions`");
            } else {
                at.note("has no effect: it is not listed under `service::extensions`");
            }
        }
    }

    /// An authenticator is an extension that checks tokens, and that runs.
    fn authenticators(&self) {
        for mention in self.service.findings.mentions() {
            let message = match self.configuration.extensions.get(&mention.id) {
                Some(Extension::BearerToken(_)) if self.is_used("extensions", &mention.id) => continue,
                Some(Extension::BearerToken(_)) => "is not listed under `service::extensions`: list it there",
                Some(_) => "checks no tokens, expected a `bearertokenauth`",
                None if self.defined.contains_key(&("extensions", mention.id.clone())) => continue,
                None => "is not defined under `extensions`",
            };
            self.service.findings.error(mention.place, &mention.path, format!("`{}` {message}", mention.id));
        }
    }

    /// There is one store.
    fn stores(&self) {
        let mut first: Option<&ComponentId> = None;
        for (id, exporter) in &self.configuration.exporters {
            if !matches!(exporter, Exporter::Throughline(_)) || !self.is_used("exporters", id) {
                continue;
            }
            match (first, self.defined.get(&("exporters", id.clone()))) {
                (Some(first), Some(at)) => {
                    at.error(format!("is a second store beside `{first}`: there is one"))
                }
                _ => first = Some(id),
            }
        }
    }

    /// What a linked trace may be looked up in is what the journal keeps.
    fn look_back(&self) {
        let kept = self.configuration.throughline().look_back;
        for (id, processor) in &self.configuration.processors {
            let Processor::TailSampling(settings) = processor else { continue };
            let longest = settings.policies.iter().filter_map(|policy| match &policy.rule {
                Rule::LinkedTraces(links) => Some(links.look_back),
                _ => None,
            });
            let longest = longest.max().unwrap_or_default();
            let Some(at) = self.defined.get(&("processors", id.clone())).filter(|_| longest > kept) else {
                continue;
            };
            at.error(format!(
                "looks back {} for linked traces, but what was dropped is kept for {}: raise `look_back` of the extension `throughline`",
                show(longest),
                show(kept)
            ));
        }
    }

    /// Every server of the process, and where it is written.
    fn servers(&self) -> Vec<(HostPort, &At<'a>, String)> {
        let mut servers = Vec::new();
        for (id, receiver) in &self.configuration.receivers {
            let Some(at) = self.defined.get(&("receivers", id.clone())) else { continue };
            if !self.is_used("receivers", id) {
                continue;
            }
            if let Receiver::Otlp(otlp) = receiver {
                servers
                    .extend(otlp.grpc.iter().map(|grpc| (grpc.endpoint.clone(), at, format!("{id} (grpc)"))));
                servers
                    .extend(otlp.http.iter().map(|http| (http.endpoint.clone(), at, format!("{id} (http)"))));
            }
        }
        let ours = ComponentId { kind: "throughline".to_owned(), name: None };
        if let (Some(Extension::Throughline(extension)), Some(at)) =
            (self.configuration.extensions.get(&ours), self.defined.get(&("extensions", ours.clone())))
        {
            let Throughline { ui, tempo, peers, .. } = extension.as_ref();
            servers.extend(ui.iter().map(|ui| (ui.clone(), at, "ui".to_owned())));
            servers.extend(tempo.iter().map(|tempo| (tempo.clone(), at, "tempo".to_owned())));
            servers.extend(peers.iter().map(|peers| (peers.endpoint.clone(), at, "peers".to_owned())));
        }
        if let (Some(address), Some(at)) = (&self.service.telemetry.prometheus, &self.service.prometheus_at) {
            servers.push((address.clone(), at, "telemetry".to_owned()));
        }
        servers
    }

    fn ports(&self) {
        let servers = self.servers();
        for (index, (endpoint, at, name)) in servers.iter().enumerate() {
            let other = servers.iter().take(index).find(|(earlier, _, _)| collide(earlier, endpoint));
            if let Some((earlier, other_at, other)) = other
                // Of one receiver it has been said where the protocols are read.
                && (other_at.path != at.path || at.path.starts_with("extensions"))
            {
                at.error(format!(
                    "{name} would listen on {endpoint}, where {other} listens already ({earlier})"
                ));
            }
        }
    }
}

fn collide(left: &HostPort, right: &HostPort) -> bool {
    let everywhere = |host: &Host| matches!(host, Host::Address(address) if address.is_unspecified());
    let same = match (left.socket(), right.socket()) {
        (Some(left), Some(right)) => left.ip() == right.ip(),
        _ => left.host == right.host,
    };
    left.port == right.port && left.port != 0 && (same || everywhere(&left.host) || everywhere(&right.host))
}

/// Kinds and order.
fn processors(pipeline: &Written<'_>) {
    let kind = |used: &Use<'_>, kind: &str| used.id.kind == kind;
    let sampling: Vec<usize> = positions(pipeline, "tail_sampling");
    for index in &sampling {
        let Some(used) = pipeline.processors.get(*index) else { continue };
        if pipeline.id.signal != Signal::Traces {
            used.at.error("`tail_sampling` decides about traces: it can only stand in a `traces` pipeline");
        }
    }
    for second in ["tail_sampling", "batch", "memory_limiter"] {
        if let Some(used) =
            positions(pipeline, second).get(1).and_then(|index| pipeline.processors.get(*index))
        {
            used.at.error(format!("is a second `{second}` in this pipeline: there can be one"));
        }
    }
    let first_sampling = sampling.first().copied();
    for (index, used) in pipeline.processors.iter().enumerate() {
        if kind(used, "memory_limiter") && index > 0 {
            used.at.note("acts before the other processors, wherever it stands: write it first");
        }
        if kind(used, "batch") && first_sampling.is_some_and(|sampling| index < sampling) {
            used.at.note("batches what is sent, after `tail_sampling`, wherever it stands: write it last");
        }
    }
}

fn positions(pipeline: &Written<'_>, kind: &str) -> Vec<usize> {
    let of_kind = pipeline.processors.iter().enumerate().filter(|(_, used)| used.id.kind == kind);
    of_kind.map(|(index, _)| index).collect()
}
