//! Which names OTLP over HTTP is received under. A web page whose own name was made to point at this machine (DNS
//! rebinding) is same-origin to its browser, so CORS does not stop it from writing spans; its `Host` gives it away.
//! Over gRPC nothing is checked: no browser speaks it.

use std::net::IpAddr;

use http::Request;
use http::header::HOST;
use http::uri::Authority;

use crate::refusal::Refusal;

/// Refuses a request for a host that is not this one. Without any there is nothing to refuse: browsers always name one.
pub(super) fn check<B>(allowed: &[String], request: &Request<B>) -> Result<(), Refusal> {
    if let Some(authority) = request.uri().authority() {
        answered(authority.host(), allowed)?;
    }
    for value in request.headers().get_all(HOST) {
        let text = String::from_utf8_lossy(value.as_bytes());
        match text.parse::<Authority>() {
            Ok(authority) => answered(authority.host(), allowed)?,
            Err(_) => return Err(Refusal::Host(text.into_owned())),
        }
    }
    Ok(())
}

fn answered(host: &str, allowed: &[String]) -> Result<(), Refusal> {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    let is_ours = bare.parse::<IpAddr>().is_ok()
        || cannot_be_a_strangers(bare)
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(bare));
    if is_ours { Ok(()) } else { Err(Refusal::Host(host.to_owned())) }
}

/// Names that public DNS gives to nobody, so no page on the web has one: `localhost`, and what containers, machines and
/// services call each other (`throughline`, `host.docker.internal`, `otel-collector.tracing.svc.cluster.local`).
fn cannot_be_a_strangers(name: &str) -> bool {
    const RESERVED: [&str; 4] = [".localhost", ".internal", ".svc", ".cluster.local"];
    !name.contains('.') || RESERVED.iter().any(|suffix| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_may_be_a_strangers_are_refused() {
        let allowed = ["Traces.example.org".to_owned()];
        let check = |uri: &str, hosts: &[&str]| {
            let mut request = Request::post(uri);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            check(&allowed, &request.body(()).unwrap())
        };
        for ours in [
            "localhost",
            "LOCALHOST:4318",
            "localhost.",
            "a.localhost:1",
            "127.0.0.1:4318",
            "[::1]:4318",
            "10.0.0.7",
            "throughline:4318",
            "host.docker.internal:4318",
            "otel-collector.tracing.svc:4318",
            "otel-collector.tracing.svc.cluster.local:4318",
            "traces.example.org:443",
        ] {
            assert_eq!(check("/v1/traces", &[ours]), Ok(()));
            assert_eq!(check(&format!("http://{ours}/v1/traces"), &[]), Ok(()));
        }
        for (strangers, named) in [
            ("evil.com", "evil.com"),
            ("Evil.com:4318", "Evil.com"),
            ("localhost.evil.com", "localhost.evil.com"),
            ("127.0.0.1.evil.com", "127.0.0.1.evil.com"),
            ("svc.cluster.local.evil.com", "svc.cluster.local.evil.com"),
            ("localhost@evil.com", "evil.com"),
        ] {
            let refused = Err(Refusal::Host(named.to_owned()));
            assert_eq!(check("/v1/traces", &[strangers]), refused);
            assert_eq!(check("/v1/traces", &["localhost", strangers]), refused);
            assert_eq!(check(&format!("http://{strangers}/v1/traces"), &["localhost"]), refused);
        }
        assert_eq!(check("/v1/traces", &[""]), Err(Refusal::Host(String::new())));
        assert_eq!(check("/v1/traces", &[]), Ok(()), "HTTP/1.0");
    }
}
