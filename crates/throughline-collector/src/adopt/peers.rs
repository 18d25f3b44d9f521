//! `extensions::throughline::peers`: from what the configuration says to what runs.

use super::{AdoptError, Adopting, sending};
use crate::configuration::{Peers, Throughline, Transport};
use crate::peers::PeerSettings;

impl Adopting<'_> {
    pub(super) fn peers(&mut self, ours: &Throughline) -> Option<PeerSettings> {
        match settings(ours.peers.as_ref()?, ours) {
            Ok(settings) => Some(settings),
            Err(problem) => {
                let component = "extensions::throughline".to_owned();
                self.errors.push(AdoptError { component, problem });
                None
            }
        }
    }
}

fn settings(peers: &Peers, ours: &Throughline) -> Result<PeerSettings, String> {
    let endpoint = &peers.endpoint;
    let listen = endpoint.socket().ok_or_else(|| {
        format!(
            "peers::endpoint: {endpoint} is a name; listen on an address, such as 0.0.0.0:{}",
            endpoint.port
        )
    })?;
    if peers.server_tls.as_ref().is_some_and(|tls| tls.reload.is_some()) {
        return Err("peers::tls::server::reload_interval is not built; restart to read new files".to_owned());
    }
    let client_tls = match &peers.client_tls {
        Some(client) if client.reload.is_some() => {
            return Err(
                "peers::tls::client::reload_interval is not built; restart to read new files".to_owned()
            );
        }
        Some(client) if client.transport == Transport::Plain => {
            return Err("peers::tls::client says `insecure`, but the other nodes answer under `tls::server`"
                .to_owned());
        }
        client => client.as_ref().map(sending::tls),
    };
    let settings = PeerSettings {
        listen,
        advertise: peers.advertise.clone(),
        resolver: sending::resolver(&peers.resolver),
        token: peers.token.clone(),
        timeout: peers.timeout,
        server_tls: peers.server_tls.clone(),
        client_tls,
        look_back: ours.look_back,
    };
    settings.check_names().map_err(|error| error.to_string())?;
    Ok(settings)
}
