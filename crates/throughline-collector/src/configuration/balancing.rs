//! The exporter `loadbalancing`, and resolvers, which peers have as well: which machines there are.

use std::time::Duration;

use super::endpoint::HostPort;
use super::exporters;
use super::read::At;
use super::sending::{self, Retry, Sending};

/// `loadbalancing`: each trace to one of several backends.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadBalancingExporter {
    /// `resolver`: who the backends are.
    pub resolver: Resolver,
    /// `routing_key`
    pub routing: Routing,
    /// `protocol::otlp`: how each backend is sent to.
    pub sending: Sending,
    /// `protocol::otlp::authority`
    pub authority: Option<String>,
    /// `retry_on_failure` beside `protocol`: over backends, after one has failed; `None`: `sending`'s.
    pub retry: Option<Retry>,
}

/// `routing_key`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// `traceID`
    #[default]
    TraceId,
    /// `service`: the resource's `service.name`.
    Service,
}

/// `resolver`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// `static::hostnames`, as they are written: a ring is made of the names, so that all who write the same agree.
    Static(Vec<String>),
    /// `dns`
    Dns(DnsResolver),
}

/// `dns`: every address of a name is a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsResolver {
    /// `hostname`
    pub hostname: String,
    /// `port`. `None`: 4317, which is then no part of the names that a ring is made of.
    pub port: Option<u16>,
    /// `interval` between look-ups. Default 5 s.
    pub interval: Duration,
    /// `timeout` of a look-up. Default 1 s.
    pub timeout: Duration,
}

pub(super) fn exporter(at: &At<'_>) -> Option<LoadBalancingExporter> {
    let mut block = at.block()?;
    let mut sent = None;
    if let Some(mut protocol) = block.required("protocol").and_then(|at| at.block()) {
        sent = protocol.required_or_empty("otlp").and_then(|at| otlp(&at));
        protocol.finish();
    }
    let resolver = block.required("resolver").and_then(|at| resolver(&at, &UNSUPPORTED, 4317));
    let words = [("traceID", Routing::TraceId), ("service", Routing::Service), ("", Routing::TraceId)];
    let routing = block.get("routing_key").and_then(|at| at.one_of(&words)).unwrap_or_default();
    let retry = block.get("retry_on_failure").is_some().then(|| sending::retry(&mut block));
    sending::queue(&mut block);
    let why = "`protocol::otlp::timeout` bounds each attempt";
    block.without_effect(&["timeout"], why);
    block.unsupported(&["routing_attributes"], "traces are routed by `traceID` or `service`");
    block.finish();
    let (sending, authority) = sent?;
    Some(LoadBalancingExporter { resolver: resolver?, routing, sending, authority, retry })
}

const UNSUPPORTED: [&str; 2] = ["k8s", "aws_cloud_map"];

fn otlp(at: &At<'_>) -> Option<(Sending, Option<String>)> {
    let mut block = at.block()?;
    block.without_effect(&["endpoint"], "backends come from the resolver");
    let client = exporters::grpc_client(&mut block);
    block.finish();
    Some(client)
}

/// `static` or `dns`.
pub(super) fn resolver(at: &At<'_>, unsupported: &[&'static str], port: u16) -> Option<Resolver> {
    let before = at.findings.errors();
    let mut block = at.block()?;
    let fixed = block.get("static");
    let dns = block.get("dns");
    block.unsupported(
        unsupported,
        "use `dns` with a headless service's name, such as backend.namespace.svc.cluster.local",
    );
    block.finish();
    match (fixed, dns) {
        (Some(_), Some(_)) => {
            at.error("has both `static` and `dns`: give one");
            None
        }
        (Some(at), None) => fixed_hosts(&at, port).map(Resolver::Static),
        (None, Some(at)) => dns_resolver(&at).map(Resolver::Dns),
        (None, None) => {
            if at.findings.errors() == before {
                at.error("names no resolver, expected `static` or `dns`");
            }
            None
        }
    }
}

fn fixed_hosts(at: &At<'_>, port: u16) -> Option<Vec<String>> {
    let mut block = at.block()?;
    let hostnames = block.required("hostnames");
    block.finish();
    let hostnames = hostnames?;
    let listed = hostnames.list();
    if listed.is_empty() {
        hostnames.error("names no host");
    }
    let mut hosts: Vec<(HostPort, String)> = Vec::new();
    for at in &listed {
        let written = |text: &str| HostPort::to_reach(text, Some(port)).map(|host| (host, text.to_owned()));
        let Some((host, text)) = at.text_with(written) else { continue };
        if hosts.iter().any(|(known, _)| *known == host) {
            at.note(format!("has no effect: {host} is in the list already"));
        } else {
            hosts.push((host, text));
        }
    }
    Some(hosts.into_iter().map(|(_, text)| text).collect())
}

fn dns_resolver(at: &At<'_>) -> Option<DnsResolver> {
    let mut block = at.block()?;
    let plain = |host: &str| match HostPort::to_reach(host, Some(1)) {
        Ok(reached) if reached.port == 1 && !host.contains(':') => Ok(host.to_owned()),
        _ => Err(format!("is `{host}`, which is no host name; the port stands under `port`")),
    };
    let hostname = block.required("hostname").and_then(|at| at.text_with(plain));
    // Text in the peer, but everybody writes a number.
    let to_port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("is `{text}`, expected a port from 1 to 65535")),
    };
    let port = block.get("port").and_then(|at| at.text_with(to_port));
    let interval = block.get("interval").and_then(|at| at.some_time()).unwrap_or(Duration::from_secs(5));
    let timeout = block.get("timeout").and_then(|at| at.some_time()).unwrap_or(Duration::from_secs(1));
    block.unsupported(&["quarantine"], "a request that fails goes to the next backend of the ring");
    block.finish();
    Some(DnsResolver { hostname: hostname?, port, interval, timeout })
}
