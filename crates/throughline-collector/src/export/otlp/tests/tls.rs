//! TLS towards the sink: a proxy in front of it holds the certificates.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::export::tls::{Identity, Pem, TlsSettings, TlsVersion, Verify};

const CA: &str = include_str!("ca.pem");
const SERVER: (&str, &str) = (include_str!("server.pem"), include_str!("server.key"));
/// Signed by itself.
const STRANGER: (&str, &str) = (
    include_str!("../../../backend/tests/stranger.pem"),
    include_str!("../../../backend/tests/stranger.key"),
);
const CLIENT: (&str, &str) = (include_str!("client.pem"), include_str!("client.key"));

#[derive(Clone, Copy, PartialEq)]
enum Clients {
    Anybody,
    WithCertificate,
}

/// Ends TLS and passes on what is inside.
async fn proxy(to: SocketAddr, clients: Clients, protocols: &[&[u8]]) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        Clients::Anybody => builder.with_no_client_auth(),
        Clients::WithCertificate => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(CA.as_bytes()).unwrap()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let certificate = CertificateDer::from_pem_slice(SERVER.0.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(SERVER.1.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust us leaves here.
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let mut inside = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    address
}

fn text(pem: &str) -> Pem {
    Pem::Text(pem.to_owned())
}

fn trusting() -> TlsSettings {
    TlsSettings { ca: Some(text(CA)), ..TlsSettings::default() }
}

async fn check(protocol: Protocol, host: &str, tls: TlsSettings, address: SocketAddr) -> String {
    let port = address.port();
    let endpoint = match protocol {
        Protocol::Grpc => format!("{host}:{port}"),
        Protocol::Http(_) => format!("https://{host}:{port}"),
    };
    let security = Security::Tls(tls);
    let settings =
        OtlpSettings { security, timeout: Some(PATIENCE), ..OtlpSettings::new(protocol, endpoint) };
    match send(&OtlpExporter::new(settings).unwrap(), Signal::Traces, traces([(1, 1)])).await {
        Outcome::Accepted { rejected: None } => "accepted".to_owned(),
        Outcome::Retry { trouble: Trouble::Connection, why, .. } => why,
        other => format!("{other:?}"),
    }
}

const PROTOCOLS: [(Protocol, &[&[u8]]); 4] = [
    (Protocol::Grpc, &[b"h2"]),
    (Protocol::Http(Encoding::Proto), &[b"h2", b"http/1.1"]),
    (Protocol::Http(Encoding::Proto), &[b"http/1.1"]),
    (Protocol::Http(Encoding::Proto), &[]),
];

#[tokio::test]
async fn who_is_trusted_and_who_is_not() {
    let sink = Sink::start(any_port()).await.unwrap();
    for (protocol, agreed) in PROTOCOLS {
        let address = proxy(sink.address(), Clients::Anybody, agreed).await;
        let override_name = |name: &str| TlsSettings { server_name: Some(name.to_owned()), ..trusting() };
        let unverified = TlsSettings { verify: Verify::Nothing, ..TlsSettings::default() };
        let newest = TlsSettings { min_version: TlsVersion::V1_3, ..trusting() };
        for (host, tls, expected) in [
            ("localhost", trusting(), "accepted"),
            ("127.0.0.1", trusting(), "accepted"),
            ("127.0.0.1", override_name("localhost"), "accepted"),
            ("localhost", newest, "accepted"),
            ("localhost", unverified, "accepted"),
            ("localhost", override_name("other.example"), "not valid for name"),
        ] {
            let said = check(protocol, host, tls, address).await;
            assert!(said.contains(expected), "{host}: {said}, not {expected}");
        }
        // A root that is not the server's.
        let stranger = TlsSettings { ca: Some(text(SERVER.0)), ..TlsSettings::default() };
        let said = check(protocol, "localhost", stranger, address).await;
        assert!(said.contains("TLS: invalid peer certificate"), "{said}");
    }
    assert_eq!(distinct(&sink.arrived()), 1);
    assert_eq!(sink.arrived().stats().spans, 5 * PROTOCOLS.len() as u64);
}

#[tokio::test]
async fn we_can_say_who_we_are() {
    let sink = Sink::start(any_port()).await.unwrap();
    let identity = Identity { certificates: text(CLIENT.0), key: text(CLIENT.1) };
    for (protocol, agreed) in PROTOCOLS {
        let address = proxy(sink.address(), Clients::WithCertificate, agreed).await;
        let known = TlsSettings { identity: Some(identity.clone()), ..trusting() };
        assert_eq!(check(protocol, "localhost", known, address).await, "accepted");
        let said = check(protocol, "localhost", trusting(), address).await;
        assert!(said != "accepted", "nobody without a certificate");
    }
    assert_eq!(sink.arrived().stats().spans, PROTOCOLS.len() as u64);
}

/// Nobody was told who we are at first; then the files are written anew.
#[tokio::test]
async fn files_are_read_again_before_a_connection_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let write = |name: &str, content: &str| std::fs::write(file(name), content).unwrap();
    let sink = Sink::start(any_port()).await.unwrap();
    let address = proxy(sink.address(), Clients::WithCertificate, &[b"http/1.1"]).await;
    write("cert", STRANGER.0);
    write("key", STRANGER.1);
    let identity = Identity { certificates: Pem::File(file("cert")), key: Pem::File(file("key")) };
    let exporter = |reload| {
        let tls = TlsSettings { identity: Some(identity.clone()), reload, ..trusting() };
        let endpoint = format!("https://localhost:{}", address.port());
        OtlpExporter::new(OtlpSettings {
            security: Security::Tls(tls),
            timeout: Some(PATIENCE),
            ..OtlpSettings::new(Protocol::Http(Encoding::Proto), endpoint)
        })
        .unwrap()
    };
    let (fresh, stale) = (exporter(Some(Duration::ZERO)), exporter(None));
    let accepts = async |exporter: &OtlpExporter| {
        send(exporter, Signal::Traces, traces([(1, 1)])).await == Outcome::ACCEPTED
    };
    assert!(!accepts(&fresh).await && !accepts(&stale).await);
    write("cert", CLIENT.0);
    write("key", CLIENT.1);
    // The failure to connect is remembered for a moment.
    let known = async { while !accepts(&fresh).await {} };
    tokio::time::timeout(PATIENCE, known).await.expect("the new files are shown");
    assert!(!accepts(&stale).await, "nobody asked for that");
    // What cannot be used changes nothing.
    write("key", "");
    fresh.traces.as_ref().unwrap().connections.forget().await;
    assert!(accepts(&fresh).await);
}

#[test]
fn files_that_are_not_what_they_should_be() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        Pem::File(path)
    };
    let missing = Pem::File(folder.path().join("missing.pem"));
    let identity =
        |certificates, key| TlsSettings { identity: Some(Identity { certificates, key }), ..trusting() };
    for (tls, expected) in [
        (TlsSettings { ca: Some(missing), ..TlsSettings::default() }, "`tls.ca_file`: cannot read"),
        (TlsSettings { ca: Some(file("a", "text")), ..TlsSettings::default() }, "`tls.ca_file`: "),
        (identity(file("b", CLIENT.0), file("c", "text")), "`tls.key_file`: "),
        (identity(text("text"), text(CLIENT.1)), "`tls.cert_file`: the text given has no certificate"),
        (identity(text(CLIENT.0), text(SERVER.1)), "`tls.cert_file`: does not go with the key"),
        (TlsSettings { server_name: Some("a b".to_owned()), ..trusting() }, "`tls.server_name_override`: "),
    ] {
        let settings =
            OtlpSettings { security: Security::Tls(tls), ..OtlpSettings::new(Protocol::Grpc, "localhost:1") };
        let said = OtlpExporter::new(settings).unwrap_err().to_string();
        assert!(said.starts_with(expected), "{said} is not {expected}");
    }
}
