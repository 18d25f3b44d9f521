//! Who may ask: a page on another site must not read traces through the visitor's browser. A request whose `Host` is not
//! one of ours is refused (DNS rebinding), and so is one whose `Origin` is another site. Every answer carries the headers
//! that keep it from being framed, sniffed or scripted from outside.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// The host names answered to, besides loopback names and every IP address: an address cannot be rebound.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    names: HashSet<String>,
}

impl Hosts {
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().map(|n| n.to_ascii_lowercase()).collect() }
    }

    fn allow(&self, authority: &Authority) -> bool {
        let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(&host);
        bare == "localhost"
            || bare.ends_with(".localhost")
            || bare.parse::<IpAddr>().is_ok()
            || self.names.contains(bare)
    }
}

/// Refuses what [`Hosts`] does not allow, and adds the security headers to every answer, refusals included.
pub(crate) async fn guard(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    let mut response = match check(&hosts, &request) {
        Ok(()) => next.run(request).await,
        Err((status, text)) => (status, text).into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn check(hosts: &Hosts, request: &Request) -> Result<(), (StatusCode, String)> {
    let Some(host) = authority(request) else {
        return Err((StatusCode::BAD_REQUEST, "the request names no host; send a Host header\n".to_owned()));
    };
    if !hosts.allow(&host) {
        let text = format!(
            "this server does not answer to the host {:?}; allow it by name when starting it\n",
            host.host()
        );
        return Err((StatusCode::FORBIDDEN, text));
    }
    match text(request.headers(), &header::ORIGIN) {
        None => Ok(()),
        Some(origin)
            if origin.split_once("://").is_some_and(|(_, o)| o.eq_ignore_ascii_case(host.as_str())) =>
        {
            Ok(())
        }
        Some(origin) => {
            Err((StatusCode::FORBIDDEN, format!("the origin {origin:?} is not this server's own\n")))
        }
    }
}

/// `Host` of HTTP/1, `:authority` of HTTP/2.
fn authority(request: &Request) -> Option<Authority> {
    let host = text(request.headers(), &header::HOST);
    host.map_or_else(|| request.uri().authority().cloned(), |host| host.parse().ok())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    // A value that is not text is refused like any foreign one, not passed over as if it were absent.
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, origin: Option<&str>, expected: StatusCode) {
        let hosts = Hosts::new(["Traces.example.org".to_owned()]);
        let mut request = Request::builder().uri("/").header(header::HOST, host);
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        let status = super::check(&hosts, &request).err().map_or(StatusCode::OK, |(status, _)| status);
        assert_eq!(status, expected, "host {host}, origin {origin:?}");
    }

    #[test]
    fn only_our_own_names_are_answered() {
        use StatusCode as S;
        for ours in [
            "localhost",
            "LOCALHOST:16686",
            "localhost.",
            "a.localhost:1",
            "127.0.0.1:16686",
            "[::1]:16686",
            "10.0.0.7",
        ] {
            check(ours, None, S::OK);
        }
        check("traces.example.org:443", None, S::OK);
        for foreign in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost"] {
            check(foreign, None, S::FORBIDDEN);
        }
        check("", None, S::BAD_REQUEST);
        check("localhost:16686", Some("http://localhost:16686"), S::OK);
        for foreign in
            ["http://localhost:3000", "https://evil.example", "null", "http://localhost:16686.evil.example"]
        {
            check("localhost:16686", Some(foreign), S::FORBIDDEN);
        }
    }
}
