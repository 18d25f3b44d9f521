//! The stock pipeline a user has: the SDK's batch processor, and an exporter that encodes OTLP and throws it away, so
//! that the cost of encoding is in every figure and the cost of a network is in none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData,
    SpanExporter,
};
use prost::Message;

/// What reached the exporter.
#[derive(Clone, Debug, Default)]
pub struct Received {
    spans: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Received {
    /// Spans so far.
    #[must_use]
    pub fn spans(&self) -> u64 {
        self.spans.load(Ordering::Relaxed)
    }

    /// Encoded bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Encode {
    received: Received,
    resource: ResourceAttributesWithSchema,
}

impl SpanExporter for Encode {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        self.received.spans.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        self.received.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        std::future::ready(Ok(()))
    }
}

/// A provider with the stock batch processor in front of the encoder; at most `queue` spans may wait.
#[must_use]
pub fn stock(queue: usize) -> (SdkTracerProvider, Received) {
    let received = Received::default();
    let resource = Resource::builder().with_service_name("bench").build();
    let exporter = Encode { received: received.clone(), resource: (&resource).into() };
    let batch =
        BatchConfigBuilder::default().with_max_queue_size(queue).with_max_export_batch_size(512).build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batch).build();
    let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_resource(resource)
        .with_sampler(sampler)
        .build();
    (provider, received)
}

/// A provider that keeps its spans, to compare what two contenders write.
#[must_use]
pub fn in_memory() -> (SdkTracerProvider, InMemorySpanExporter) {
    let exporter = InMemorySpanExporter::default();
    (SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build(), exporter)
}
