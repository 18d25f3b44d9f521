//! Asks a running server. Owns how its failures are told, and that a stranger's answer is not taken for one of ours; what
//! is asked is others'.

use std::io::Read;
use std::time::Duration;

use serde_json::Value as Json;
use ureq::http::{Response, header};
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

/// The media type of an answer: whoever answers with another one is not throughline.
#[derive(Clone, Copy)]
enum Media {
    Text,
    Json,
    Events,
}

impl Media {
    fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::Json => "application/json",
            Self::Events => "text/event-stream",
        }
    }
}

impl Client {
    pub(crate) fn new(url: &str) -> Result<Self, Failure> {
        if url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
            return Err(Failure::Usage(format!("{url}: https is not supported, use http://")));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A proxy of the environment would be asked for a server on this machine.
            .proxy(None)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .build();
        Ok(Self { agent: config.new_agent(), url: url.trim_end_matches('/').to_owned() })
    }

    /// The whole answer to a question, as text.
    pub(crate) fn text(&self, path: &str, parameters: &[(&str, String)]) -> Result<String, Failure> {
        self.whole(path, parameters, Media::Text)
    }

    /// The whole answer to a question, as JSON.
    pub(crate) fn json(&self, path: &str, parameters: &[(&str, String)]) -> Result<Json, Failure> {
        let text = self.whole(path, parameters, Media::Json)?;
        serde_json::from_str(&text).map_err(|error| self.stranger(&format!("its JSON is none: {error}")))
    }

    fn whole(&self, path: &str, parameters: &[(&str, String)], media: Media) -> Result<String, Failure> {
        let mut response = self.ask(path, parameters, media)?;
        let body = response.body_mut().with_config().limit(u64::MAX).read_to_string();
        body.map_err(|error| Failure::Server(format!("the answer of {} broke off: {error}", self.url)))
    }

    /// An answer that goes on, as it comes.
    pub(crate) fn stream(&self, path: &str) -> Result<impl Read + use<>, Failure> {
        Ok(self.ask(path, &[], Media::Events)?.into_body().into_reader())
    }

    fn ask(
        &self,
        path: &str,
        parameters: &[(&str, String)],
        media: Media,
    ) -> Result<Response<Body>, Failure> {
        let mut response = self.get(path, parameters).map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        match status {
            200 if is(&response, media) => return Ok(response),
            200 => return Err(self.stranger(&format!("its answer to {path} is not {}", media.as_str()))),
            // Anybody says this of a path they do not know.
            400 | 404 if !self.is_throughline() => {
                return Err(self.stranger(&format!("it answered {path} with {status}")));
            }
            _ => {}
        }
        let said = response.body_mut().read_to_string().unwrap_or_default();
        let said = said_in(&said);
        Err(match status {
            400 => Failure::Usage(said),
            404 => Failure::NotFound(said),
            _ => Failure::Server(format!("{} answered {status}: {said}", self.url)),
        })
    }

    fn get(&self, path: &str, parameters: &[(&str, String)]) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        for (name, value) in parameters {
            request = request.query(name, value);
        }
        request.call()
    }

    /// Whether who answers there answers a search of ours as we do.
    fn is_throughline(&self) -> bool {
        let Ok(mut response) = self.get("/tl/v1/search", &[("limit", "1".to_owned())]) else { return false };
        let body = response.body_mut().read_to_string().unwrap_or_default();
        let found: Json = serde_json::from_str(&body).unwrap_or_default();
        ["traces", "logs"].iter().all(|list| found.get(list).is_some_and(Json::is_array))
    }

    fn stranger(&self, why: &str) -> Failure {
        Failure::Server(format!(
            "what answers at {} is not throughline ({why}); say with --url where its page is, which is port 16686 unless \
             --ui-port said otherwise",
            self.url
        ))
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

fn is(response: &Response<Body>, media: Media) -> bool {
    let stated = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    stated.is_some_and(|stated| stated.starts_with(media.as_str()))
}

/// The message of an error that came as JSON (`{"error": …}`), else the text itself.
fn said_in(body: &str) -> String {
    let json: Option<Json> = serde_json::from_str(body).ok();
    let message = json.as_ref().and_then(|json| json.get("error")).and_then(|error| error.as_str());
    message.unwrap_or(body).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::*;

    /// Somebody who gives every request this answer.
    fn somebody(status: &'static str, media: &'static str, body: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let head = BufReader::new(stream.try_clone().unwrap()).lines();
                assert!(head.map_while(Result::ok).any(|line| line.is_empty()));
                let length = body.len();
                write!(stream, "HTTP/1.1 {status}\r\ncontent-type: {media}\r\ncontent-length: {length}\r\n")
                    .unwrap();
                write!(stream, "connection: close\r\n\r\n{body}").unwrap();
            }
        });
        url
    }

    #[test]
    fn a_strangers_answer_is_no_answer_whatever_it_is() {
        for (status, media, body) in [
            ("404 Not Found", "application/json", r#"{"error":"no such page"}"#),
            ("404 Not Found", "text/plain", "404 page not found"),
            ("400 Bad Request", "application/json", "{}"),
            ("200 OK", "text/html", "<!doctype html>"),
        ] {
            let url = somebody(status, media, body);
            let client = Client::new(&url).unwrap();
            let failures = [
                client.text("/tl/v1/trace/1/text", &[]).unwrap_err(),
                client.json("/tl/v1/search", &[]).unwrap_err(),
                client.stream("/tl/v1/trace/1/follow").map(drop).unwrap_err(),
            ];
            for failure in failures {
                assert_eq!(failure.code(), 3, "{status} {media}: {failure}");
                assert!(failure.to_string().contains(&format!("{url} is not throughline")), "{failure}");
            }
        }
    }

    #[test]
    fn https_is_refused_with_what_to_write() {
        for url in ["https://traces.example", "HTTPS://127.0.0.1:16686"] {
            let failure = Client::new(url).map(drop).unwrap_err();
            assert_eq!(failure.code(), 2);
            assert!(failure.to_string().contains("https is not supported, use http://"), "{failure}");
        }
        assert!(Client::new("http://traces.example/").is_ok());
    }
}
