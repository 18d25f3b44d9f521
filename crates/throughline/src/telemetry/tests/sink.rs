//! An OTLP/HTTP collector for tests: a listener, a thread per connection, requests kept as they came.

use std::{
    io::{BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
};

use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{KeyValue as ProtoKeyValue, any_value::Value},
    logs::v1::LogRecord,
    metrics::v1::{metric::Data, number_data_point::Value as Number},
    trace::v1::Span,
};

/// What the sink says to each request.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Answer {
    Ok,
    Status(u16),
    /// Nothing to spans until [`Sink::release`]; then 200.
    SpansHeld,
}

pub(super) struct Request {
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn decoded<M: prost::Message + Default>(&self) -> M {
        let gzip = self.header("content-encoding") == Some("gzip");
        let body = if gzip {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(self.body.as_slice()).read_to_end(&mut plain).unwrap();
            plain
        } else {
            self.body.clone()
        };
        M::decode(body.as_slice()).unwrap()
    }
}

struct State {
    answer: Mutex<Answer>,
    released: Condvar,
    requests: Mutex<Vec<Arc<Request>>>,
}

pub(super) struct Sink {
    url: String,
    state: Arc<State>,
}

impl Sink {
    pub(super) fn start(answer: Answer) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sink = Sink::at(format!("http://{}", listener.local_addr().unwrap()));
        *sink.state.answer.lock().unwrap() = answer;
        let state = Arc::downgrade(&sink.state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Some(state) = state.upgrade() else { return };
                std::thread::spawn(move || serve(stream.unwrap(), &state));
            }
        });
        sink
    }

    /// A sink that keeps nothing, for an address where nobody listens.
    pub(super) fn at(url: String) -> Sink {
        let state =
            State { answer: Mutex::new(Answer::Ok), released: Condvar::new(), requests: Mutex::default() };
        Sink { url, state: Arc::new(state) }
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) fn release(&self) {
        *self.state.answer.lock().unwrap() = Answer::Ok;
        self.state.released.notify_all();
    }

    pub(super) fn requests(&self, path: &str) -> Vec<Arc<Request>> {
        self.state.requests.lock().unwrap().iter().filter(|request| request.path == path).cloned().collect()
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        let requests = self.requests("/v1/traces").into_iter();
        let decoded = requests.map(|request| request.decoded::<ExportTraceServiceRequest>());
        decoded.flat_map(|r| r.resource_spans).flat_map(|r| r.scope_spans).flat_map(|s| s.spans).collect()
    }

    pub(super) fn logs(&self) -> Vec<LogRecord> {
        let requests = self.requests("/v1/logs").into_iter();
        let decoded = requests.map(|request| request.decoded::<ExportLogsServiceRequest>());
        decoded.flat_map(|r| r.resource_logs).flat_map(|r| r.scope_logs).flat_map(|s| s.log_records).collect()
    }

    pub(super) fn resource(&self, key: &str) -> Option<String> {
        let request: ExportTraceServiceRequest = self.requests("/v1/traces").first()?.decoded();
        text(&request.resource_spans.first()?.resource.as_ref()?.attributes, key)
    }

    /// The value of the point of `metric` that has `attribute`.
    pub(super) fn sum(&self, metric: &str, attribute: &KeyValue) -> Option<i64> {
        let requests = self.requests("/v1/metrics").into_iter();
        let decoded = requests.map(|request| request.decoded::<ExportMetricsServiceRequest>());
        let mut metrics =
            decoded.flat_map(|r| r.resource_metrics).flat_map(|r| r.scope_metrics).flat_map(|s| s.metrics);
        let Some(Data::Sum(sum)) = metrics.find(|found| found.name == metric)?.data else { return None };
        let wanted = Some(attribute.value.to_string());
        let point = sum
            .data_points
            .into_iter()
            .find(|point| text(&point.attributes, attribute.key.as_str()) == wanted)?;
        match point.value? {
            Number::AsInt(value) => Some(value),
            Number::AsDouble(_) => None,
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.release();
    }
}

fn serve(mut stream: TcpStream, state: &State) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read(&mut reader) {
        let status = {
            let mut answer = state.answer.lock().unwrap();
            while *answer == Answer::SpansHeld && request.path == "/v1/traces" {
                answer = state.released.wait(answer).unwrap();
            }
            if let Answer::Status(status) = *answer { status } else { 200 }
        };
        state.requests.lock().unwrap().push(Arc::new(request));
        if write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl std::io::BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { path, headers, body })
}

fn text(attributes: &[ProtoKeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()?;
    match value {
        Value::StringValue(text) => Some(text.clone()),
        other => Some(format!("{other:?}")),
    }
}

/// `body | trace span | correlation id`.
pub(super) fn summary(record: &LogRecord) -> String {
    let Some(Value::StringValue(body)) = record.body.as_ref().and_then(|body| body.value.clone()) else {
        return "no text".to_owned();
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let ids = format!("{} {}", hex(&record.trace_id), hex(&record.span_id));
    let correlation = text(&record.attributes, "correlation_id").unwrap_or_default();
    format!("{body} | {} | {correlation}", ids.trim())
}
