//! From a [`Topology`] to pipelines that run: what is made, in which order, and what is told of an earlier life before
//! anything new comes.

mod unclaimed;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use throughline_journal::{Journal, Position, RecordKind};
use throughline_otlp::Signal;
use throughline_sampling::Shard;
use throughline_sampling::facts::Now;
use tokio::task::JoinSet;

use self::unclaimed::Unclaimed;
use crate::backend::StartError;
use crate::config::Config;
use crate::delivery::checkpoint::Checkpoint;
use crate::delivery::read_back::{Reasons, Source};
use crate::delivery::{self, Delivery};
use crate::export::balance::LoadBalancer;
use crate::export::debug::DebugExporter;
use crate::export::file::FileExporter;
use crate::export::kafka::KafkaExporter;
use crate::export::otlp::OtlpExporter;
use crate::export::resolver::Resolver;
use crate::export::{self, Outcome, SettingError};
use crate::intake::origin::Held;
use crate::intake::wall_clock;
use crate::keep::{Feeds, Keep};
use crate::ledger::Ledger;
use crate::lines::Lines;
use crate::outlet::Outlet;
use crate::peers::Peers;
use crate::sampler::elsewhere::Elsewhere;
use crate::sampler::record::Decided;
use crate::sampler::{self, Form, Sampler};
use crate::topology::{Division, End, Exporter, ExporterSettings, Pipeline, Topology};

/// Most bytes of a request that is sent, what is around an item apart: what every backend takes.
const REQUEST_BYTES: usize = 2 * 1024 * 1024;

/// Pipelines that are built and restored, and do not run yet.
pub(crate) struct Built {
    pub(crate) lines: Arc<Lines>,
    /// The shards of each sampler.
    shards: Vec<Vec<Shard>>,
    /// What each delivery sends with.
    settings: Vec<ExporterSettings>,
    /// What the journal said besides.
    past: Restored,
}

/// What the journal said of itself.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// First position that nobody has seen.
    pub(crate) next: u64,
    /// The last checkpoint, and where it stands.
    pub(crate) checkpoint: Option<(Checkpoint, u64)>,
    /// What it has of partitions of Kafka.
    held: Held,
    /// What nobody gets.
    unclaimed: Unclaimed,
    /// The last decisions, as they stand in it: when, and where.
    recent: VecDeque<(u64, u64, Vec<u8>)>,
}

/// Decisions of so long before the last record are told to peers once more: the first telling may not have arrived.
const RECENT: Duration = Duration::from_secs(60);

/// Pipelines that run.
pub(crate) struct Running {
    samplers: Vec<sampler::Threads>,
    exporters: Vec<delivery::Running>,
    /// They keep the rings of load-balancing exporters up to date.
    resolvers: JoinSet<()>,
    /// What the journal has of partitions of Kafka.
    pub(crate) held: Held,
}

/// What of the journal belongs into the store.
pub(crate) fn feeds(topology: &Topology) -> Feeds {
    let mut feeds = Feeds::default();
    let stored = |pipeline: &&Pipeline| pipeline.ends.iter().any(|end| matches!(end, End::Store));
    for pipeline in topology.pipelines.iter().filter(stored) {
        match (pipeline.signal, &pipeline.sampling) {
            (Signal::Traces, Some(_)) => feeds.kept.push(pipeline.name.clone()),
            (Signal::Traces, None) => feeds.traces.extend(&pipeline.receivers),
            (Signal::Logs, _) => feeds.logs.extend(&pipeline.receivers),
            (Signal::Metrics, _) => {}
        }
    }
    feeds
}

/// Builds every pipeline and tells it what the journal holds. Reads the journal: off the runtime's threads.
pub(crate) fn build(topology: &Topology, journal: &Journal, keep: &Arc<Keep>, config: &Config) -> Built {
    let mut built = Building::default();
    for pipeline in &topology.pipelines {
        built.add(pipeline, journal, keep, config);
    }
    let Building { samplers, deliveries, settings, mut shards } = built;
    let lines = Lines { samplers, deliveries, keep: Some(Arc::clone(keep)), reach: Mutex::default() };
    let now = Now { wall: wall_clock(), mono: Duration::ZERO };
    let past = restore(now, &lines, journal, &mut shards);
    Built { lines: Arc::new(lines), shards, settings, past }
}

#[derive(Default)]
struct Building {
    samplers: Vec<Arc<Sampler>>,
    deliveries: Vec<Arc<Delivery>>,
    settings: Vec<ExporterSettings>,
    shards: Vec<Vec<Shard>>,
}

impl Building {
    fn add(&mut self, pipeline: &Pipeline, journal: &Journal, keep: &Arc<Keep>, config: &Config) {
        let mut outlets = Vec::new();
        for end in &pipeline.ends {
            match end {
                End::Store => outlets.push(Outlet::Store(Arc::clone(keep))),
                End::Exporter(exporter) => {
                    let settings = delivery_settings(pipeline, exporter);
                    let delivery = Delivery::new(settings, journal.clone());
                    outlets.push(Outlet::Exporter(Arc::clone(&delivery)));
                    self.deliveries.push(delivery);
                    self.settings.push(exporter.settings.clone());
                }
            }
        }
        if let Some(plan) = &pipeline.sampling {
            let build = sampler::Build {
                pipeline: pipeline.name.clone(),
                intakes: pipeline.receivers.clone(),
                plan: Arc::clone(plan),
                budgets: Arc::new(plan.budgets()),
                outlets,
                form: match pipeline.division {
                    Division::Shards => Form::Shards(config.shards),
                    Division::Partitions => Form::Partitions,
                },
                before: None,
                grace: config.grace,
                look_back: config.look_back,
                ask_wait: config.peers.as_ref().map_or(Duration::ZERO, |peers| peers.ask_wait()),
            };
            let (sampler, shards) = Sampler::new(build, journal.clone());
            self.samplers.push(sampler);
            self.shards.push(shards);
        }
    }
}

fn delivery_settings(pipeline: &Pipeline, exporter: &Exporter) -> delivery::Settings {
    let source = match pipeline.sampling {
        Some(_) => Source::Kept { pipeline: pipeline.name.clone(), reasons: Reasons::Unsaid },
        None => Source::Everything(pipeline.signal, pipeline.receivers.clone()),
    };
    delivery::Settings {
        name: format!("{}/{}", pipeline.name, exporter.name),
        source,
        batch_items: pipeline.batch.items.max(1),
        batch_bytes: REQUEST_BYTES,
        most_items: pipeline.batch.most_items.unwrap_or(u64::MAX),
        batch_wait: pipeline.batch.wait,
        in_flight: exporter.in_flight,
        retry: exporter.retry.clone(),
    }
}

/// Tells everybody what the journal holds, in order.
pub(crate) fn restore(now: Now, lines: &Lines, journal: &Journal, shards: &mut [Vec<Shard>]) -> Restored {
    // Without samplers and exporters only the store's rest matters.
    let all = !lines.samplers.is_empty() || !lines.deliveries.is_empty();
    let committed = lines.keep.as_ref().and_then(|keep| keep.committed());
    let records = match committed {
        Some(committed) if !all => journal.records_after(Position(committed)),
        _ => journal.records_from(Position(0)),
    };
    let (mut checkpoint, mut held, mut recent) = (None, Held::default(), VecDeque::new());
    let mut unclaimed = Unclaimed::default();
    // What cannot be read was found and reported when the journal was opened.
    for record in records.flatten() {
        if record.kind == RecordKind::ExporterAcknowledgement {
            match Checkpoint::decode(&record.payload) {
                Ok(read) => {
                    unclaimed.delivered(&read);
                    checkpoint = Some((read, record.position.0));
                }
                Err(error) => tracing::error!(%error, "how far the exporters were cannot be read"),
            }
        }
        if record.kind == RecordKind::Decisions {
            recent.push_back((record.arrived, record.position.0, record.payload.to_vec()));
        }
        let since = record.arrived.saturating_sub(RECENT.as_nanos() as u64);
        recent.drain(..recent.partition_point(|(arrived, ..)| *arrived < since));
        lines.restore(now, &record, shards, &mut held);
        unclaimed.note(&record, lines);
    }
    let stored = committed.filter(|_| checkpoint.is_none());
    stored.into_iter().for_each(|last| unclaimed.needed_from(last.saturating_add(1)));
    let next = journal.stats().last.map_or(0, |last| last.0.saturating_add(1));
    for delivery in &lines.deliveries {
        delivery.resume(checkpoint.as_ref().map(|(checkpoint, _)| checkpoint), next);
    }
    if let Some(last) = next.checked_sub(1) {
        lines.heard_to(last);
    }
    Restored { next, checkpoint, held, unclaimed, recent }
}

impl Built {
    /// Says what the journal holds for nobody. `receivers` are the names of all that it knows, by number.
    pub(crate) fn report(&self, receivers: &[String]) {
        self.past.unclaimed.report(receivers);
    }

    /// The books of these pipelines, as the journal had them.
    pub(crate) fn books(&self, journal: &Journal) -> Arc<Ledger> {
        Ledger::new(journal.clone(), Arc::clone(&self.lines), self.past.checkpoint.clone())
    }

    /// Starts the shards and the exporters.
    pub(crate) fn start(
        self,
        config: &Config,
        peers: Option<&Arc<Peers>>,
    ) -> Result<(Arc<Lines>, Running), StartError> {
        let Self { lines, shards, settings, past } = self;
        for (sampler, peers) in lines.samplers.iter().flat_map(|sampler| peers.map(|peers| (sampler, peers)))
        {
            sampler.connect(Arc::clone(peers) as Arc<dyn Elsewhere>);
        }
        if let Some(peers) = peers {
            // What cannot be read was reported when it was restored.
            let recent =
                past.recent.iter().map(|(_, position, payload)| (*position, Decided::decode(payload)));
            recent.for_each(|(position, decided)| {
                decided.iter().for_each(|decided| peers.decided(position, decided));
            });
        }
        let mut running = Running {
            samplers: Vec::new(),
            exporters: Vec::new(),
            resolvers: JoinSet::new(),
            held: past.held,
        };
        for (sampler, shards) in lines.samplers.iter().zip(shards) {
            running.samplers.push(sampler.start(shards, past.next).map_err(StartError::Thread)?);
        }
        for (delivery, settings) in lines.deliveries.iter().zip(settings) {
            let exporter = running
                .exporter(settings, config)
                .map_err(|source| StartError::Exporter { name: delivery.name().to_owned(), source })?;
            running.exporters.push(delivery.start(exporter).map_err(StartError::Thread)?);
        }
        Ok((lines, running))
    }
}

impl Running {
    fn exporter(
        &mut self,
        settings: ExporterSettings,
        config: &Config,
    ) -> Result<export::Exporter, SettingError> {
        Ok(match settings {
            ExporterSettings::Otlp(settings) => {
                export::Exporter::Otlp(Box::new(OtlpExporter::new(settings)?))
            }
            ExporterSettings::LoadBalancing(resolver, settings) => {
                let (resolver, ring) = Resolver::new(resolver)?;
                self.resolvers.spawn(resolver.run());
                export::Exporter::LoadBalancing(Box::new(LoadBalancer::new(settings, ring)?))
            }
            ExporterSettings::Kafka(settings) => {
                export::Exporter::Kafka(Box::new(KafkaExporter::new(&settings)?))
            }
            ExporterSettings::File(settings) => export::Exporter::File(FileExporter::new(settings)?),
            ExporterSettings::Debug(verbosity, sampling) => {
                let writer = (config.debug_output)();
                export::Exporter::Debug(DebugExporter::new(verbosity, sampling, writer))
            }
        })
    }

    /// Along the data path: decides what a shutdown decides, sends what there is, each for a while.
    pub(crate) async fn drain(self, how: sampler::Stop, limit: Duration) {
        let Self { samplers, exporters, resolvers: _resolvers, .. } = self;
        let stop = move || samplers.into_iter().for_each(|threads| threads.stop(how));
        if tokio::task::spawn_blocking(stop).await.is_err() {
            tracing::error!("stopping the shards panicked");
        }
        let mut draining = tokio::task::JoinSet::new();
        for exporter in exporters {
            draining.spawn(exporter.drain(limit));
        }
        while draining.join_next().await.is_some() {}
    }
}

impl delivery::Destination for export::Exporter {
    async fn send(&self, signal: Signal, request: export::Body) -> Outcome {
        Self::send(self, signal, request).await
    }
}
