//! The blocks `tls` and `auth`, of servers and of clients. Opens no file: whoever starts does, and `Loaded` names them.

use std::path::PathBuf;
use std::time::Duration;

use super::component::ComponentId;
use super::read::{At, Block};

/// Certificates or a key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// In this file.
    File(PathBuf),
    /// These.
    Text(String),
}

/// `tls` of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// `cert_file`, `cert_pem`: its chain of certificates.
    pub certificate: Pem,
    /// `key_file`, `key_pem`: the certificate's key.
    pub key: Pem,
    /// `client_ca_file`: who signs clients' certificates. With it a client must have one.
    pub client_ca: Option<PathBuf>,
    /// `min_version`. Default 1.2.
    pub oldest: TlsVersion,
    /// `reload_interval`: how often the files are read again.
    pub reload: Option<Duration>,
}

/// `tls` of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// `insecure`: no TLS, for a client whose endpoint has no scheme.
    pub transport: Transport,
    /// `insecure_skip_verify`
    pub verification: Verification,
    /// `ca_file`, `ca_pem`: who signs servers' certificates. Default: the system's.
    pub ca: Option<Pem>,
    /// `include_system_ca_certs_pool`: the system's besides `ca`.
    pub system_ca: SystemCa,
    /// `cert_file`, `cert_pem` with `key_file`, `key_pem`: what the client shows.
    pub identity: Option<(Pem, Pem)>,
    /// `server_name_override`: the name the server's certificate must have.
    pub server_name: Option<String>,
    /// `min_version`. Default 1.2.
    pub oldest: TlsVersion,
    /// `reload_interval`: how often the files are read again.
    pub reload: Option<Duration>,
}

/// `insecure`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// TLS.
    #[default]
    Tls,
    /// In the clear.
    Plain,
}

/// `insecure_skip_verify`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// The server's certificate is checked.
    #[default]
    Verify,
    /// Anybody is believed.
    Skip,
}

/// `include_system_ca_certs_pool`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SystemCa {
    /// Only if no other is given.
    #[default]
    Otherwise,
    /// Always.
    Include,
}

/// `min_version`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2
    #[default]
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// A secret's text never shows in a log.
impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text(_) => f.write_str("Text(…)"),
        }
    }
}

pub(super) fn server(at: &At<'_>) -> Option<ServerTls> {
    let mut block = at.block()?;
    let certificate = pem(&mut block, "cert_file", "cert_pem");
    let key = pem(&mut block, "key_file", "key_pem");
    let client_ca = file(&mut block, "client_ca_file");
    let (oldest, reload) = versions(&mut block);
    block.without_effect(&["client_ca_file_reload"], "`reload_interval` covers the clients' CA as well");
    block.without_effect(
        &["ca_file", "ca_pem", "include_system_ca_certs_pool"],
        "a server checks clients against `client_ca_file`",
    );
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        _ => {
            block.at().error("needs `cert_file` and `key_file` (or `cert_pem` and `key_pem`)");
            block.finish();
            return None;
        }
    };
    block.finish();
    Some(ServerTls { certificate, key, client_ca, oldest, reload })
}

pub(super) fn client(at: &At<'_>) -> Option<ClientTls> {
    let mut block = at.block()?;
    let certificate = pem(&mut block, "cert_file", "cert_pem");
    let key = pem(&mut block, "key_file", "key_pem");
    let ca = pem(&mut block, "ca_file", "ca_pem");
    let choice = |chosen: Option<bool>| chosen.unwrap_or(false);
    let transport = if choice(block.boolean("insecure")) { Transport::Plain } else { Transport::Tls };
    let verification =
        if choice(block.boolean("insecure_skip_verify")) { Verification::Skip } else { Verification::Verify };
    let system_ca = if choice(block.boolean("include_system_ca_certs_pool")) {
        SystemCa::Include
    } else {
        SystemCa::Otherwise
    };
    let server_name = block.some_text("server_name_override");
    let (oldest, reload) = versions(&mut block);
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            block.at().error("has only one of certificate and key: a client shows both or neither");
            None
        }
    };
    block.finish();
    Some(ClientTls { transport, verification, ca, system_ca, identity, server_name, oldest, reload })
}

/// Who may call: the extension that checks it.
pub(super) fn authenticator(block: &mut Block<'_>) -> Option<ComponentId> {
    let at = block.get("auth")?;
    let mut auth = at.block()?;
    let named = auth.required("authenticator");
    auth.without_effect(&["request_params"], "tokens are read from the header `authorization` only");
    auth.finish();
    let named = named?;
    let id = named.text_with(ComponentId::parse)?;
    named.refers_to_extension(&id);
    Some(id)
}

fn versions(block: &mut Block<'_>) -> (TlsVersion, Option<Duration>) {
    let words = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
    let oldest = block.get("min_version").and_then(|at| at.one_of(&words)).unwrap_or_default();
    let reload = block.get("reload_interval").and_then(|at| at.some_time());
    let why = "the TLS library's own choice is used, which leaves out what is broken";
    block.without_effect(&["max_version", "cipher_suites", "curve_preferences"], why);
    block.unsupported(&["tpm"], "give the key as `key_file`");
    (oldest, reload)
}

fn pem(block: &mut Block<'_>, in_file: &'static str, as_text: &'static str) -> Option<Pem> {
    let path = file(block, in_file);
    let text = block.some_text(as_text);
    if path.is_some() && text.is_some() {
        block.at().error(format!("has both `{in_file}` and `{as_text}`: give one"));
    }
    path.map(Pem::File).or(text.map(Pem::Text))
}

/// The path of a file that must be there at the start.
pub(super) fn file(block: &mut Block<'_>, key: &'static str) -> Option<PathBuf> {
    let at = block.get(key)?;
    let path = PathBuf::from(at.text().filter(|text| !text.is_empty())?);
    at.findings.file(at.node.place, &at.path, path.clone());
    Some(path)
}
