//! From a checked [`Configuration`] to what runs: the one place that knows both. What the configuration may say and this
//! build cannot do is refused here, by name, before anything starts; `validate` asks the same.

mod dividing;
mod peers;
mod receiving;
mod sending;

use std::collections::BTreeMap;
use std::sync::Arc;

use throughline_sampling::Plan;

use crate::config::Config;
use crate::configuration::{
    ComponentId, Configuration, Exporter, Pipeline, Processor, Receiver, Throughline,
};
use crate::topology::{self, Batch, End, Memory, Topology, Wait};

/// What a configuration asks for that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{component}: {problem}")]
pub struct AdoptError {
    /// Which component, as in the configuration: `receivers::kafka/in`.
    pub component: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl Config {
    /// What runs under this configuration. What it leaves open stays as in `defaults`.
    ///
    /// # Errors
    /// [`AdoptError`] for each thing that this build cannot do.
    pub fn adopt(configuration: &Configuration, defaults: Self) -> Result<Self, Vec<AdoptError>> {
        let mut adopting = Adopting { configuration, errors: Vec::new(), receivers: BTreeMap::new() };
        let topology = adopting.topology();
        let ours = configuration.throughline();
        let peers = adopting.peers(&ours);
        let Adopting { errors, .. } = adopting;
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut config = extended(defaults, &ours);
        config.peers = peers;
        for exporter in configuration.exporters.values() {
            if let Exporter::Throughline(store) = exporter {
                config.retention_age = store.retention_age.unwrap_or(config.retention_age);
                config.retention_bytes = store.retention_bytes.unwrap_or(config.retention_bytes);
            }
        }
        if topology.pipelines.iter().any(|pipeline| pipeline.sampling.is_some()) {
            config.look_back_bytes = config.journal_bytes;
        }
        let errors = receiving::make_room(&mut config, &topology);
        if !errors.is_empty() {
            return Err(errors);
        }
        config.topology = Some(topology);
        Ok(config)
    }
}

fn extended(defaults: Config, ours: &Throughline) -> Config {
    let mut config = defaults;
    if let Some(data) = &ours.data {
        config.data = data.clone();
    }
    config.durability = ours.durability.unwrap_or(config.durability);
    config.journal_bytes = ours.journal_bytes.map_or(config.journal_bytes, u64::from);
    config.shards = ours.shards.map_or(config.shards, usize::from);
    config.grace = ours.restart_grace;
    config.look_back = ours.look_back;
    config.limits.drain = ours.drain;
    config.allow_hosts.extend(ours.allow_hosts.iter().cloned());
    config
}

struct Adopting<'a> {
    configuration: &'a Configuration,
    errors: Vec<AdoptError>,
    /// Numbers of the receivers that pipelines use.
    receivers: BTreeMap<ComponentId, u16>,
}

impl Adopting<'_> {
    fn topology(&mut self) -> Topology {
        let mut receivers = Vec::new();
        for (id, receiver) in &self.configuration.receivers {
            let used = |pipeline: &Pipeline| pipeline.receivers.contains(id);
            if !self.configuration.service.pipelines.iter().any(used) {
                continue;
            }
            let Ok(number) = u16::try_from(receivers.len()) else {
                self.refuse("receivers", id, "there are more than 65,535 receivers".to_owned());
                break;
            };
            if let Some(receiver) = self.receiver(id, receiver) {
                self.receivers.insert(id.clone(), number);
                receivers.push(receiver);
            }
        }
        let pipelines = &self.configuration.service.pipelines;
        let pipelines = pipelines.iter().map(|pipeline| self.pipeline(pipeline)).collect();
        let mut topology = Topology { receivers, pipelines };
        self.divide(&mut topology);
        topology
    }

    fn receiver(&mut self, id: &ComponentId, receiver: &Receiver) -> Option<topology::Receiver> {
        match receiver {
            Receiver::Otlp(otlp) => self.otlp_receiver(id, otlp),
            Receiver::Kafka(kafka) => self.kafka_receiver(id, kafka),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline) -> topology::Pipeline {
        let mut built = topology::Pipeline {
            name: pipeline.id.to_string(),
            signal: pipeline.id.signal,
            receivers: pipeline.receivers.iter().filter_map(|id| self.receivers.get(id).copied()).collect(),
            sampling: None,
            division: topology::Division::default(),
            memory: None,
            batch: Batch::default(),
            ends: Vec::new(),
        };
        for id in &pipeline.processors {
            self.process(id, &mut built);
        }
        for id in &pipeline.exporters {
            let Some(exporter) = self.configuration.exporters.get(id) else { continue };
            match self.end(id, exporter) {
                Ok(end) => built.ends.extend(end),
                Err(problem) => self.refuse("exporters", id, problem),
            }
        }
        built
    }

    fn process(&mut self, id: &ComponentId, pipeline: &mut topology::Pipeline) {
        match self.configuration.processors.get(id) {
            Some(Processor::TailSampling(settings)) => match Plan::compile(settings.clone()) {
                Ok(plan) => pipeline.sampling = Some(Arc::new(plan)),
                Err(error) => self.refuse("processors", id, error.to_string()),
            },
            Some(Processor::Batch(batch)) => {
                let (items, most_items) = (u64::from(batch.items.max(1)), batch.most_items.map(u64::from));
                pipeline.batch = Batch { items, wait: Wait::Always(batch.timeout), most_items };
            }
            Some(Processor::MemoryLimiter(limiter)) => {
                pipeline.memory = Some(Memory { name: id.to_string(), limiter: *limiter });
            }
            None => {}
        }
    }

    fn end(&self, id: &ComponentId, exporter: &Exporter) -> Result<Option<End>, String> {
        let exporter = match exporter {
            Exporter::Throughline(_) => return Ok(Some(End::Store)),
            Exporter::Nop => return Ok(None),
            Exporter::Kafka(kafka) => sending::kafka(kafka)?,
            Exporter::Otlp(otlp) => sending::otlp(otlp, self.configuration)?,
            Exporter::OtlpHttp(http) => sending::otlp_http(http, self.configuration)?,
            Exporter::LoadBalancing(balancing) => sending::load_balancing(balancing, self.configuration)?,
            Exporter::File(file) => sending::file(file)?,
            Exporter::Debug(debug) => sending::debug(*debug),
        };
        Ok(Some(End::Exporter(Box::new(topology::Exporter { name: id.to_string(), ..exporter }))))
    }

    fn refuse(&mut self, section: &str, id: &ComponentId, problem: String) {
        self.errors.push(AdoptError { component: format!("{section}::{id}"), problem });
    }
}
