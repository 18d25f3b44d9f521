//! Each variable, valid and not, as a table.

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
    let defaults = Defaults {
        service: "api".to_owned(),
        endpoint: None,
        attributes: vec![("team".to_owned(), "checkout".to_owned())],
        filter: "info".to_owned(),
        span_queue: 16_384,
    };
    let lookup =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Settings::read(&defaults, &lookup).map_err(|error| error.to_string())
}

/// Reads `variables` and compares what `look` sees with `expected`; warnings are listed behind it.
fn check(variables: &[(&str, &str)], look: fn(&Settings) -> String, expected: &str) {
    let seen = match read(variables) {
        Ok(settings) => {
            let warned = settings.warnings.iter().map(|warning| format!(" !{}", warning.variable));
            look(&settings) + &warned.collect::<String>()
        }
        Err(error) => error,
    };
    assert_eq!(seen, expected, "{variables:?}");
}

fn endpoints(settings: &Settings) -> String {
    let of =
        |target: &Option<Target>| target.as_ref().map_or("off".to_owned(), |target| target.endpoint.clone());
    [of(&settings.traces), of(&settings.metrics), of(&settings.logs)].join(" ")
}

#[test]
fn a_general_endpoint_is_a_base_and_a_signals_own_is_taken_as_it_is() {
    const GENERAL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    for (variables, expected) in [
        (
            &[][..],
            "http://localhost:4318/v1/traces http://localhost:4318/v1/metrics http://localhost:4318/v1/logs",
        ),
        (
            &[(GENERAL, "http://c:1/base/")],
            "http://c:1/base/v1/traces http://c:1/base/v1/metrics http://c:1/base/v1/logs",
        ),
        (
            &[(GENERAL, "http://c:1"), (TRACES, "http://t:2")],
            "http://t:2 http://c:1/v1/metrics http://c:1/v1/logs",
        ),
        (
            &[(GENERAL, "  ")],
            "http://localhost:4318/v1/traces http://localhost:4318/v1/metrics http://localhost:4318/v1/logs",
        ),
        (
            &[("OTEL_METRICS_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "otlp"), (GENERAL, "http://c:1")],
            "http://c:1/v1/traces off http://c:1/v1/logs",
        ),
    ] {
        check(variables, endpoints, expected);
    }
}

#[test]
fn what_would_lose_telemetry_in_silence_is_an_error_that_names_the_variable() {
    for (variable, value, expected) in [
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "localhost:4318",
            r#"OTEL_EXPORTER_OTLP_ENDPOINT="localhost:4318" cannot be used: expected a URL such as http://localhost:4318"#,
        ),
        (
            "OTEL_TRACES_EXPORTER",
            "zipkin",
            r#"OTEL_TRACES_EXPORTER="zipkin" cannot be used: expected otlp or none"#,
        ),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "http/json",
            r#"OTEL_EXPORTER_OTLP_PROTOCOL="http/json" cannot be used: expected http/protobuf or grpc"#,
        ),
        (
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            "brotli",
            r#"OTEL_EXPORTER_OTLP_COMPRESSION="brotli" cannot be used: expected gzip or none"#,
        ),
        (
            "THROUGHLINE_PROFILE",
            "old",
            r#"THROUGHLINE_PROFILE="old" cannot be used: expected v1.44, dup or legacy"#,
        ),
        (
            "OTEL_TRACES_SAMPLER",
            "jaeger_remote",
            "OTEL_TRACES_SAMPLER=\"jaeger_remote\" cannot be used: expected always_on, always_off, traceidratio, \
             parentbased_always_on, parentbased_always_off or parentbased_traceidratio",
        ),
    ] {
        check(&[(variable, value)], |_| "accepted".to_owned(), expected);
    }
}

#[cfg(not(feature = "otlp-grpc"))]
#[test]
fn a_protocol_that_is_not_built_in_names_the_feature() {
    check(
        &[("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc")],
        |_| "accepted".to_owned(),
        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=\"grpc\" needs the feature \"otlp-grpc\" of the crate throughline: \
         enable it in Cargo.toml",
    );
}

#[cfg(not(feature = "otlp-tls"))]
#[test]
fn an_https_endpoint_names_the_feature() {
    check(
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c")],
        |_| "accepted".to_owned(),
        "OTEL_EXPORTER_OTLP_ENDPOINT=\"https://c\" needs the feature \"otlp-tls\" of the crate throughline: \
         enable it in Cargo.toml",
    );
}

#[test]
fn what_has_no_effect_is_reported() {
    for variable in [
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
        "OTEL_EXPORTER_OTLP_LOGS_INSECURE",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "OTEL_BSP_EXPORT_TIMEOUT",
        "OTEL_CONFIG_FILE",
    ] {
        check(&[(variable, "1")], |_| String::new(), &format!(" !{variable}"));
        check(&[(variable, " ")], |_| String::new(), "");
    }
    let said = read(&[("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem")]).unwrap().warnings.remove(0).to_string();
    assert!(said.contains("OTEL_EXPORTER_OTLP_CERTIFICATE") && said.contains("is ignored"), "{said}");
    // One that the exporter reads itself.
    check(&[("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")], |_| String::new(), "");
}

#[test]
fn numbers_that_are_none_are_reported_and_replaced() {
    fn queue(settings: &Settings) -> String {
        let Queue { capacity, batch, delay } = settings.spans;
        format!("{capacity} {batch} {delay:?}")
    }
    for (variables, expected) in [
        (&[][..], "16384 512 1s"),
        (&[("OTEL_BSP_MAX_QUEUE_SIZE", "100"), ("OTEL_BSP_SCHEDULE_DELAY", "50")], "100 100 50ms"),
        (&[("OTEL_BSP_MAX_QUEUE_SIZE", "many")], "16384 512 1s !OTEL_BSP_MAX_QUEUE_SIZE"),
        (&[("OTEL_BSP_MAX_QUEUE_SIZE", "0")], "16384 512 1s !OTEL_BSP_MAX_QUEUE_SIZE"),
        (
            &[("OTEL_BSP_MAX_QUEUE_SIZE", "10"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20")],
            "10 10 1s !OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        ),
        (&[("OTEL_SPAN_LINK_COUNT_LIMIT", "-1")], "16384 512 1s !OTEL_SPAN_LINK_COUNT_LIMIT"),
        (&[("OTEL_SDK_DISABLED", "yes")], "16384 512 1s !OTEL_SDK_DISABLED"),
        (&[("OTEL_PROPAGATORS", "tracecontext,b3")], "16384 512 1s !OTEL_PROPAGATORS"),
        (&[("OTEL_PROPAGATORS", "tracecontext,baggage")], "16384 512 1s"),
    ] {
        check(variables, queue, expected);
    }
}

#[test]
fn the_environment_names_the_service_and_adds_to_its_resource() {
    fn resource(settings: &Settings) -> String {
        let last = |name: &str| {
            settings
                .resource
                .iter()
                .rev()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        };
        [last("service.name"), last("team"), last("region")].join("|")
    }
    for (variables, expected) in [
        (&[][..], "api|checkout|"),
        (&[("OTEL_SERVICE_NAME", "api-2")], "api-2|checkout|"),
        (&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=x, region = eu%2Dwest ,team=a=b")], "x|a=b|eu-west"),
        (&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=x"), ("OTEL_SERVICE_NAME", "wins")], "wins|checkout|"),
        (&[("OTEL_RESOURCE_ATTRIBUTES", "region=%zz,oops")], "api|checkout|%zz !OTEL_RESOURCE_ATTRIBUTES"),
    ] {
        check(variables, resource, expected);
    }
}

#[test]
fn samplers_are_read_with_their_argument() {
    for (variables, expected) in [
        (&[][..], "ParentBased(AlwaysOn)"),
        (&[("OTEL_TRACES_SAMPLER", "always_off")], "AlwaysOff"),
        (
            &[("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.25")],
            "ParentBased(TraceIdRatioBased(0.25))",
        ),
        (
            &[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")],
            "TraceIdRatioBased(1.0) !OTEL_TRACES_SAMPLER_ARG",
        ),
    ] {
        check(variables, |settings| format!("{:?}", settings.sampler), expected);
    }
}

#[test]
fn headers_timeout_and_compression_are_the_signals_own_or_the_general_ones() {
    fn traces(settings: &Settings) -> String {
        let target = settings.traces.as_ref().unwrap();
        format!("{:?} {:?} {:?}", target.headers, target.timeout, target.compression)
    }
    check(&[], traces, "[] 10s None");
    check(
        &[
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
        ],
        traces,
        r#"[("authorization", "Bearer secret")] 250ms Gzip"#,
    );
    // A credential that is spelled wrongly is reported without being repeated.
    let settings = read(&[("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "hunter2")]).unwrap();
    let [warning] = settings.warnings.as_slice() else { panic!("{:?}", settings.warnings) };
    assert_eq!(warning.variable, "OTEL_EXPORTER_OTLP_TRACES_HEADERS");
    assert!(!warning.to_string().contains("hunter2"), "{warning}");
}
