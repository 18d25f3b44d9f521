//! Receivers: from what the configuration says to what listens. Reads the files they name, so that `validate` says of them
//! what a start would.

use std::iter;
use std::time::Duration;

use super::{AdoptError, Adopting};
use crate::config::Config;
use crate::configuration::{
    BearerToken, ComponentId, Extension, GrpcServer, HostPort, HttpServer, OtlpReceiver, ServerTls,
};
use crate::receive::{Gate, Listener};
use crate::topology::{Receiver, Server, Topology, Web};

/// A request takes at most half a segment of the journal, which has at least three segments, and is not to fill it.
const LARGEST_SHARE: u64 = 8;

/// Below it there is no room for three segments that hold the largest record of decisions.
const LEAST_JOURNAL: u64 = 8 << 20;

/// What both protocols say.
struct Said<'a> {
    endpoint: &'a HostPort,
    tls: &'a Option<ServerTls>,
    authenticator: &'a Option<ComponentId>,
    message_bytes: u64,
    header_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
}

impl Adopting<'_> {
    pub(super) fn otlp_receiver(&mut self, id: &ComponentId, otlp: &OtlpReceiver) -> Option<Receiver> {
        let before = self.errors.len();
        let grpc = otlp.grpc.as_ref().and_then(|it| self.server(id, Listener::Grpc, &grpc(it)));
        let server = otlp.http.as_ref().and_then(|it| self.server(id, Listener::Http, &http(it)));
        let web = otlp.http.as_ref().map(web).unwrap_or_default();
        (self.errors.len() == before).then(|| Receiver {
            name: id.to_string(),
            grpc,
            http: server,
            web,
            kafka: None,
        })
    }

    fn server(&mut self, id: &ComponentId, which: Listener, said: &Said<'_>) -> Option<Server> {
        let Some(address) = said.endpoint.socket() else {
            let (endpoint, port) = (said.endpoint, said.endpoint.port);
            let problem = format!("{endpoint} is a name; listen on an address, such as 127.0.0.1:{port}");
            self.refuse("receivers", id, problem);
            return None;
        };
        let server = Server {
            address,
            tls: said.tls.clone(),
            authenticator: said.authenticator.as_ref().and_then(|named| self.tokens(id, named)),
            message_bytes: Some(usize::try_from(said.message_bytes).unwrap_or(usize::MAX)),
            header_timeout: said.header_timeout,
            idle_timeout: said.idle_timeout,
        };
        if let Err(error) = Gate::open(which, &server) {
            let problem = format!("`protocols.{}.{}`: {}", which.transport(), error.key, error.problem);
            self.refuse("receivers", id, problem);
        }
        Some(server)
    }

    /// Never lets everybody in because of an authenticator that cannot check.
    fn tokens(&mut self, id: &ComponentId, named: &ComponentId) -> Option<BearerToken> {
        match self.configuration.extensions.get(named) {
            Some(Extension::BearerToken(tokens)) => Some(tokens.clone()),
            _ => {
                self.refuse("receivers", id, format!("`{named}` is no bearertokenauth of `extensions`"));
                None
            }
        }
    }
}

fn grpc(grpc: &GrpcServer) -> Said<'_> {
    Said {
        endpoint: &grpc.endpoint,
        tls: &grpc.tls,
        authenticator: &grpc.authenticator,
        message_bytes: grpc.max_message_bytes,
        header_timeout: None,
        idle_timeout: None,
    }
}

fn http(http: &HttpServer) -> Said<'_> {
    Said {
        endpoint: &http.endpoint,
        tls: &http.tls,
        authenticator: &http.authenticator,
        message_bytes: http.max_body_bytes,
        header_timeout: http.header_timeout,
        idle_timeout: http.idle_timeout,
    }
}

fn web(http: &HttpServer) -> Web {
    Web {
        traces_path: http.traces_path.clone(),
        logs_path: http.logs_path.clone(),
        metrics_path: http.metrics_path.clone(),
        cors: http.cors.clone(),
    }
}

/// Makes room for the largest request that a receiver lets in, or says why there is none.
pub(super) fn make_room(config: &mut Config, topology: &Topology) -> Vec<AdoptError> {
    let mut errors = Vec::new();
    if config.journal_bytes < LEAST_JOURNAL {
        errors.push(AdoptError {
            component: "extensions::throughline".to_owned(),
            problem: format!(
                "`journal_size` is {} bytes, and must be {LEAST_JOURNAL} at least",
                config.journal_bytes
            ),
        });
    }
    let most = config.journal_bytes / LARGEST_SHARE;
    let limits = &mut config.limits;
    let servers = topology.receivers.iter();
    let servers =
        servers.flat_map(|receiver| receiver.grpc.iter().chain(&receiver.http).zip(iter::repeat(receiver)));
    let mut largest = None;
    for (server, receiver) in servers {
        let bytes = server.message_bytes.unwrap_or(limits.message_bytes);
        if bytes as u64 > most {
            errors.push(AdoptError {
                component: format!("receivers::{}", receiver.name),
                problem: format!(
                    "lets in requests of {bytes} bytes, and one may take at most an eighth of the journal, which is {most}; \
                     make `journal_size` of `extensions::throughline` larger, or the receiver's limit smaller"
                ),
            });
        }
        largest = largest.max(Some(bytes));
    }
    // Without a server, what other receivers bring is bounded by the default.
    limits.message_bytes = largest.unwrap_or(limits.message_bytes);
    // The request as it comes and inflated, each twice: nobody is to wait for ever because another one is there.
    limits.in_flight_bytes = limits.in_flight_bytes.max(limits.message_bytes.saturating_mul(4));
    errors
}

#[cfg(test)]
mod tests {
    use crate::configuration::{Configuration, Source};

    use super::*;

    /// Lays `receiver` and `extensions`, in flow style, into a whole configuration.
    fn check(receiver: &str, extensions: &str) -> Result<Config, Vec<String>> {
        let text = format!(
            "receivers: {{otlp/in: {{protocols: {receiver}}}}}\nextensions: {extensions}\n\
             processors: {{memory_limiter: {{check_interval: 1s, limit_mib: 64}}}}\nexporters: {{throughline: {{}}}}\n\
             service: {{extensions: [bearertokenauth, throughline], pipelines: {{traces: \
             {{receivers: [otlp/in], processors: [memory_limiter], exporters: [throughline]}}}}}}"
        );
        let loaded = Configuration::load(&[Source::new("test", text)], &|_| None);
        let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
        Config::adopt(&loaded.configuration, Config::default())
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    const TOKEN: &str = "{bearertokenauth: {token: secret}, throughline: {}}";

    #[test]
    fn what_is_said_of_a_receiver_is_what_runs() {
        let http = "{endpoint: '127.0.0.1:0', auth: {authenticator: bearertokenauth}, traces_url_path: spans, \
                    max_request_body_size: 33554432, read_header_timeout: 2s, idle_timeout: 3s, \
                    cors: {allowed_origins: ['https://*.a'], allowed_headers: [x-own], max_age: 60}}";
        let config = check(&format!("{{grpc: {{max_recv_msg_size_mib: 8}}, http: {http}}}"), TOKEN).unwrap();
        assert_eq!(config.limits.message_bytes, 32 << 20, "the journal's segments are sized by it");
        let topology = config.topology.unwrap();
        let Receiver { name, grpc, http, web, .. } = topology.receivers[0].clone();
        assert_eq!(name, "otlp/in");
        let grpc = grpc.unwrap();
        assert_eq!((grpc.address.port(), grpc.message_bytes), (4317, Some(8 << 20)));
        assert_eq!((grpc.tls, grpc.authenticator, grpc.header_timeout), (None, None, None));
        let http = http.unwrap();
        assert_eq!(http.message_bytes, Some(32 << 20));
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!((http.header_timeout, http.idle_timeout), (seconds(2), seconds(3)));
        assert_eq!(http.authenticator.unwrap().scheme, "Bearer");
        assert_eq!((web.traces_path.as_str(), web.logs_path.as_str()), ("/spans", "/v1/logs"));
        let cors = web.cors.unwrap();
        assert_eq!((cors.origins, cors.headers), (vec!["https://*.a".to_owned()], vec!["x-own".to_owned()]));
        assert_eq!(cors.max_age, seconds(60));
        assert_eq!(topology.pipelines[0].memory.as_ref().unwrap().name, "memory_limiter");
    }

    #[test]
    fn what_cannot_run_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        let empty = empty.display();
        let (guarded, secured) = (
            "{grpc: {auth: {authenticator: bearertokenauth}}}".to_owned(),
            format!("{{http: {{tls: {{cert_file: '{empty}', key_file: '{empty}'}}}}}}"),
        );
        let from_file = format!("{{bearertokenauth: {{filename: '{empty}'}}, throughline: {{}}}}");
        let large = "{grpc: {max_recv_msg_size_mib: 9}}".to_owned();
        let small_journal = "{bearertokenauth: {token: secret}, throughline: {journal_size: 64MiB}}";
        let tiny_journal = "{bearertokenauth: {token: secret}, throughline: {journal_size: 4MiB}}";
        let small = "{http: {max_request_body_size: 65536}}".to_owned();
        for (receiver, extensions, expected) in [
            (small, tiny_journal, "extensions::throughline: `journal_size` is 4194304 bytes, and must be "),
            (guarded, from_file.as_str(), "receivers::otlp/in: `protocols.grpc.auth.authenticator`: "),
            (secured, TOKEN, "receivers::otlp/in: `protocols.http.tls.cert_file`: "),
            (
                large,
                small_journal,
                "receivers::otlp/in: lets in requests of 9437184 bytes, and one may take ",
            ),
            (
                "{grpc: {endpoint: 'collector:4317'}}".to_owned(),
                TOKEN,
                "receivers::otlp/in: collector:4317 is a name",
            ),
        ] {
            let errors = check(&receiver, extensions).unwrap_err();
            assert!(errors.len() == 1 && errors[0].starts_with(expected), "{errors:?} is not {expected}");
        }
    }
}
