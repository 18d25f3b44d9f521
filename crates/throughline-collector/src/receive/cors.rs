//! Cross-origin requests from browsers: off until origins are configured, and then for those only.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http::{Method, Response, StatusCode};

use super::answer::Answer;

/// The request's origin, if it is one of those configured (`*` stands for any).
pub(super) fn allowed(origins: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    let known = origins.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes());
    known.then(|| origin.clone())
}

/// The answer to a preflight, if this is one from an allowed origin.
pub(super) fn preflight(origin: Option<&HeaderValue>, method: &Method) -> Option<Response<Answer>> {
    let origin = origin.filter(|_| *method == Method::OPTIONS)?;
    let mut response = Response::new(Answer::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    let allowed =
        HeaderValue::from_static("content-type, content-encoding, traceparent, tracestate, baggage");
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    allow(Some(origin.clone()), headers);
    Some(response)
}

/// Marks an answer as readable for that origin.
pub(super) fn allow(origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(VARY, HeaderValue::from_static("origin"));
    }
}
