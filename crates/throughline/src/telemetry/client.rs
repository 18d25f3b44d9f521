//! The HTTP client under the OTLP exporters: ureq, blocking, on the SDK's own exporter threads. So a service needs no
//! second async runtime to be observed, and nothing here can feed spans of its own back into the exporter.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};

/// An OTLP answer is a few bytes; more is not read.
const ANSWER_LIMIT: u64 = 64 * 1024;

/// Why the last request got no answer: the exporter says only "network error", a reader needs "connection refused".
#[derive(Debug, Clone, Default)]
pub(super) struct LastProblem(Arc<Mutex<Option<String>>>);

impl LastProblem {
    fn set(&self, problem: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A blocking client with connection reuse. Each request ends within the timeout it was built with.
#[derive(Debug)]
pub(super) struct UreqClient {
    agent: ureq::Agent,
    problem: LastProblem,
}

impl UreqClient {
    pub(super) fn new(endpoint: &str, timeout: Duration, problem: LastProblem) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy_for(endpoint))
            .build();
        UreqClient { agent: config.new_agent(), problem }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (parts, body) = request.into_parts();
        let response = self.agent.run(Request::from_parts(parts, body.as_ref()))?;
        let (parts, mut body) = response.into_parts();
        let answer = body.with_config().limit(ANSWER_LIMIT).read_to_vec()?;
        Ok(Response::from_parts(parts, Bytes::from(answer)))
    }
}

#[async_trait::async_trait]
impl HttpClient for UreqClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.send(request);
        self.problem.set(match &answer {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("the answer was {}", response.status())),
            Err(error) => Some(error.to_string()),
        });
        Ok(answer?)
    }
}

/// `HTTP_PROXY` is for the world outside: a collector on this machine is never asked for through it.
fn proxy_for(endpoint: &str) -> Option<ureq::Proxy> {
    if is_here(endpoint) { None } else { ureq::Proxy::try_from_env() }
}

fn is_here(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_here;

    #[test]
    fn a_collector_on_this_machine_is_told_from_one_outside() {
        for (endpoint, here) in [
            ("http://localhost:4318/v1/traces", true),
            ("http://127.0.0.1:4318", true),
            ("http://[::1]:4318", true),
            ("http://127.example.com", false),
            ("http://10.0.0.1:4318", false),
            ("no url at all", false),
        ] {
            assert_eq!(is_here(endpoint), here, "{endpoint}");
        }
    }
}
