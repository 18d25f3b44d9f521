//! Asks a running server. Owns how its failures are told; what is asked is others'.

use std::io::Read;
use std::time::Duration;

use ureq::http::Response;
use ureq::{Agent, Body};

use crate::exit::Failure;

/// A server that is there answers at once; one that is not should be said so soon.
const CONNECT: Duration = Duration::from_secs(3);
/// A question may take the store a while.
const ANSWER: Duration = Duration::from_secs(60);

/// A server at a URL.
pub(crate) struct Client {
    agent: Agent,
    url: String,
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A proxy of the environment would be asked for a server on this machine.
            .proxy(None)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .build();
        Self { agent: config.new_agent(), url: url.trim_end_matches('/').to_owned() }
    }

    /// The whole answer to a question.
    pub(crate) fn text(&self, path: &str, parameters: &[(&str, String)]) -> Result<String, Failure> {
        let mut response = self.ask(path, parameters)?;
        let body = response.body_mut().with_config().limit(u64::MAX).read_to_string();
        body.map_err(|error| Failure::Server(format!("the answer of {} broke off: {error}", self.url)))
    }

    /// An answer that goes on, as it comes.
    pub(crate) fn stream(&self, path: &str) -> Result<impl Read + use<>, Failure> {
        Ok(self.ask(path, &[])?.into_body().into_reader())
    }

    fn ask(&self, path: &str, parameters: &[(&str, String)]) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        for (name, value) in parameters {
            request = request.query(name, value);
        }
        let mut response = request.call().map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        if status == 200 {
            return Ok(response);
        }
        let said = response.body_mut().read_to_string().unwrap_or_default();
        let said = said_in(&said);
        Err(match status {
            400 => Failure::Usage(said),
            404 => Failure::NotFound(said),
            _ => Failure::Server(format!("{} answered {status}: {said}", self.url)),
        })
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        let url = &self.url;
        if let ureq::Error::BadUri(_) | ureq::Error::Http(_) = error {
            return Failure::Usage(format!(
                "{url} is no URL ({error}); give one such as http://127.0.0.1:16686"
            ));
        }
        let why = match error {
            ureq::Error::Io(error) => error.to_string(),
            other => other.to_string(),
        };
        Failure::Server(format!(
            "no throughline answers at {url} ({why}); start one with `throughline serve` or `throughline demo`, or say \
             where it is with --url"
        ))
    }
}

/// The message of an error that came as JSON (`{"error": …}`), else the text itself.
fn said_in(body: &str) -> String {
    let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let message = json.as_ref().and_then(|json| json.get("error")).and_then(|error| error.as_str());
    message.unwrap_or(body).trim().to_owned()
}
