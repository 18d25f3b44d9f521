//! Builds the OTLP exporter of one signal from its [`Target`]: HTTP over ureq, or gRPC behind the feature `otlp-grpc`.

use std::{collections::HashMap, sync::Arc};

use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig,
};

use super::{
    TelemetryError,
    client::{LastProblem, UreqClient},
    settings::{Compression, Protocol, Signal, Target},
};

pub(super) fn spans(target: &Target, problem: &LastProblem) -> Result<SpanExporter, TelemetryError> {
    let built = match target.protocol {
        Protocol::HttpProtobuf => over_http(SpanExporter::builder().with_http(), target, problem).build(),
        Protocol::Grpc => grpc::spans(target)?,
    };
    built.map_err(|source| refused(Signal::Traces, target, source))
}

pub(super) fn logs(target: &Target, problem: &LastProblem) -> Result<LogExporter, TelemetryError> {
    let built = match target.protocol {
        Protocol::HttpProtobuf => over_http(LogExporter::builder().with_http(), target, problem).build(),
        Protocol::Grpc => grpc::logs(target)?,
    };
    built.map_err(|source| refused(Signal::Logs, target, source))
}

pub(super) fn metrics(target: &Target, problem: &LastProblem) -> Result<MetricExporter, TelemetryError> {
    let built = match target.protocol {
        Protocol::HttpProtobuf => over_http(MetricExporter::builder().with_http(), target, problem).build(),
        Protocol::Grpc => grpc::metrics(target)?,
    };
    built.map_err(|source| refused(Signal::Metrics, target, source))
}

fn refused(signal: Signal, target: &Target, source: ExporterBuildError) -> TelemetryError {
    TelemetryError::Exporter { signal: signal.lower(), endpoint: target.endpoint.clone(), source }
}

fn over_http<B: WithHttpConfig + WithExportConfig>(builder: B, target: &Target, problem: &LastProblem) -> B {
    let client = UreqClient::new(&target.endpoint, target.timeout, problem.clone());
    let builder = builder
        .with_shared_http_client(Arc::new(client))
        .with_endpoint(&target.endpoint)
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_timeout(target.timeout)
        .with_headers(target.headers.iter().cloned().collect::<HashMap<_, _>>());
    match target.compression {
        Compression::Gzip => builder.with_compression(opentelemetry_otlp::Compression::Gzip),
        Compression::None => builder,
    }
}

#[cfg(feature = "otlp-grpc")]
mod grpc {
    use super::{
        Compression, ExporterBuildError, LogExporter, MetricExporter, SpanExporter, Target, TelemetryError,
        WithExportConfig,
    };
    use opentelemetry_otlp::{WithTonicConfig, tonic_types::metadata::MetadataMap};

    type Built<E> = Result<Result<E, ExporterBuildError>, TelemetryError>;

    pub(super) fn spans(target: &Target) -> Built<SpanExporter> {
        Ok(configured(SpanExporter::builder().with_tonic(), target)?.build())
    }

    pub(super) fn logs(target: &Target) -> Built<LogExporter> {
        Ok(configured(LogExporter::builder().with_tonic(), target)?.build())
    }

    pub(super) fn metrics(target: &Target) -> Built<MetricExporter> {
        Ok(configured(MetricExporter::builder().with_tonic(), target)?.build())
    }

    /// tonic drives its connection on the runtime it is built in.
    fn configured<B: WithTonicConfig + WithExportConfig>(
        builder: B,
        target: &Target,
    ) -> Result<B, TelemetryError> {
        tokio::runtime::Handle::try_current().map_err(|_| TelemetryError::NoRuntime)?;
        let headers: http::HeaderMap = target
            .headers
            .iter()
            .filter_map(|(name, value)| {
                Some((http::HeaderName::try_from(name).ok()?, http::HeaderValue::try_from(value).ok()?))
            })
            .collect();
        let builder = builder
            .with_endpoint(&target.endpoint)
            .with_timeout(target.timeout)
            .with_metadata(MetadataMap::from_headers(headers));
        Ok(match target.compression {
            Compression::Gzip => builder.with_compression(opentelemetry_otlp::Compression::Gzip),
            Compression::None => builder,
        })
    }
}

#[cfg(not(feature = "otlp-grpc"))]
mod grpc {
    use super::{ExporterBuildError, LogExporter, MetricExporter, SpanExporter, Target, TelemetryError};

    type Built<E> = Result<Result<E, ExporterBuildError>, TelemetryError>;

    /// Reading the environment refuses `grpc` in a build without it; this says the same should that ever change.
    fn missing<E>(target: &Target) -> Built<E> {
        Err(TelemetryError::Feature {
            variable: "OTEL_EXPORTER_OTLP_PROTOCOL".to_owned(),
            value: target.endpoint.clone(),
            feature: "otlp-grpc",
        })
    }

    pub(super) fn spans(target: &Target) -> Built<SpanExporter> {
        missing(target)
    }

    pub(super) fn logs(target: &Target) -> Built<LogExporter> {
        missing(target)
    }

    pub(super) fn metrics(target: &Target) -> Built<MetricExporter> {
        missing(target)
    }
}
