//! What a receiver's settings promise, over real sockets: TLS, tokens, paths, sizes, and memory.
//!
//! `stranger.pem` is signed by itself, for `localhost`:
//! `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj "/CN=throughline test stranger"
//! -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth,clientAuth`.

use std::num::NonZeroU64;
use std::path::Path;

use ::http::{Method, Request};
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use throughline_otlp::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::{GRPC, Grpc, JSON, LOGS, PROTOBUF, TRACES, framed, http};
use super::requests::{logs, trace, traces, traces_json};
use super::*;
use crate::configuration::{
    BearerToken, Cors, MemoryLimit, MemoryLimiter, Pem, ServerTls, TlsVersion, Tokens,
};
use crate::topology::{Memory, Receiver, Server, Topology, Web};

const CA: &str = include_str!("../../export/otlp/tests/ca.pem");
const SERVER: (&str, &str) =
    (include_str!("../../export/otlp/tests/server.pem"), include_str!("../../export/otlp/tests/server.key"));
const CLIENT: (&str, &str) =
    (include_str!("../../export/otlp/tests/client.pem"), include_str!("../../export/otlp/tests/client.key"));
const STRANGER: (&str, &str) = (include_str!("stranger.pem"), include_str!("stranger.key"));

fn anywhere() -> Server {
    Server::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

fn receiver(server: Server) -> Receiver {
    Receiver {
        name: "otlp/in".to_owned(),
        grpc: Some(server.clone()),
        http: Some(server),
        web: Web::default(),
        kafka: None,
    }
}

fn receiving(receiver: Receiver) -> Config {
    Config { topology: Some(Topology::store_everything(receiver)), ..config() }
}

fn tls() -> ServerTls {
    ServerTls {
        certificate: Pem::Text(SERVER.0.to_owned()),
        key: Pem::Text(SERVER.1.to_owned()),
        client_ca: None,
        oldest: TlsVersion::V1_2,
        reload: None,
    }
}

/// A client that trusts `root`, perhaps shows who it is, and speaks `version`.
fn client(
    root: &str,
    identity: Option<(&str, &str)>,
    version: &'static SupportedProtocolVersion,
    protocols: &[&str],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn connect(address: SocketAddr, client: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(client)).connect(name, stream).await
}

/// The first bytes that a server says to `request`, or why there are none.
async fn said(address: SocketAddr, client: ClientConfig, request: &[u8]) -> String {
    let talk = async {
        let mut stream = connect(address, client).await?;
        stream.write_all(request).await?;
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    timeout(PATIENCE, talk).await.unwrap().unwrap_or_else(|error| error.to_string())
}

const OVER_HTTP: &[u8] =
    b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

fn counted(backend: &Backend, line: &str) {
    let page = backend.metrics();
    assert!(page.contains(line), "{line} in {page}");
}

#[tokio::test]
async fn who_comes_in_over_tls_and_who_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let client_ca = folder.path().join("ca.pem");
    fs_write(&client_ca, CA);
    let mutual = ServerTls { client_ca: Some(client_ca), ..tls() };
    let newest = ServerTls { oldest: TlsVersion::V1_3, ..tls() };
    let good = "HTTP/1.1 200 OK";
    for (tls, cases) in [
        (
            tls(),
            vec![
                (client(CA, None, &TLS13, &[]), good),
                (client(CA, None, &TLS12, &["http/1.1"]), good),
                (client(CA, Some(CLIENT), &TLS13, &[]), good),
                (client(STRANGER.0, None, &TLS13, &[]), "invalid peer certificate: UnknownIssuer"),
                (client(CA, None, &TLS13, &["smtp"]), "received fatal alert: NoApplicationProtocol"),
            ],
        ),
        (
            newest,
            vec![
                (client(CA, None, &TLS13, &[]), good),
                (client(CA, None, &TLS12, &[]), "received fatal alert: ProtocolVersion"),
            ],
        ),
        (
            mutual,
            vec![
                (client(CA, Some(CLIENT), &TLS13, &[]), good),
                (client(CA, Some(CLIENT), &TLS12, &[]), good),
                (client(CA, None, &TLS13, &[]), "received fatal alert: CertificateRequired"),
                (client(CA, None, &TLS12, &[]), "received fatal alert: "),
                (client(CA, Some(STRANGER), &TLS13, &[]), "received fatal alert: UnknownC"),
            ],
        ),
    ] {
        let backend = start(receiving(receiver(Server { tls: Some(tls), ..anywhere() }))).await;
        let refused = cases.iter().filter(|(_, expected)| *expected != good).count();
        for (client, expected) in cases {
            let answer = said(backend.addresses().http.unwrap(), client, OVER_HTTP).await;
            assert!(answer.starts_with(expected), "{answer} is not {expected}");
        }
        let labels = "{receiver=\"otlp/in\",transport=\"http\"}";
        counted(&backend, &format!("throughline_receiver_failed_handshakes_total{labels} {refused}\n"));
        backend.shutdown().await;
    }
}

#[tokio::test]
async fn both_protocols_are_spoken_over_tls() {
    let backend = start(receiving(receiver(Server { tls: Some(tls()), ..anywhere() }))).await;
    let mut arrivals = backend.arrivals();
    let addresses = backend.addresses();
    for (number, address) in [(1, addresses.grpc.unwrap()), (2, addresses.http.unwrap())] {
        let stream = connect(address, client(CA, None, &TLS13, &["h2"])).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let message = traces(&[(number, 1, &"long name ".repeat(20_000))]).encode_to_vec();
        if number == 1 {
            assert_eq!(Grpc::over(stream).await.export(TRACES, &message).await.status, 0);
        } else {
            let io = TokioIo::new(stream);
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            // A name that only a certificate can vouch for.
            let request = Request::post("https://collector.example.com/v1/traces");
            let body = Full::new(bytes::Bytes::from(message));
            let request = request.header(PROTOBUF.0, PROTOBUF.1).body(body).unwrap();
            assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
        }
        arrived(&mut arrivals, &[trace(number)]).await;
    }
    // In the clear there is nothing to be had, and nobody waits for ever.
    let mut stream = TcpStream::connect(addresses.http.unwrap()).await.unwrap();
    stream.write_all(OVER_HTTP).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    backend.shutdown().await;
}

#[tokio::test]
async fn a_handshake_takes_a_connection_and_not_for_ever() {
    let server = Server { tls: Some(tls()), header_timeout: Some(Duration::from_millis(50)), ..anywhere() };
    let mut config = receiving(receiver(server));
    config.limits.connections = 1;
    let backend = start(config).await;
    let address = backend.addresses().http.unwrap();
    let mut silent = TcpStream::connect(address).await.unwrap();
    // Served once the silent one is gone.
    let served = connect(address, client(CA, None, &TLS13, &[]));
    let mut stream = timeout(PATIENCE, served).await.unwrap().unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    stream.shutdown().await.unwrap();
    counted(
        &backend,
        "throughline_receiver_failed_handshakes_total{receiver=\"otlp/in\",transport=\"http\"} 1\n",
    );
    backend.shutdown().await;
}

fn fs_write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// Asks until `settled` says yes.
async fn until(mut settled: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !settled().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap();
}

#[tokio::test]
async fn certificates_are_read_again_and_broken_ones_are_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs_write(&certificate, SERVER.0);
    fs_write(&key, SERVER.1);
    let reloading = ServerTls {
        certificate: Pem::File(certificate.clone()),
        key: Pem::File(key.clone()),
        reload: Some(Duration::from_millis(10)),
        ..tls()
    };
    let backend = start(receiving(receiver(Server { tls: Some(reloading), ..anywhere() }))).await;
    let address = backend.addresses().http.unwrap();
    let trusted = async |root: &str| connect(address, client(root, None, &TLS13, &[])).await.is_ok();
    assert!(trusted(CA).await && !trusted(STRANGER.0).await);

    for broken in ["no certificate", STRANGER.0] {
        fs_write(&certificate, broken);
        let failed = |page: &str| {
            let name = "throughline_receiver_failed_reloads_total{receiver=\"otlp/in\",transport=\"http\"} ";
            let line = page.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.parse::<u64>().unwrap()
        };
        let before = failed(&backend.metrics());
        until(async || failed(&backend.metrics()) > before).await;
        assert!(trusted(CA).await, "the old one stays");
    }
    fs_write(&key, STRANGER.1);
    until(async || trusted(STRANGER.0).await).await;
    assert!(!trusted(CA).await);
    backend.shutdown().await;
}

fn bearer(header: &str, scheme: &str) -> BearerToken {
    let tokens = Tokens::Text(vec!["right".to_owned(), "also".to_owned()]);
    BearerToken { header: header.to_owned(), scheme: scheme.to_owned(), tokens }
}

#[tokio::test]
async fn only_who_shows_a_token_is_heard() {
    let guarded = Server { authenticator: Some(bearer("authorization", "Bearer")), ..anywhere() };
    let mut receiver = receiver(guarded);
    let origin = "https://shop.example".to_owned();
    receiver.web.cors = Some(Cors { origins: vec![origin.clone()], headers: Vec::new(), max_age: None });
    let backend = start(receiving(receiver)).await;
    let addresses = backend.addresses();
    let mut grpc = Grpc::connect(addresses.grpc.unwrap()).await;
    let message = traces(&[(1, 1, "a")]).encode_to_vec();
    for (shown, status, code) in [
        (None, 401, 16),
        (Some("Bearer wrong"), 401, 16),
        (Some("right"), 401, 16),
        (Some("Bearer right"), 200, 0),
        (Some("bearer also"), 200, 0),
    ] {
        let shown = shown.map(|value| ("authorization", value));
        let headers: Vec<_> = [GRPC].into_iter().chain(shown).collect();
        let called = grpc.send(TRACES, &headers, vec![framed(0, &message)]).await;
        assert_eq!((called.status, called.retry), (code, false), "{shown:?}: {}", called.message);

        let headers: Vec<_> = [PROTOBUF, ("origin", &origin)].into_iter().chain(shown).collect();
        let answered =
            http(addresses.http.unwrap(), Method::POST, "/v1/traces", &headers, message.clone()).await;
        assert_eq!((answered.status, answered.header("retry-after")), (status, ""), "{shown:?}");
        let challenge = if status == 401 { "Bearer" } else { "" };
        assert_eq!(answered.header("www-authenticate"), challenge);
        assert_eq!(answered.header("access-control-allow-origin"), origin, "a page may read why");
    }
    // A browser asks first, without a token.
    let headers = [
        ("origin", origin.as_str()),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let preflight = http(addresses.http.unwrap(), Method::OPTIONS, "/v1/traces", &headers, "").await;
    assert_eq!(
        (preflight.status, preflight.header("access-control-allow-headers")),
        (204, "authorization,content-type")
    );
    for transport in ["grpc", "http"] {
        let labels = format!("{{reason=\"unauthenticated\",receiver=\"otlp/in\",transport=\"{transport}\"}}");
        counted(&backend, &format!("throughline_receiver_refused_requests_total{labels} 3\n"));
    }
    assert_eq!(spans(&backend.store(), trace(1)), ["a"]);
    backend.shutdown().await;
}

#[tokio::test]
async fn each_receiver_has_its_own_paths_sizes_and_figures() {
    let small = receiver(Server { message_bytes: Some(1000), ..anywhere() });
    let mut other = receiver(Server { message_bytes: Some(5000), ..anywhere() });
    other.name = "otlp/other".to_owned();
    other.web.traces_path = "/spans".to_owned();
    let mut topology = Topology::store_everything(small);
    topology.receivers.push(other);
    topology.pipelines.iter_mut().for_each(|pipeline| pipeline.receivers.push(1));
    let backend = start(Config { topology: Some(topology), ..config() }).await;

    let message = traces(&[(1, 1, &"x".repeat(2000))]).encode_to_vec();
    let all = backend.receivers().to_vec();
    for ((name, addresses), path, taken) in [(&all[0], "/v1/traces", false), (&all[1], "/spans", true)] {
        let (code, status, wrong) = if taken { (0, 200, "/v1/traces") } else { (8, 413, "/spans") };
        let mut grpc = Grpc::connect(addresses.grpc.unwrap()).await;
        assert_eq!(grpc.export(TRACES, &message).await.status, code, "{name}");
        for (path, status) in [(path, status), (wrong, 404)] {
            let body = message.clone();
            let answered = http(addresses.http.unwrap(), Method::POST, path, &[PROTOBUF], body).await;
            assert_eq!(answered.status, status, "{name} {path}");
        }
        let labels = |transport: &str| format!("{{receiver=\"{name}\",transport=\"{transport}\"}}");
        for transport in ["grpc", "http"] {
            let accepted = format!("otelcol_receiver_accepted_spans{}", labels(transport));
            counted(&backend, &format!("{accepted} {}\n", u8::from(taken)));
        }
    }
    backend.shutdown().await;
}

#[tokio::test]
async fn with_memory_at_its_limit_a_pipeline_refuses_retryably_and_others_go_on() {
    let gibibyte = 1_u64 << 30;
    for (limit, refuses) in [(1, true), (gibibyte << 10, false)] {
        let limit = MemoryLimit::Bytes(NonZeroU64::new(limit).unwrap());
        let limiter = MemoryLimiter { interval: Duration::from_millis(10), limit, spike: None };
        let mut topology = Topology::store_everything(receiver(anywhere()));
        topology.pipelines[0].memory = Some(Memory { name: "memory_limiter".to_owned(), limiter });
        assert_eq!(topology.pipelines[0].signal, Signal::Traces);
        let backend = start(Config { topology: Some(topology), ..config() }).await;

        let addresses = backend.addresses();
        let mut grpc = Grpc::connect(addresses.grpc.unwrap()).await;
        let called = grpc.export(TRACES, &traces(&[(1, 1, "a"), (1, 2, "b")]).encode_to_vec()).await;
        assert_eq!((called.status, called.retry), if refuses { (14, true) } else { (0, false) });
        let answered =
            http(addresses.http.unwrap(), Method::POST, "/v1/traces", &[JSON], traces_json(1, 3, "c")).await;
        let expected = if refuses { (503, "1") } else { (200, "") };
        assert_eq!((answered.status, answered.header("retry-after")), expected);
        assert_eq!(grpc.export(LOGS, &logs(1, "hello").encode_to_vec()).await.status, 0);
        assert_eq!(backend.readiness(), Ok(()));

        let word = if refuses { "refused" } else { "accepted" };
        for line in [
            format!("otelcol_processor_{word}_spans{{processor=\"memory_limiter\"}} 3\n"),
            format!("otelcol_receiver_{word}_spans{{receiver=\"otlp/in\",transport=\"grpc\"}} 2\n"),
            format!(
                "throughline_memory_limiter_refusing{{processor=\"memory_limiter\"}} {}\n",
                u8::from(refuses)
            ),
        ] {
            counted(&backend, &line);
        }
        backend.shutdown().await;
    }
}

#[tokio::test]
async fn files_that_are_not_what_they_should_be_are_said_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs_write(&path, text);
        path
    };
    let missing = folder.path().join("missing");
    let pem = |name, text| Pem::File(file(name, text));
    let with = |tls| Server { tls: Some(tls), ..anywhere() };
    let tokens = |tokens| BearerToken { tokens, ..bearer("authorization", "Bearer") };
    for (server, expected) in [
        (
            with(ServerTls { certificate: Pem::File(missing.clone()), ..tls() }),
            "`tls.cert_file`: cannot read ",
        ),
        (with(ServerTls { certificate: pem("a", "text"), ..tls() }), "`tls.cert_file`: "),
        (with(ServerTls { key: pem("b", CA), ..tls() }), "`tls.key_file`: "),
        (
            with(ServerTls { key: Pem::Text(CLIENT.1.to_owned()), ..tls() }),
            "`tls.cert_file`: the text given does not go",
        ),
        (with(ServerTls { client_ca: Some(missing.clone()), ..tls() }), "`tls.client_ca_file`: cannot read "),
        (with(ServerTls { client_ca: Some(file("c", "")), ..tls() }), "`tls.client_ca_file`: "),
        (
            Server { authenticator: Some(tokens(Tokens::File(missing))), ..anywhere() },
            "`auth.authenticator`: cannot read ",
        ),
        (
            Server { authenticator: Some(tokens(Tokens::File(file("d", "\n")))), ..anywhere() },
            "`auth.authenticator`: ",
        ),
    ] {
        let Err(error) = Backend::start(receiving(receiver(server))).await else {
            panic!("starts, without {expected}")
        };
        let error = error.to_string();
        assert!(error.starts_with(&format!("receiver otlp/in (OTLP over gRPC): {expected}")), "{error}");
    }
}
