//! Reads `OTEL_*` and `RUST_LOG` into [`Settings`]. Pure: the environment is a function handed in, so that every rule
//! is a test case. Refuses to guess: a value whose default would lose telemetry in silence (an endpoint, a protocol, an
//! exporter, a sampler) is an error that names the variable; a bad number is a [`Warning`] and the default.

mod unsupported;

use std::{fmt, time::Duration};

use opentelemetry_sdk::trace::Sampler;

use super::TelemetryError;
use super::settings::{
    Compression, Defaults, LOG_QUEUE, Limits, Protocol, Queue, SPAN_LINK_LIMIT, Sdk, Settings, Signal,
    Target, Warning,
};
use crate::Profile;

impl Settings {
    /// Reads the environment through `read`; an empty value counts as unset, as the specification has it.
    pub(super) fn read(
        defaults: &Defaults,
        read: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Settings, TelemetryError> {
        let mut env = Environment { read, warnings: Vec::new() };
        let sdk = if env.flag("OTEL_SDK_DISABLED") { Sdk::Disabled } else { Sdk::Enabled };
        env.note_foreign_propagators();
        env.note_unsupported();
        Ok(Settings {
            sdk,
            resource: env.resource(defaults),
            traces: env.target(Signal::Traces, defaults)?,
            metrics: env.target(Signal::Metrics, defaults)?,
            logs: env.target(Signal::Logs, defaults)?,
            sampler: env.sampler()?,
            spans: env.queue("OTEL_BSP", defaults.span_queue),
            log_records: env.queue("OTEL_BLRP", LOG_QUEUE),
            metric_interval: env.millis("OTEL_METRIC_EXPORT_INTERVAL", Duration::from_secs(10)),
            limits: Limits {
                links: env.number("OTEL_SPAN_LINK_COUNT_LIMIT", SPAN_LINK_LIMIT),
                events: env.number("OTEL_SPAN_EVENT_COUNT_LIMIT", 128),
                attributes: env.number("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", 128),
            },
            profile: env.profile()?,
            filter: env.text("RUST_LOG").unwrap_or_else(|| defaults.filter.clone()),
            warnings: env.warnings,
        })
    }
}

/// The environment while it is read, with what was wrong in it.
struct Environment<'a> {
    read: &'a dyn Fn(&str) -> Option<String>,
    warnings: Vec<Warning>,
}

impl Environment<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.read)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn warn(&mut self, variable: &str, value: String, expected: impl Into<String>) {
        self.warnings.push(Warning { variable: variable.to_owned(), value, expected: expected.into() });
    }

    fn flag(&mut self, name: &str) -> bool {
        let Some(value) = self.text(name) else { return false };
        let on = value.eq_ignore_ascii_case("true");
        if !on && !value.eq_ignore_ascii_case("false") {
            self.warn(name, value, "expected true or false; false is used");
        }
        on
    }

    fn number<N>(&mut self, name: &str, default: N) -> N
    where
        N: std::str::FromStr + PartialOrd + Default + fmt::Display,
    {
        let Some(value) = self.text(name) else { return default };
        match value.parse::<N>() {
            Ok(number) if number > N::default() => number,
            _ => {
                self.warn(name, value, format!("expected a whole number above zero; {default} is used"));
                default
            }
        }
    }

    fn millis(&mut self, name: &str, default: Duration) -> Duration {
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.number(name, default))
    }

    fn queue(&mut self, prefix: &str, capacity: usize) -> Queue {
        let capacity = self.number(&format!("{prefix}_MAX_QUEUE_SIZE"), capacity);
        let batch = self.number(&format!("{prefix}_MAX_EXPORT_BATCH_SIZE"), 512.min(capacity));
        if batch > capacity {
            let name = format!("{prefix}_MAX_EXPORT_BATCH_SIZE");
            self.warn(
                &name,
                batch.to_string(),
                format!("a batch cannot exceed the queue; {capacity} is used"),
            );
        }
        // One second instead of the SDK's five: a trace should be on the screen when its reader looks for it.
        let delay = self.millis(&format!("{prefix}_SCHEDULE_DELAY"), Duration::from_secs(1));
        Queue { capacity, batch: batch.min(capacity), delay }
    }

    fn resource(&mut self, defaults: &Defaults) -> Vec<(String, String)> {
        let mut all = vec![("service.name".to_owned(), defaults.service.clone())];
        all.extend(defaults.attributes.iter().cloned());
        if let Some(list) = self.text("OTEL_RESOURCE_ATTRIBUTES") {
            all.extend(self.pairs("OTEL_RESOURCE_ATTRIBUTES", &list));
        }
        if let Some(name) = self.text("OTEL_SERVICE_NAME") {
            all.push(("service.name".to_owned(), name));
        }
        all
    }

    /// `key=value,key=value`, values percent-decoded; a part without `=` is reported and left out.
    fn pairs(&mut self, variable: &str, list: &str) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    pairs.push((key.trim().to_owned(), percent_decoded(value.trim())));
                }
                // The value may be a credential: it is not repeated.
                _ => self.warn(
                    variable,
                    "…".to_owned(),
                    "expected key=value,key=value; one part has no key or no `=`",
                ),
            }
        }
        pairs
    }

    fn sampler(&mut self) -> Result<Sampler, TelemetryError> {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        let parent_based = |root| Sampler::ParentBased(Box::new(root));
        let Some(value) = self.text(NAME) else { return Ok(parent_based(Sampler::AlwaysOn)) };
        Ok(match value.as_str() {
            "always_on" => Sampler::AlwaysOn,
            "always_off" => Sampler::AlwaysOff,
            "traceidratio" => Sampler::TraceIdRatioBased(self.ratio()),
            "parentbased_always_on" => parent_based(Sampler::AlwaysOn),
            "parentbased_always_off" => parent_based(Sampler::AlwaysOff),
            "parentbased_traceidratio" => parent_based(Sampler::TraceIdRatioBased(self.ratio())),
            _ => {
                let expected = "always_on, always_off, traceidratio, parentbased_always_on, \
                                parentbased_always_off or parentbased_traceidratio";
                return Err(TelemetryError::environment(NAME, value, expected));
            }
        })
    }

    /// `OTEL_SEMCONV_STABILITY_OPT_IN`, which knows no `legacy`, is read where it is needed; this one wins over it.
    fn profile(&mut self) -> Result<Option<Profile>, TelemetryError> {
        const NAME: &str = "THROUGHLINE_PROFILE";
        let Some(value) = self.text(NAME) else { return Ok(None) };
        match value.as_str() {
            "v1.44" => Ok(Some(Profile::V1_44)),
            "dup" => Ok(Some(Profile::Dup)),
            "legacy" => Ok(Some(Profile::Legacy)),
            _ => Err(TelemetryError::environment(NAME, value, "v1.44, dup or legacy")),
        }
    }

    fn ratio(&mut self) -> f64 {
        const NAME: &str = "OTEL_TRACES_SAMPLER_ARG";
        let Some(value) = self.text(NAME) else { return 1.0 };
        match value.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => {
                self.warn(NAME, value, "expected a number from 0.0 to 1.0; 1.0 is used");
                1.0
            }
        }
    }

    /// Where a signal goes, or `None` if it is switched off.
    fn target(&mut self, signal: Signal, defaults: &Defaults) -> Result<Option<Target>, TelemetryError> {
        let exporter = format!("OTEL_{}_EXPORTER", signal.upper());
        match self.text(&exporter) {
            Some(none) if none == "none" => return Ok(None),
            Some(other) if other != "otlp" => {
                return Err(TelemetryError::environment(exporter, other, "otlp or none"));
            }
            _ => {}
        }
        let protocol = self.protocol(signal)?;
        let headers = match self.of_signal(signal, "HEADERS") {
            Some((variable, list)) => self.pairs(&variable, &list),
            None => Vec::new(),
        };
        Ok(Some(Target {
            endpoint: self.endpoint(signal, protocol, defaults)?,
            protocol,
            timeout: self.timeout(signal),
            headers,
            compression: self.compression(signal)?,
        }))
    }

    /// The signal's own variable, else the general one, with the name it was found under.
    fn of_signal(&self, signal: Signal, what: &str) -> Option<(String, String)> {
        [format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.upper()), format!("OTEL_EXPORTER_OTLP_{what}")]
            .into_iter()
            .find_map(|name| self.text(&name).map(|value| (name, value)))
    }

    fn protocol(&mut self, signal: Signal) -> Result<Protocol, TelemetryError> {
        let Some((name, value)) = self.of_signal(signal, "PROTOCOL") else {
            return Ok(Protocol::HttpProtobuf);
        };
        match value.as_str() {
            "http/protobuf" => Ok(Protocol::HttpProtobuf),
            "grpc" if cfg!(feature = "otlp-grpc") => Ok(Protocol::Grpc),
            "grpc" => Err(TelemetryError::Feature { variable: name, value, feature: "otlp-grpc" }),
            _ => Err(TelemetryError::environment(name, value, "http/protobuf or grpc")),
        }
    }

    fn timeout(&mut self, signal: Signal) -> Duration {
        let default = Duration::from_secs(10);
        match self.of_signal(signal, "TIMEOUT") {
            Some((name, _)) => self.millis(&name, default),
            None => default,
        }
    }

    fn compression(&mut self, signal: Signal) -> Result<Compression, TelemetryError> {
        match self.of_signal(signal, "COMPRESSION") {
            None => Ok(Compression::None),
            Some((_, value)) if value == "none" => Ok(Compression::None),
            Some((_, value)) if value == "gzip" => Ok(Compression::Gzip),
            Some((name, value)) => Err(TelemetryError::environment(name, value, "gzip or none")),
        }
    }

    /// A signal's own endpoint is taken as it is; a general one is a base to which HTTP adds the signal's path.
    fn endpoint(
        &mut self,
        signal: Signal,
        protocol: Protocol,
        defaults: &Defaults,
    ) -> Result<String, TelemetryError> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.upper());
        if let Some(endpoint) = self.text(&own) {
            return checked(own, endpoint);
        }
        let general = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let (name, base) = match (self.text(general), &defaults.endpoint, protocol) {
            (Some(base), _, _) => (general, base),
            (None, Some(base), _) => ("telemetry::Builder::endpoint", base.clone()),
            (None, None, Protocol::HttpProtobuf) => (general, "http://localhost:4318".to_owned()),
            (None, None, Protocol::Grpc) => (general, "http://localhost:4317".to_owned()),
        };
        let base = checked(name, base)?;
        Ok(match protocol {
            Protocol::HttpProtobuf => format!("{}/v1/{}", base.trim_end_matches('/'), signal.lower()),
            Protocol::Grpc => base,
        })
    }

    fn note_unsupported(&mut self) {
        for (name, instead) in unsupported::unsupported() {
            if let Some(value) = self.text(&name) {
                self.warn(&name, value, instead);
            }
        }
    }

    fn note_foreign_propagators(&mut self) {
        const NAME: &str = "OTEL_PROPAGATORS";
        let Some(value) = self.text(NAME) else { return };
        let mut names: Vec<&str> = value.split(',').map(str::trim).collect();
        names.sort_unstable();
        if names != ["baggage", "tracecontext"] {
            self.warn(
                NAME,
                value,
                "throughline reads and writes tracecontext and baggage, whatever stands here",
            );
        }
    }
}

/// The endpoint if it can be spoken to by this build.
fn checked(variable: impl Into<String>, endpoint: String) -> Result<String, TelemetryError> {
    let uri = endpoint.parse::<http::Uri>().ok().filter(|uri| uri.host().is_some());
    match uri.as_ref().and_then(|uri| uri.scheme_str()) {
        Some("http") => Ok(endpoint),
        Some("https") if cfg!(feature = "otlp-tls") => Ok(endpoint),
        Some("https") => {
            Err(TelemetryError::Feature { variable: variable.into(), value: endpoint, feature: "otlp-tls" })
        }
        _ => Err(TelemetryError::environment(variable, endpoint, "a URL such as http://localhost:4318")),
    }
}

/// `%41` to `A`; what is not a valid escape, or would not be UTF-8, stays as it is.
fn percent_decoded(value: &str) -> String {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            bytes.push(high * 16 + low);
            rest = after;
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| value.to_owned())
}

#[cfg(test)]
mod tests;
