//! Exporters: from what the configuration says to what is built. The two speak of the same things in their own types, so
//! that neither has to know the other.

use std::time::Duration;

use crate::configuration as written;
use crate::export::balance::{BalanceSettings, RoutingKey};
use crate::export::bearer::{BearerSettings, Token};
use crate::export::debug::{Sampling, Verbosity};
use crate::export::file::{Existing, FileFormat, FileSettings, Folder, Rotation};
use crate::export::kafka::KafkaExporter;
use crate::export::otlp::{Compression, Encoding, OtlpSettings, Protocol, Security};
use crate::export::resolver::ResolverSettings;
use crate::export::retry::RetrySettings;
use crate::export::tls::{Identity, Pem, SystemRoots, TlsSettings, TlsVersion, Verify};
use crate::topology::{Exporter, ExporterSettings};

/// How soon a token that is written to a file is shown.
const TOKENS_EVERY: Duration = Duration::from_secs(1);

pub(super) fn otlp(otlp: &written::OtlpExporter, all: &written::Configuration) -> Result<Exporter, String> {
    let settings = grpc(otlp.endpoint.to_string(), &otlp.sending, otlp.authority.as_ref(), all)?;
    Ok(exporter(&otlp.sending, &otlp.sending.retry, ExporterSettings::Otlp(settings)))
}

pub(super) fn otlp_http(
    http: &written::OtlpHttpExporter,
    all: &written::Configuration,
) -> Result<Exporter, String> {
    let encoding = match http.encoding {
        written::Encoding::Json => Encoding::Json,
        written::Encoding::Protobuf => Encoding::Proto,
    };
    let url = |url: &Option<written::Url>| url.as_ref().map(ToString::to_string);
    let settings = OtlpSettings {
        traces_endpoint: url(&http.traces),
        logs_endpoint: url(&http.logs),
        ..settings(Protocol::Http(encoding), String::new(), &http.sending, all)?
    };
    Ok(exporter(&http.sending, &http.sending.retry, ExporterSettings::Otlp(settings)))
}

pub(super) fn load_balancing(
    balancing: &written::LoadBalancingExporter,
    all: &written::Configuration,
) -> Result<Exporter, String> {
    let resolver = resolver(&balancing.resolver);
    let routing_key = match balancing.routing {
        written::Routing::TraceId => RoutingKey::TraceId,
        written::Routing::Service => RoutingKey::Service,
    };
    let otlp = grpc(String::new(), &balancing.sending, balancing.authority.as_ref(), all)?;
    let settings = ExporterSettings::LoadBalancing(resolver, BalanceSettings { routing_key, otlp });
    let retry = balancing.retry.as_ref().unwrap_or(&balancing.sending.retry);
    Ok(exporter(&balancing.sending, retry, settings))
}

pub(super) fn kafka(kafka: &written::KafkaExporter) -> Result<Exporter, String> {
    KafkaExporter::check(kafka).map_err(|error| error.to_string())?;
    let in_flight = usize::try_from(kafka.in_flight).unwrap_or(usize::MAX).max(1);
    let settings = ExporterSettings::Kafka(Box::new(kafka.clone()));
    Ok(Exporter { name: String::new(), in_flight, retry: retrying(&kafka.retry), settings })
}

pub(super) fn resolver(resolver: &written::Resolver) -> ResolverSettings {
    match resolver {
        written::Resolver::Static(hosts) => ResolverSettings::Static { hostnames: hosts.clone() },
        written::Resolver::Dns(dns) => ResolverSettings::Dns {
            hostname: dns.hostname.clone(),
            port: dns.port,
            interval: dns.interval,
            timeout: dns.timeout,
        },
    }
}

pub(super) fn file(file: &written::FileExporter) -> Result<Exporter, String> {
    if file.compression != written::FileCompression::None {
        return Err("`compression: zstd` of a file is not supported; leave it out".to_owned());
    }
    let rotation = |rotation: &written::Rotation| Rotation {
        most_bytes: rotation.most_bytes,
        most_days: rotation.most_days,
        most_files: rotation.most_files,
    };
    let settings = FileSettings {
        path: file.path.clone(),
        format: match file.format {
            written::Encoding::Json => FileFormat::Json,
            written::Encoding::Protobuf => FileFormat::Proto,
        },
        existing: match file.opening {
            written::Opening::Append => Existing::Append,
            written::Opening::Truncate => Existing::Replace,
        },
        folder: match file.folders {
            written::Folders::Create => Folder::Create,
            written::Folders::Expect => Folder::MustExist,
        },
        rotation: file.rotation.as_ref().map(rotation),
    };
    Ok(local(ExporterSettings::File(settings)))
}

pub(super) fn debug(debug: written::DebugExporter) -> Exporter {
    let verbosity = match debug.verbosity {
        written::Verbosity::Basic => Verbosity::Basic,
        written::Verbosity::Normal => Verbosity::Normal,
        written::Verbosity::Detailed => Verbosity::Detailed,
    };
    let written::DebugExporter { first_each_second, then_every, .. } = debug;
    local(ExporterSettings::Debug(verbosity, Sampling { first_each_second, then_every }))
}

/// One at a time and in order: it is this machine that is written to.
fn local(settings: ExporterSettings) -> Exporter {
    let retry = RetrySettings { max_elapsed_time: None, ..RetrySettings::default() };
    Exporter { name: String::new(), in_flight: 1, retry, settings }
}

fn exporter(sending: &written::Sending, retry: &written::Retry, settings: ExporterSettings) -> Exporter {
    let in_flight = usize::try_from(sending.in_flight).unwrap_or(usize::MAX).max(1);
    Exporter { name: String::new(), in_flight, retry: retrying(retry), settings }
}

fn retrying(retry: &written::Retry) -> RetrySettings {
    match retry {
        written::Retry::Never => {
            RetrySettings { max_elapsed_time: Some(std::time::Duration::ZERO), ..RetrySettings::default() }
        }
        written::Retry::Backoff(backoff) => RetrySettings {
            initial_interval: backoff.first,
            multiplier: backoff.factor,
            randomization_factor: backoff.spread,
            max_interval: backoff.longest,
            max_elapsed_time: backoff.give_up,
        },
    }
}

fn grpc(
    endpoint: String,
    sending: &written::Sending,
    authority: Option<&String>,
    all: &written::Configuration,
) -> Result<OtlpSettings, String> {
    let settings = settings(Protocol::Grpc, endpoint, sending, all)?;
    Ok(OtlpSettings { authority: authority.cloned(), ..settings })
}

fn settings(
    protocol: Protocol,
    endpoint: String,
    sending: &written::Sending,
    all: &written::Configuration,
) -> Result<OtlpSettings, String> {
    let security = match sending.tls.transport {
        written::Transport::Plain => Security::Plain,
        written::Transport::Tls => Security::Tls(tls(&sending.tls)),
    };
    Ok(OtlpSettings {
        security,
        headers: sending.headers.clone(),
        bearer: sending.authenticator.as_ref().map(|named| bearer(named, all)).transpose()?,
        timeout: Some(sending.timeout).filter(|timeout| !timeout.is_zero()),
        compression: match sending.compression {
            written::Compression::None => Compression::None,
            written::Compression::Gzip => Compression::Gzip,
            written::Compression::Zstd => {
                return Err("`compression: zstd` is not supported; use gzip or none".to_owned());
            }
        },
        ..OtlpSettings::new(protocol, endpoint)
    })
}

/// Never sends without a token because of an authenticator that has none.
fn bearer(named: &written::ComponentId, all: &written::Configuration) -> Result<BearerSettings, String> {
    let Some(written::Extension::BearerToken(tokens)) = all.extensions.get(named) else {
        return Err(format!("`{named}` is no bearertokenauth of `extensions`"));
    };
    let token = match &tokens.tokens {
        written::Tokens::File(path) => Token::File(path.clone()),
        written::Tokens::Text(texts) => {
            Token::Text(texts.first().cloned().ok_or_else(|| format!("`{named}` has no token"))?)
        }
    };
    let (header, scheme) = (tokens.header.clone(), tokens.scheme.clone());
    Ok(BearerSettings { header, scheme, token, every: TOKENS_EVERY })
}

pub(super) fn tls(tls: &written::ClientTls) -> TlsSettings {
    let pem = |pem: &written::Pem| match pem {
        written::Pem::File(file) => Pem::File(file.clone()),
        written::Pem::Text(text) => Pem::Text(text.clone()),
    };
    let identity = |(certificates, key): &(written::Pem, written::Pem)| Identity {
        certificates: pem(certificates),
        key: pem(key),
    };
    TlsSettings {
        ca: tls.ca.as_ref().map(pem),
        system_roots: match tls.system_ca {
            written::SystemCa::Include => SystemRoots::WithOwn,
            written::SystemCa::Otherwise => SystemRoots::Alone,
        },
        identity: tls.identity.as_ref().map(identity),
        verify: match tls.verification {
            written::Verification::Verify => Verify::Everything,
            written::Verification::Skip => Verify::Nothing,
        },
        server_name: tls.server_name.clone(),
        min_version: match tls.oldest {
            written::TlsVersion::V1_2 => TlsVersion::V1_2,
            written::TlsVersion::V1_3 => TlsVersion::V1_3,
        },
        reload: tls.reload,
    }
}
