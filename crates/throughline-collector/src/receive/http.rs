//! OTLP over HTTP: `POST /v1/traces`, `/v1/logs`, `/v1/metrics` (or as configured), protobuf or JSON, gzip or not. JSON becomes protobuf
//! here; past this module there is one form. Answers speak the request's encoding, refusals included.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use throughline_otlp::{Signal, json};

use super::answer::{Answer, export_response_json, export_response_proto};
use super::{Receiver, body, cors, gunzip, host, offload};
use crate::intake::Accepted;
use crate::refusal::Refusal;
use crate::topology::Web;

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

/// Answers one request; every outcome is an answer.
pub(super) async fn respond(receiver: &Receiver, request: Request<Incoming>) -> Response<Answer> {
    let form = form(request.headers());
    // Whoever asked in no known form gets an answer a person can read.
    let spoken = form.clone().unwrap_or(Form::Json);
    // Before CORS: under a stranger's name an allowed origin is worth nothing. A stranger's page has neither a certificate
    // for its name here nor a token.
    if receiver.gate.is_open()
        && let Err(refusal) = host::check(&receiver.allow_hosts, &request)
    {
        return refused(receiver, &refusal, spoken);
    }
    let Some(policy) = &receiver.cors else { return export_answered(receiver, request, form, spoken).await };
    // A preflight shows no token.
    if let Some(preflight) = policy.preflight(request.method(), request.headers()) {
        return preflight;
    }
    let origin = policy.origin(request.headers());
    let mut response = export_answered(receiver, request, form, spoken).await;
    cors::Policy::mark(origin, response.headers_mut());
    response
}

async fn export_answered(
    receiver: &Receiver,
    request: Request<Incoming>,
    form: Result<Form, Refusal>,
    spoken: Form,
) -> Response<Answer> {
    match export(receiver, request, form).await {
        Ok((signal, accepted)) => success(signal, spoken, &accepted),
        Err(refusal) => refused(receiver, &refusal, spoken),
    }
}

fn refused(receiver: &Receiver, refusal: &Refusal, form: Form) -> Response<Answer> {
    receiver.entrance.counters.refuse(refusal.reason());
    failure(refusal, form)
}

async fn export(
    receiver: &Receiver,
    request: Request<Incoming>,
    form: Result<Form, Refusal>,
) -> Result<(Signal, Accepted), Refusal> {
    receiver.admit(request.headers())?;
    let signal = signal(&receiver.web, request.uri().path())?;
    if request.method() != Method::POST {
        return Err(Refusal::Method);
    }
    let form = form?;
    let gzip = is_gzip(request.headers())?;
    let Receiver { intake, limits, .. } = receiver;
    let limit = limits.message_bytes;
    let mut reservation = intake.budget().open();
    let body = body::collect(request.into_body(), limit, limits, &mut reservation).await?;
    let (body, _held) = if gzip { gunzip(body, limit, reservation).await? } else { (body, reservation) };
    let message = match form {
        Form::Protobuf => body,
        Form::Json => offload(body.len(), move || translate(signal, &body)).await?,
    };
    Ok((signal, intake.take(&receiver.entrance, signal, message).await?))
}

fn translate(signal: Signal, text: &[u8]) -> Result<Bytes, Refusal> {
    json::to_protobuf(signal, text)
        .map(Bytes::from)
        .map_err(|error| Refusal::Malformed(format!("body is not OTLP JSON: {error}")))
}

fn signal(web: &Web, path: &str) -> Result<Signal, Refusal> {
    match path {
        _ if path == web.traces_path => Ok(Signal::Traces),
        _ if path == web.logs_path => Ok(Signal::Logs),
        _ if path == web.metrics_path => Ok(Signal::Metrics),
        other => Err(Refusal::UnknownPath(other.to_owned())),
    }
}

fn form(headers: &HeaderMap) -> Result<Form, Refusal> {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(value);
    let essence = text.split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "application/x-protobuf" | "application/protobuf" => Ok(Form::Protobuf),
        "application/json" => Ok(Form::Json),
        _ => Err(Refusal::ContentType(text.into_owned())),
    }
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Refusal> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(false) };
    match value.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => Ok(true),
        "identity" | "none" | "" => Ok(false),
        other => Err(Refusal::Encoding(other.to_owned())),
    }
}

fn success(signal: Signal, form: Form, accepted: &Accepted) -> Response<Answer> {
    answer(
        form,
        match form {
            Form::Protobuf => export_response_proto(accepted),
            Form::Json => export_response_json(signal, accepted),
        },
    )
}

fn failure(refusal: &Refusal, form: Form) -> Response<Answer> {
    let mut response = answer(
        form,
        match form {
            Form::Protobuf => refusal.status_proto(),
            Form::Json => refusal.status_json(),
        },
    );
    *response.status_mut() = refusal.http();
    let headers = response.headers_mut();
    if let Some(after) = refusal.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
    }
    match refusal {
        Refusal::Method => headers.insert(ALLOW, HeaderValue::from_static("POST")),
        Refusal::Encoding(_) => headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, identity")),
        Refusal::Unauthenticated { scheme } => headers.insert(WWW_AUTHENTICATE, challenge(scheme)),
        _ => None,
    };
    response
}

/// A bare token has no scheme of its own; an answer must name one.
fn challenge(scheme: &str) -> HeaderValue {
    let bearer = HeaderValue::from_static("Bearer");
    if scheme.is_empty() { bearer } else { HeaderValue::try_from(scheme).unwrap_or(bearer) }
}

fn answer(form: Form, body: Vec<u8>) -> Response<Answer> {
    let mut response = Response::new(Answer::data(body));
    let value = match form {
        Form::Protobuf => "application/x-protobuf",
        Form::Json => "application/json",
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(value));
    response
}
