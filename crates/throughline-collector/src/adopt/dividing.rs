//! Receivers that read topics, and pipelines whose traces are divided among the processes that read them.

use std::collections::BTreeMap;

use throughline_otlp::Signal;

use super::Adopting;
use crate::configuration::{ComponentId, KafkaReceiver};
use crate::receive::kafka;
use crate::topology::{Division, Receiver, Topics, Topology, Web};

impl Adopting<'_> {
    pub(super) fn kafka_receiver(&mut self, id: &ComponentId, receiver: &KafkaReceiver) -> Option<Receiver> {
        let pipelines = self.configuration.service.pipelines.iter();
        let mut signals: Vec<Signal> = pipelines
            .filter(|pipeline| pipeline.receivers.contains(id))
            .map(|pipeline| pipeline.id.signal)
            .collect();
        signals.sort_unstable_by_key(|signal| *signal as u8);
        signals.dedup();
        let look_back = self.configuration.throughline().look_back;
        let topics = Topics { receiver: receiver.clone(), signals, look_back };
        if let Some(topic) = shared_topic(&topics) {
            let problem = format!("topic {topic} is read for two signals; give each a topic of its own");
            self.refuse("receivers", id, problem);
            return None;
        }
        if let Err(error) = kafka::check(&topics) {
            self.refuse("receivers", id, error.to_string());
            return None;
        }
        let name = id.to_string();
        Some(Receiver { name, grpc: None, http: None, web: Web::default(), kafka: Some(Box::new(topics)) })
    }

    /// A pipeline that samples what comes from Kafka shares its traces with the other processes of the consumer group.
    pub(super) fn divide(&mut self, topology: &mut Topology) {
        let mut problems = Vec::new();
        let feeds: BTreeMap<u16, usize> = topology
            .pipelines
            .iter()
            .flat_map(|pipeline| &pipeline.receivers)
            .fold(BTreeMap::new(), |mut feeds, receiver| {
                *feeds.entry(*receiver).or_default() += 1;
                feeds
            });
        let Topology { receivers, pipelines } = topology;
        for pipeline in pipelines.iter_mut().filter(|pipeline| pipeline.sampling.is_some()) {
            let from_kafka =
                |number: &u16| receivers.get(usize::from(*number)).is_some_and(|it| it.kafka.is_some());
            let Some(number) = pipeline.receivers.iter().copied().find(|number| from_kafka(number)) else {
                continue;
            };
            pipeline.division = Division::Partitions;
            let reads = receivers.get(usize::from(number)).and_then(|receiver| receiver.kafka.as_ref());
            let topics = reads.map_or(0, |topics| topics.receiver.traces.names.len());
            let problem = if pipeline.receivers.len() > 1 {
                "samples what comes from Kafka and takes spans from another receiver too; which process a trace belongs to \
                 is its topic's partition, so send everything through the topic"
            } else if feeds.get(&number).is_some_and(|count| *count > 1) {
                "samples what comes from Kafka through a receiver that feeds another pipeline too; define a second receiver, \
                 with a `group_id` of its own"
            } else if topics > 1 {
                "samples what comes from several topics of Kafka; name one, as a trace belongs to one partition"
            } else {
                continue;
            };
            problems.push((pipeline.name.clone(), problem));
        }
        for (pipeline, problem) in problems {
            self.errors.push(super::AdoptError {
                component: format!("service::pipelines::{pipeline}"),
                problem: problem.to_owned(),
            });
        }
    }
}

/// A topic whose records would be two things.
fn shared_topic(topics: &Topics) -> Option<String> {
    let names = |signal: &Signal| match signal {
        Signal::Traces => &topics.receiver.traces.names,
        Signal::Logs => &topics.receiver.logs.names,
        Signal::Metrics => &topics.receiver.metrics.names,
    };
    let mut all: Vec<&String> = topics.signals.iter().flat_map(names).collect();
    all.sort_unstable();
    all.windows(2)
        .find(|pair| pair.first() == pair.last())
        .and_then(|pair| pair.first().map(|name| (*name).clone()))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::configuration::{Configuration, Source};
    use crate::topology::Division;

    /// What becomes of a configuration with these receivers and pipelines: how each pipeline is divided, or what is wrong.
    fn check(receivers: &str, pipelines: &str) -> Result<Vec<Division>, Vec<String>> {
        let text = format!(
            "receivers: {{{receivers}}}\nexporters: {{throughline: {{}}}}\nprocessors: {{tail_sampling: {{policies: \
             [{{name: all, type: always_sample}}]}}}}\nservice: {{pipelines: {{{pipelines}}}}}"
        );
        let loaded = Configuration::load(&[Source::new("test", text)], &|_| None);
        let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
        let config = Config::adopt(&loaded.configuration, Config::default());
        let config =
            config.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<String>>())?;
        let pipelines = config.topology.expect("a topology").pipelines;
        Ok(pipelines.iter().map(|pipeline| pipeline.division).collect())
    }

    const SAMPLES: &str = "processors: [tail_sampling], exporters: [throughline]";

    #[test]
    fn what_samples_from_kafka_is_divided_and_nothing_else() {
        let from = |receivers: &str| format!("traces: {{receivers: [{receivers}], {SAMPLES}}}");
        let kept = "exporters: [throughline]";
        let otlp = "otlp: {protocols: {grpc: {endpoint: '127.0.0.1:0'}}}";
        assert_eq!(check("kafka: {}", &from("kafka")), Ok(vec![Division::Partitions]));
        assert_eq!(check(otlp, &from("otlp")), Ok(vec![Division::Shards]));
        let all = format!("traces: {{receivers: [kafka], {kept}}}, logs: {{receivers: [kafka], {kept}}}");
        assert_eq!(check("kafka: {}", &all), Ok(vec![Division::Shards; 2]));
        for (receivers, pipelines, expected) in [
            (
                format!("kafka: {{}}, {otlp}"),
                from("kafka, otlp"),
                "service::pipelines::traces: samples what comes from Kafka and takes spans from another receiver too",
            ),
            (
                "kafka: {}".to_owned(),
                format!("{}, logs: {{receivers: [kafka], {kept}}}", from("kafka")),
                "service::pipelines::traces: samples what comes from Kafka through a receiver that feeds another",
            ),
            (
                "kafka: {traces: {topics: [a, b]}}".to_owned(),
                from("kafka"),
                "service::pipelines::traces: samples what comes from several topics",
            ),
            (
                "kafka: {topic: all}".to_owned(),
                all.clone(),
                "receivers::kafka: topic all is read for two signals",
            ),
            (
                "kafka: {tls: {}}".to_owned(),
                from("kafka"),
                "receivers::kafka: `tls`: this build's Kafka client has no TLS",
            ),
        ] {
            let errors = check(&receivers, &pipelines).expect_err(expected);
            assert!(errors.iter().any(|error| error.starts_with(expected)), "{errors:?} is not {expected}");
        }
    }
}
