//! Where a request goes, read from the configuration as the peer reads it.

use std::fmt;

use ::http::Uri;
use ::http::uri::PathAndQuery;
use throughline_otlp::Signal;

use super::{OtlpSettings, Protocol, Security};
use crate::export::SettingError;

/// One server and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) scheme: Scheme,
    pub(super) path: PathAndQuery,
    /// Host and port as they were written: what the `host` header says.
    pub(super) authority: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Endpoint {
    /// `None` if the settings name none for this signal.
    pub(super) fn of(settings: &OtlpSettings, signal: Signal) -> Result<Option<Self>, SettingError> {
        match settings.protocol {
            Protocol::Grpc => grpc(settings, signal).map(Some),
            Protocol::Http(_) => http(settings, signal),
        }
    }

    /// A server, at its root.
    pub(super) fn at(host: &str, port: u16, scheme: Scheme) -> Result<Self, SettingError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let authority =
            if bare.contains(':') { format!("[{bare}]:{port}") } else { format!("{bare}:{port}") };
        endpoint("endpoint", host, &authority, scheme, PathAndQuery::from_static("/"), None)
    }

    /// The same server at another path.
    pub(super) fn with_path(&self, path: PathAndQuery) -> Self {
        Self { path, ..self.clone() }
    }

    pub(super) fn same_server(&self, other: &Self) -> bool {
        (&self.host, self.port, self.scheme) == (&other.host, other.port, other.scheme)
    }

    /// Whole URI, as HTTP/2 wants it.
    pub(super) fn uri(&self) -> Uri {
        let scheme = if self.scheme == Scheme::Https { "https" } else { "http" };
        Uri::builder()
            .scheme(scheme)
            .authority(self.authority.as_str())
            .path_and_query(self.path.clone())
            .build()
            .unwrap_or_else(|_| unreachable!("the authority was parsed when the endpoint was read"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority)
    }
}

/// `host:port`, with a scheme or without. A scheme says whether the connection is encrypted; the peer encrypts behind
/// `http://` too, unless it is told not to, which surprises everybody.
fn grpc(settings: &OtlpSettings, signal: Signal) -> Result<Endpoint, SettingError> {
    let text = settings.endpoint.trim();
    let without = if settings.security == Security::Plain { Scheme::Http } else { Scheme::Https };
    let (scheme, rest) = match text.split_once("://") {
        None => (without, text),
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        Some(("dns", rest)) => (without, rest.trim_start_matches('/')),
        Some((other, _)) => {
            return Err(problem(
                "endpoint",
                text,
                &format!("scheme {other} is not supported; use host:port"),
            ));
        }
    };
    let path = PathAndQuery::from_static(super::grpc::path(signal));
    let mut endpoint = endpoint("endpoint", text, rest.trim_end_matches('/'), scheme, path, None)?;
    if let Some(authority) = &settings.authority {
        authority
            .parse::<::http::uri::Authority>()
            .map_err(|_| problem("authority", authority, "is not a host, or host:port"))?;
        endpoint.authority.clone_from(authority);
    }
    Ok(endpoint)
}

fn http(settings: &OtlpSettings, signal: Signal) -> Result<Option<Endpoint>, SettingError> {
    let (own, key, suffix) = match signal {
        Signal::Logs => (&settings.logs_endpoint, "logs_endpoint", "v1/logs"),
        _ => (&settings.traces_endpoint, "traces_endpoint", "v1/traces"),
    };
    let (key, url) = match own {
        Some(url) => (key, url.clone()),
        None if settings.endpoint.is_empty() => return Ok(None),
        None if settings.endpoint.ends_with('/') => ("endpoint", format!("{}{suffix}", settings.endpoint)),
        None => ("endpoint", format!("{}/{suffix}", settings.endpoint)),
    };
    let (scheme, rest) = match url.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        _ => return Err(problem(key, &url, "must begin with http:// or https://")),
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(at).unwrap_or((rest, ""));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let path = PathAndQuery::try_from(path).map_err(|_| problem(key, &url, "its path is not valid"))?;
    let default = if scheme == Scheme::Https { 443 } else { 80 };
    endpoint(key, &url, authority, scheme, path, Some(default)).map(Some)
}

fn endpoint(
    key: &'static str,
    text: &str,
    authority: &str,
    scheme: Scheme,
    path: PathAndQuery,
    default_port: Option<u16>,
) -> Result<Endpoint, SettingError> {
    let parsed: ::http::uri::Authority =
        authority.parse().map_err(|_| problem(key, text, "is not host:port"))?;
    if authority.contains('@') {
        return Err(problem(key, text, "has a user name in it; use `headers` for credentials"));
    }
    let port = match (parsed.port_u16(), default_port) {
        (Some(0), _) => return Err(problem(key, text, "has port 0, which nobody listens on")),
        (Some(port), _) | (None, Some(port)) => port,
        (None, None) => return Err(problem(key, text, "has no port; 4317 is the usual one")),
    };
    let host = parsed.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() {
        return Err(problem(key, text, "has no host"));
    }
    Ok(Endpoint { host, port, scheme, path, authority: authority.to_owned() })
}

fn problem(key: &'static str, text: &str, what: &str) -> SettingError {
    SettingError::new(key, format!("{text:?} {what}"))
}

#[cfg(test)]
mod tests {
    use super::super::Encoding;
    use super::*;
    use crate::export::tls::TlsSettings;

    fn check(settings: &OtlpSettings, expected: &str) {
        let said = match Endpoint::of(settings, Signal::Traces) {
            Ok(Some(endpoint)) => format!("{} to {}:{}", endpoint.uri(), endpoint.host, endpoint.port),
            Ok(None) => "nowhere".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expected, "{}", settings.endpoint);
    }

    #[test]
    fn grpc_endpoints() {
        let path = super::super::grpc::path(Signal::Traces);
        for (security, text, expected) in [
            (Security::Plain, "a:4317", format!("http://a:4317{path} to a:4317")),
            (Security::Tls(TlsSettings::default()), "a:4317", format!("https://a:4317{path} to a:4317")),
            (
                Security::Tls(TlsSettings::default()),
                "http://a:4317/",
                format!("http://a:4317{path} to a:4317"),
            ),
            (Security::Plain, "https://a:4317", format!("https://a:4317{path} to a:4317")),
            (Security::Plain, "dns:///a:4317", format!("http://a:4317{path} to a:4317")),
            (Security::Plain, "[::1]:4317", format!("http://[::1]:4317{path} to ::1:4317")),
            (Security::Plain, "a", "`endpoint`: \"a\" has no port; 4317 is the usual one".to_owned()),
            (Security::Plain, "", "`endpoint`: \"\" is not host:port".to_owned()),
            (Security::Plain, ":4317", "`endpoint`: \":4317\" has no host".to_owned()),
            (Security::Plain, "a:0", "`endpoint`: \"a:0\" has port 0, which nobody listens on".to_owned()),
            (
                Security::Plain,
                "unix:///a",
                "`endpoint`: \"unix:///a\" scheme unix is not supported; use host:port".to_owned(),
            ),
        ] {
            check(&OtlpSettings { security, ..OtlpSettings::new(Protocol::Grpc, text) }, &expected);
        }
        let named = |authority: &str| OtlpSettings {
            authority: Some(authority.to_owned()),
            ..OtlpSettings::new(Protocol::Grpc, "a:4317")
        };
        check(&named("b.example"), &format!("https://b.example{path} to a:4317"));
        check(&named("b b"), "`authority`: \"b b\" is not a host, or host:port");
    }

    #[test]
    fn http_endpoints() {
        for (text, own, expected) in [
            ("http://a:4318", None, "http://a:4318/v1/traces to a:4318"),
            ("http://a/", None, "http://a/v1/traces to a:80"),
            ("https://a/base", None, "https://a/base/v1/traces to a:443"),
            ("", Some("https://b:1/x?y=z"), "https://b:1/x?y=z to b:1"),
            ("http://a", Some("http://b"), "http://b/ to b:80"),
            ("", None, "nowhere"),
            ("a:4318", None, "`endpoint`: \"a:4318/v1/traces\" must begin with http:// or https://"),
            (
                "http://u:p@a",
                None,
                "`endpoint`: \"http://u:p@a/v1/traces\" has a user name in it; use `headers` for credentials",
            ),
            ("http://a", Some("b"), "`traces_endpoint`: \"b\" must begin with http:// or https://"),
        ] {
            let mut settings = OtlpSettings::new(Protocol::Http(Encoding::Proto), text);
            settings.traces_endpoint = own.map(str::to_owned);
            check(&settings, expected);
        }
    }
}
