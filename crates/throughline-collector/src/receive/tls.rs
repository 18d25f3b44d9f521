//! TLS of a listener: its certificate, who clients must be signed by, and the same files read again while it runs.
//! rustls over ring. A file that turns bad costs nothing: what was read before stays in use, and that is said.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::Listener;
use crate::configuration::{Pem, ServerTls, TlsVersion};
use crate::export::SettingError;

/// What a listener shows and asks for, as it was read last.
pub(super) struct Certificates {
    settings: ServerTls,
    protocols: Vec<Vec<u8>>,
    current: RwLock<Current>,
}

struct Current {
    files: Files,
    config: Arc<ServerConfig>,
}

/// The bytes a configuration was made of: while they are the same, so are the sessions that clients resume.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Certificates {
    /// Reads what the settings name.
    pub(super) fn open(which: Listener, settings: &ServerTls) -> Result<Self, SettingError> {
        let protocols: &[&[u8]] = match which {
            Listener::Grpc => &[b"h2"],
            Listener::Http => &[b"h2", b"http/1.1"],
        };
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|name| name.to_vec()).collect();
        let files = Files::read(settings)?;
        let config = server_config(settings, &files, &protocols)?;
        Ok(Self { settings: settings.clone(), protocols, current: RwLock::new(Current { files, config }) })
    }

    /// How often [`Certificates::refresh`] is wanted, if at all.
    pub(super) fn reload(&self) -> Option<Duration> {
        self.settings.reload
    }

    /// For one connection. Those that are open keep what they began with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current.config))
    }

    /// Reads the files again. What cannot be used changes nothing. Reads files: off the runtime's threads.
    pub(super) fn refresh(&self) -> Result<(), SettingError> {
        let files = Files::read(&self.settings)?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).files == files {
            return Ok(());
        }
        // A key that was written before its certificate does not go with it: the next look finds both.
        let config = server_config(&self.settings, &files, &self.protocols)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Current { files, config };
        tracing::info!("a receiver's certificates were read again");
        Ok(())
    }
}

impl Files {
    fn read(settings: &ServerTls) -> Result<Self, SettingError> {
        let client_ca = settings.client_ca.as_deref().map(|path| read("tls.client_ca_file", path));
        Ok(Self {
            certificate: pem("tls.cert_file", &settings.certificate)?,
            key: pem("tls.key_file", &settings.key)?,
            client_ca: client_ca.transpose()?,
        })
    }
}

fn server_config(
    settings: &ServerTls,
    files: &Files,
    protocols: &[Vec<u8>],
) -> Result<Arc<ServerConfig>, SettingError> {
    let provider = Arc::new(ring::default_provider());
    let versions: &[_] = match settings.oldest {
        TlsVersion::V1_2 => &[&TLS13, &TLS12],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| SettingError::new("tls.min_version", error.to_string()))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(client_ca) => {
            let roots = Arc::new(roots(settings, client_ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| SettingError::new("tls.client_ca_file", error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificates("tls.cert_file", &files.certificate, &name(&settings.certificate))?;
    let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|error| {
        SettingError::new("tls.key_file", format!("{} has no private key: {error}", name(&settings.key)))
    })?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        let problem = format!("{} does not go with the key: {error}", name(&settings.certificate));
        SettingError::new("tls.cert_file", problem)
    })?;
    config.alpn_protocols = protocols.to_vec();
    Ok(Arc::new(config))
}

fn roots(settings: &ServerTls, client_ca: &[u8]) -> Result<RootCertStore, SettingError> {
    let key = "tls.client_ca_file";
    let name = settings.client_ca.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, client_ca, &name)? {
        roots.add(certificate).map_err(|error| {
            SettingError::new(key, format!("{name} has no certificate that can sign clients': {error}"))
        })?;
    }
    Ok(roots)
}

fn certificates(
    key: &'static str,
    bytes: &[u8],
    name: &str,
) -> Result<Vec<CertificateDer<'static>>, SettingError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(SettingError::new(key, format!("{name} has no certificate"))),
        Err(error) => Err(SettingError::new(key, format!("{name} is not PEM: {error}"))),
    }
}

fn pem(key: &'static str, pem: &Pem) -> Result<Vec<u8>, SettingError> {
    match pem {
        Pem::Text(text) => Ok(text.clone().into_bytes()),
        Pem::File(path) => read(key, path),
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, SettingError> {
    std::fs::read(path)
        .map_err(|error| SettingError::new(key, format!("cannot read {}: {error}", path.display())))
}

fn name(pem: &Pem) -> String {
    match pem {
        Pem::File(path) => path.display().to_string(),
        Pem::Text(_) => "the text given".to_owned(),
    }
}
