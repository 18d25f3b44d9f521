//! Addresses: where a server listens, where a client connects. Resolves no name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A host and a port.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// Which machine.
    pub host: Host,
    /// 0: any free one, for a server.
    pub port: u16,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// By its address.
    Address(IpAddr),
    /// By a name, still to be resolved.
    Name(String),
}

/// A scheme and what it means for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// TLS.
    Https,
}

/// Where HTTP requests go.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// TLS or not.
    pub scheme: Scheme,
    /// Which machine and port.
    pub address: HostPort,
    /// With its leading `/`, and with the query if there is one.
    pub path: String,
}

impl HostPort {
    /// The socket's address, if the host is one, or `localhost`.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Address(address) => Some(SocketAddr::new(*address, self.port)),
            Host::Name(name) if name == "localhost" => {
                Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.port))
            }
            Host::Name(_) => None,
        }
    }

    /// `host:port` to listen on; no host is every address.
    pub(super) fn to_listen(text: &str) -> Result<Self, String> {
        if text.starts_with("unix:") {
            return Err("is a Unix socket, which is not supported; write host:port".to_owned());
        }
        if text.contains("://") {
            return Err(format!("is `{text}`; a server's endpoint has no scheme, write host:port"));
        }
        let (host, port) = split(text)?;
        let host = if host.is_empty() { Host::Address(Ipv4Addr::UNSPECIFIED.into()) } else { host_of(host)? };
        Ok(Self { host, port })
    }

    /// `host:port` to connect to; `port` where none is written.
    pub(crate) fn to_reach(text: &str, port: Option<u16>) -> Result<Self, String> {
        let text =
            text.strip_prefix("dns:///").or_else(|| text.strip_prefix("passthrough:///")).unwrap_or(text);
        if text.starts_with("unix:") {
            return Err("is a Unix socket, which is not supported; write host:port".to_owned());
        }
        if text.contains('/') {
            return Err(format!("is `{text}`, expected host:port without a path"));
        }
        let (host, port) = match (split(text), port) {
            (Ok(parts), _) => parts,
            (Err(_), Some(port)) if !text.ends_with(':') && has_no_port(text) => (text, port),
            (Err(message), _) => return Err(message),
        };
        let host = host_of(host)?;
        if port == 0 {
            return Err(format!("is `{text}`, but nothing can be reached at port 0"));
        }
        Ok(Self { host, port })
    }
}

fn has_no_port(text: &str) -> bool {
    !text.contains(':') || (text.starts_with('[') && text.ends_with(']'))
}

fn split(text: &str) -> Result<(&str, u16), String> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("is `{text}`, expected host:port"));
    };
    if host.contains(':') && !host.starts_with('[') {
        return Err(format!(
            "is `{text}`, expected host:port; an IPv6 address stands in brackets, `[::1]:4317`"
        ));
    }
    match port.parse() {
        Ok(number) if !port.starts_with('+') => Ok((host, number)),
        _ => Err(format!("is `{text}`, whose port `{port}` is no number from 0 to 65535")),
    }
}

fn host_of(host: &str) -> Result<Host, String> {
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return inner
            .parse()
            .map(|address| Host::Address(IpAddr::V6(address)))
            .map_err(|_| format!("names `{host}`, which is no IPv6 address"));
    }
    if let Ok(address) = host.parse() {
        return Ok(Host::Address(IpAddr::V4(address)));
    }
    let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_');
    if host.is_empty() || host.len() > 253 || !host.chars().all(fits) {
        return Err(format!("names the host `{host}`, which is no host name"));
    }
    Ok(Host::Name(host.to_owned()))
}

impl Url {
    /// `http://host:port/path`; the port defaults to the scheme's.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            _ => return Err(format!("is `{text}`, expected a URL that begins with http:// or https://")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if path.contains('#') || authority.contains('@') {
            return Err(format!("is `{text}`, expected a URL without user and fragment"));
        }
        if path.chars().any(|char| !char.is_ascii_graphic()) {
            return Err(format!("is `{text}`, whose path has a character that must be written as %XX"));
        }
        let port = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let address = HostPort::to_reach(authority, Some(port))?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { scheme, address, path })
    }

    /// This with `more`, which begins with `/`, after its path.
    pub(super) fn join(&self, more: &str) -> Self {
        let path = format!("{}{more}", self.path.trim_end_matches('/'));
        Self { path, ..self.clone() }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}{}", self.address, self.path)
    }
}

impl fmt::Debug for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_meant() {
        let listen = |text: &str| HostPort::to_listen(text).map(|at| at.to_string());
        let reach = |text: &str| HostPort::to_reach(text, None).map(|at| at.to_string());
        let url = |text: &str| Url::parse(text).map(|at| at.to_string());
        let cases = [
            (listen("127.0.0.1:4317"), "127.0.0.1:4317"),
            (listen(":4317"), "0.0.0.0:4317"),
            (listen("localhost:0"), "localhost:0"),
            (listen("[::]:4317"), "[::]:4317"),
            (reach("tempo:4317"), "tempo:4317"),
            (reach("dns:///tempo.svc_x:4317"), "tempo.svc_x:4317"),
            (url("http://127.0.0.1:14318"), "http://127.0.0.1:14318/"),
            (url("https://api.example.com/otlp?key=1"), "https://api.example.com:443/otlp?key=1"),
            (url("http://[::1]"), "http://[::1]:80/"),
            (url("http://h?x"), "http://h:80/?x"),
        ];
        for (is, expected) in cases {
            assert_eq!(is.as_deref(), Ok(expected));
        }
        for text in [
            "",
            "4317",
            "a:b",
            "::1:4317",
            "a:65536",
            "a:+1",
            "unix:///tmp/s",
            "http://a:1",
            "a b:1",
            "[x]:1",
        ] {
            assert!(listen(text).is_err(), "{text}");
        }
        for text in ["", "tempo", "tempo:0", ":4317", "tempo:4317/v1", "unix:///tmp/s"] {
            assert!(reach(text).is_err(), "{text}");
        }
        for text in
            ["", "tempo:4318", "ftp://x", "http://", "http://a@b", "http://a/#x", "http://a/ b", "http://a:"]
        {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_join() {
        for (base, whole) in [
            ("http://a", "http://a:80/v1/traces"),
            ("http://a/", "http://a:80/v1/traces"),
            ("http://a/otlp", "http://a:80/otlp/v1/traces"),
        ] {
            assert_eq!(Url::parse(base).unwrap().join("/v1/traces").to_string(), whole);
        }
    }
}
