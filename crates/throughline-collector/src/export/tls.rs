//! TLS towards destinations: which roots are trusted, who we say we are, what is not verified. rustls over ring; nothing
//! is read until an exporter is made, and then everything is, so that a wrong file is said at start. With `reload_interval`
//! the files are read again when a connection is made; what cannot be used then leaves those of before in use.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::SettingError;

/// `tls` of an exporter that does not say `insecure: true`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// `ca_file` or `ca_pem`; without it the system's roots are trusted.
    pub ca: Option<Pem>,
    /// Whether the system's roots are trusted beside `ca`.
    pub system_roots: SystemRoots,
    /// `cert_file` and `key_file`, or the two as `_pem`.
    pub identity: Option<Identity>,
    /// `insecure_skip_verify`
    pub verify: Verify,
    /// `server_name_override`
    pub server_name: Option<String>,
    /// `min_version`
    pub min_version: TlsVersion,
    /// `reload_interval`: connections made so long after files were read have them read again. `None`: never.
    pub reload: Option<Duration>,
}

/// Certificates or a key in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// In a file.
    File(PathBuf),
    /// In the configuration itself.
    Text(String),
}

/// Who we say we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate and what leads from it to a root.
    pub certificates: Pem,
    /// Its private key.
    pub key: Pem,
}

/// `include_system_ca_certs_pool`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SystemRoots {
    /// Only where no `ca` is given.
    #[default]
    Alone,
    /// As well.
    WithOwn,
}

/// Whether the destination has to prove who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// It has to.
    #[default]
    Everything,
    /// It has not: anybody on the way can read and change what is sent.
    Nothing,
}

/// Versions of TLS that are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2 and up.
    #[default]
    V1_2,
    /// 1.3 only.
    V1_3,
}

/// What connections are made with, as it was read last.
pub(super) struct Client {
    settings: TlsSettings,
    protocols: Vec<Vec<u8>>,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ClientConfig>,
    read: Instant,
    /// Whether the files could be used when they were read last: what is wrong is said once.
    files: Result<(), SettingError>,
}

impl Client {
    /// Reads what the settings name. `protocols` are offered by ALPN, the best first.
    pub(super) fn open(settings: &TlsSettings, protocols: &[&[u8]]) -> Result<Self, SettingError> {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|name| name.to_vec()).collect();
        let config = client_config(settings, &protocols)?;
        let current = Mutex::new(Current { config, read: Instant::now(), files: Ok(()) });
        Ok(Self { settings: settings.clone(), protocols, current })
    }

    /// For one connection. Those that are open keep what they began with.
    pub(super) async fn connector(self: &Arc<Self>) -> TlsConnector {
        if self.is_due() {
            let client = Arc::clone(self);
            // Reads files. If the runtime stops, so does the connection.
            let _ = tokio::task::spawn_blocking(move || client.refresh()).await;
        }
        TlsConnector::from(Arc::clone(&self.current().config))
    }

    /// Whether the files are to be read again; whoever is told so does it.
    fn is_due(&self) -> bool {
        let Some(every) = self.settings.reload else { return false };
        let mut current = self.current();
        let due = current.read.elapsed() >= every;
        if due {
            current.read = Instant::now();
        }
        due
    }

    fn refresh(&self) {
        let read = client_config(&self.settings, &self.protocols);
        let mut current = self.current();
        let files = read.map(|config| current.config = config);
        if let Err(error) = &files
            && current.files != files
        {
            tracing::warn!(%error, "an exporter's certificates cannot be read again; those of before stay in use");
        }
        current.files = files;
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what the settings name. `protocols` are offered by ALPN, the best first.
fn client_config(settings: &TlsSettings, protocols: &[Vec<u8>]) -> Result<Arc<ClientConfig>, SettingError> {
    let provider = Arc::new(ring::default_provider());
    let versions: &[_] = match settings.min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| SettingError::new("tls.min_version", error.to_string()))?;
    let builder = match settings.verify {
        Verify::Everything => builder.with_root_certificates(roots(settings)?),
        Verify::Nothing => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        }
    };
    let mut config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(
                certificates("tls.cert_file", &identity.certificates)?,
                key("tls.key_file", &identity.key)?,
            )
            .map_err(|error| {
                SettingError::new("tls.cert_file", format!("does not go with the key: {error}"))
            })?,
    };
    config.alpn_protocols = protocols.to_vec();
    Ok(Arc::new(config))
}

fn roots(settings: &TlsSettings) -> Result<RootCertStore, SettingError> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = &settings.ca {
        for certificate in certificates("tls.ca_file", ca)? {
            let problem =
                |error| SettingError::new("tls.ca_file", format!("not a root that can be used: {error}"));
            roots.add(certificate).map_err(problem)?;
        }
    }
    if settings.ca.is_none() || settings.system_roots == SystemRoots::WithOwn {
        let found = rustls_native_certs::load_native_certs();
        // One broken file among the system's hundreds is no reason not to start; none at all is.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            let problem = format!(
                "the system has no trusted roots ({}); install ca-certificates, or name a ca_file",
                why.join("; ")
            );
            return Err(SettingError::new("tls", problem));
        }
    }
    Ok(roots)
}

fn certificates(key: &'static str, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, SettingError> {
    let bytes = read(key, pem)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(SettingError::new(key, format!("{} has no certificate", pem.name()))),
        Err(error) => Err(SettingError::new(key, format!("{} is not PEM: {error}", pem.name()))),
    }
}

fn key(setting: &'static str, pem: &Pem) -> Result<PrivateKeyDer<'static>, SettingError> {
    PrivateKeyDer::from_pem_slice(&read(setting, pem)?)
        .map_err(|error| SettingError::new(setting, format!("{} has no private key: {error}", pem.name())))
}

fn read(key: &'static str, pem: &Pem) -> Result<Vec<u8>, SettingError> {
    match pem {
        Pem::Text(text) => Ok(text.clone().into_bytes()),
        Pem::File(path) => std::fs::read(path)
            .map_err(|error| SettingError::new(key, format!("cannot read {}: {error}", path.display()))),
    }
}

impl Pem {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text(_) => "the text given".to_owned(),
        }
    }
}

/// `insecure_skip_verify`: any certificate is believed. Signatures are still checked, as the peer's library does.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
