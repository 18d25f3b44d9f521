//! Cross-origin requests from browsers: off until origins are configured, and then for those only. Answers as the
//! OpenTelemetry Collector does: a preflight that is not allowed gets no header that allows anything.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{Method, Response, StatusCode};

use super::answer::Answer;
use crate::configuration::Cors;

/// What a page may send beside the headers that every page may: what OTLP and trace context need.
const HEADERS: [&str; 7] = [
    "accept",
    "content-type",
    "content-encoding",
    "x-requested-with",
    "traceparent",
    "tracestate",
    "baggage",
];

const METHODS: HeaderValue = HeaderValue::from_static("POST");
const PREFLIGHT_VARY: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");

/// Which pages may send, and what.
#[derive(Debug)]
pub(super) struct Policy {
    origins: Origins,
    headers: Headers,
    max_age: Option<HeaderValue>,
}

#[derive(Debug)]
enum Origins {
    Any,
    These(Vec<Pattern>),
}

/// An origin in small letters, perhaps with one `*` for anything.
#[derive(Debug)]
struct Pattern {
    before: String,
    after: Option<String>,
}

#[derive(Debug)]
enum Headers {
    Any,
    These(Vec<String>),
}

impl Policy {
    /// `None` without an origin: then there are no cross-origin requests. `token` is the header of the listener's tokens.
    pub(super) fn new(cors: &Cors, token: Option<&HeaderName>) -> Option<Self> {
        if cors.origins.is_empty() {
            return None;
        }
        let any = |list: &[String]| list.iter().any(|entry| entry == "*");
        let origins = if any(&cors.origins) {
            Origins::Any
        } else {
            Origins::These(cors.origins.iter().map(|origin| Pattern::new(origin)).collect())
        };
        let headers = if any(&cors.headers) {
            Headers::Any
        } else {
            let ours = HEADERS.into_iter().chain(token.map(HeaderName::as_str)).map(str::to_owned);
            Headers::These(ours.chain(cors.headers.iter().map(|name| name.to_ascii_lowercase())).collect())
        };
        let max_age = cors.max_age.map(|age| age.as_secs()).filter(|age| *age > 0).map(HeaderValue::from);
        Some(Self { origins, headers, max_age })
    }

    /// The answer to a preflight, if this is one.
    pub(super) fn preflight(&self, method: &Method, asked: &HeaderMap) -> Option<Response<Answer>> {
        let wanted = asked.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| *method == Method::OPTIONS)?;
        let mut response = Response::new(Answer::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(VARY, PREFLIGHT_VARY);
        let Some(origin) = self.origin(asked).filter(|_| *wanted == METHODS && self.headers.allow(asked))
        else {
            return Some(response);
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        for names in asked.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().filter(|names| !names.is_empty()) {
            headers.append(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        if let Some(age) = &self.max_age {
            headers.insert(ACCESS_CONTROL_MAX_AGE, age.clone());
        }
        Some(response)
    }

    /// What an answer to the request says about who may read it: its origin, if that is one of those configured.
    pub(super) fn origin(&self, asked: &HeaderMap) -> Option<HeaderValue> {
        let origin = asked.get(ORIGIN)?;
        match &self.origins {
            // Not the origin itself: that would let a browser send the visitor's credentials from any page.
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::These(patterns) => {
                let text = origin.to_str().ok()?.to_ascii_lowercase();
                patterns.iter().any(|pattern| pattern.fits(&text)).then(|| origin.clone())
            }
        }
    }

    /// Marks an answer as readable for what [`Policy::origin`] said.
    pub(super) fn mark(origin: Option<HeaderValue>, headers: &mut HeaderMap) {
        headers.insert(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

impl Pattern {
    fn new(origin: &str) -> Self {
        let origin = origin.to_ascii_lowercase();
        match origin.split_once('*') {
            None => Self { before: origin, after: None },
            Some((before, after)) => Self { before: before.to_owned(), after: Some(after.to_owned()) },
        }
    }

    fn fits(&self, origin: &str) -> bool {
        match (&self.after, origin.strip_prefix(&self.before)) {
            (_, None) => false,
            (None, Some(rest)) => rest.is_empty(),
            (Some(after), Some(rest)) => rest.ends_with(after),
        }
    }
}

impl Headers {
    fn allow(&self, asked: &HeaderMap) -> bool {
        let Self::These(allowed) = self else { return true };
        asked.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().all(|names| {
            let mut names = names.to_str().unwrap_or("?").split(',').map(str::trim);
            names.all(|name| {
                name.is_empty() || allowed.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn policy(origins: &[&str], headers: &[&str], max_age: Option<u64>) -> Policy {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let max_age = max_age.map(Duration::from_secs);
        let token = HeaderName::from_static("authorization");
        Policy::new(&Cors { origins: list(origins), headers: list(headers), max_age }, Some(&token)).unwrap()
    }

    #[test]
    fn origins_fit_as_written() {
        let check = |allowed: &[&str], origin: &'static str| {
            let asked = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]);
            policy(allowed, &[], None).origin(&asked).map(|value| value.to_str().unwrap().to_owned())
        };
        for (allowed, origin, expected) in [
            ("https://shop.example", "https://shop.example", Some("https://shop.example")),
            ("https://Shop.example", "https://shop.EXAMPLE", Some("https://shop.EXAMPLE")),
            ("https://shop.example", "https://shop.example.evil", None),
            ("https://shop.example", "https://shop.exampl", None),
            ("https://*.shop.example", "https://a.b.shop.example", Some("https://a.b.shop.example")),
            ("https://*.shop.example", "https://shop.example", None),
            ("https://*.shop.example", "http://a.shop.example", None),
            ("http://localhost:*", "http://localhost:8080", Some("http://localhost:8080")),
            ("ab*ba", "aba", None),
            ("*", "null", Some("*")),
        ] {
            assert_eq!(check(&[allowed], origin).as_deref(), expected, "{allowed} {origin}");
        }
        assert!(
            Policy::new(&Cors { origins: Vec::new(), headers: Vec::new(), max_age: None }, None).is_none()
        );
    }

    #[test]
    fn preflights_allow_what_is_asked_or_nothing() {
        let answer = |policy: &Policy, method: &'static str, names: &'static str| {
            let asked = HeaderMap::from_iter([
                (ORIGIN, HeaderValue::from_static("https://a")),
                (ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static(method)),
                (ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static(names)),
            ]);
            let response = policy.preflight(&Method::OPTIONS, &asked).unwrap();
            assert_eq!(response.status(), StatusCode::NO_CONTENT);
            let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(header(VARY).unwrap(), PREFLIGHT_VARY.to_str().unwrap());
            let all = [ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_MAX_AGE];
            header(ACCESS_CONTROL_ALLOW_ORIGIN).map(|_| all.map(|name| header(name).unwrap_or_default()))
        };
        let ours = "content-type,traceparent, authorization";
        let own = policy(&["https://a"], &["X-Own"], Some(60));
        let any = policy(&["*"], &["*"], None);
        for (policy, method, names, expected) in [
            (&own, "POST", ours, Some(["POST", ours, "60"])),
            (&own, "POST", "x-own", Some(["POST", "x-own", "60"])),
            (&own, "POST", "", Some(["POST", "", "60"])),
            (&own, "POST", "x-other", None),
            (&own, "DELETE", ours, None),
            (&any, "POST", "x-other", Some(["POST", "x-other", ""])),
            (&policy(&["https://b"], &[], None), "POST", ours, None),
        ] {
            let said = answer(policy, method, names);
            assert_eq!(said, expected.map(|it| it.map(str::to_owned)), "{method} {names}");
        }
        assert!(own.preflight(&Method::POST, &HeaderMap::new()).is_none());
        assert!(
            own.preflight(&Method::OPTIONS, &HeaderMap::new()).is_none(),
            "no preflight asks for nothing"
        );
    }
}
