//! Query parameters: of Jaeger's search, with its defaults and its words when one is wrong, and of our own endpoints.

use std::collections::BTreeMap;
use std::time::Duration;

use throughline_otlp::{TraceId, UnixNanos};
use throughline_store::{Errors, Search};

use crate::reply::{self, Failure};
use crate::units::{self, thousands};

/// Jaeger's own defaults.
const LIMIT: usize = 100;
const LOOKBACK: Duration = Duration::from_secs(2 * 24 * 3600);
/// More than this many whole traces in one answer serves nobody.
const MAX_LIMIT: usize = 1_500;

/// Query parameters: names in order, a name may occur several times.
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a query string. What is not well encoded is refused, not taken literally: it would search for something else.
    pub(crate) fn read(query: Option<&str>) -> Result<Self, Failure> {
        let terms = query.unwrap_or_default().split('&').filter(|term| !term.is_empty());
        let pair = |term: &str| {
            let (name, value) = term.split_once('=').unwrap_or((term, ""));
            Ok((decode(name)?, decode(value)?))
        };
        Ok(Self(terms.map(pair).collect::<Result<_, Failure>>()?))
    }

    /// The first value with this name that is not empty.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.all(name).find(|value| !value.is_empty())
    }

    /// Whether it is there, empty or not.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, Failure> {
        self.one(name).ok_or_else(|| Failure::Bad(format!("parameter '{name}' is required")))
    }

    pub(crate) fn trace_ids(&self) -> Result<Vec<TraceId>, Failure> {
        self.all("traceID").map(reply::trace_id).collect()
    }

    /// The search Jaeger would do: `service` is required, without `start` it looks back (two days, or `lookback`).
    ///
    /// With it what there is to say of the limit.
    pub(crate) fn search(&self, now: UnixNanos) -> Result<(Search, Option<String>), Failure> {
        let mut attributes = self.tags()?;
        let (min_duration, max_duration) = (self.duration("minDuration")?, self.duration("maxDuration")?);
        if let (Some(min), Some(max)) = (min_duration, max_duration)
            && max < min
        {
            return Err(Failure::Bad("'maxDuration' should be greater than 'minDuration'".to_owned()));
        }
        // Jaeger's UI asks for errors, and for a kind, through tags of its own making.
        let errors = match attributes.remove("error").as_deref() {
            None => Errors::Any,
            Some("true") => Errors::Only,
            Some(other) => {
                return Err(Failure::Bad(format!(
                    "tag 'error' can only be searched as 'true', not {other:?}"
                )));
            }
        };
        let kind = attributes.remove("span.kind").map(|name| kind(&name)).transpose()?;
        let (limit, note) = self.limit(LIMIT, MAX_LIMIT)?;
        let search = Search {
            service: Some(self.required("service")?.to_owned()),
            operation: self.one("operation").map(str::to_owned),
            kind,
            errors,
            min_duration,
            max_duration,
            start: Some(self.start(now)?),
            end: self.micros("end")?,
            attributes: attributes.into_iter().collect(),
            limit,
        };
        Ok((search, note))
    }

    fn start(&self, now: UnixNanos) -> Result<UnixNanos, Failure> {
        let back = self.duration_named("lookback")?.unwrap_or(LOOKBACK);
        let nanos = u64::try_from(back.as_nanos()).unwrap_or(u64::MAX);
        Ok(self.micros("start")?.unwrap_or(UnixNanos(now.0.saturating_sub(nanos))))
    }

    /// A count, `None` if it is not given.
    pub(crate) fn number(&self, name: &str) -> Result<Option<usize>, Failure> {
        let read = |text: &str| {
            text.parse().map_err(|e| Failure::Bad(format!("unable to parse param '{name}': {e}")))
        };
        self.one(name).map(read).transpose()
    }

    /// `limit=`, never over the maximum; with what to say if it was.
    pub(crate) fn limit(&self, usual: usize, most: usize) -> Result<(usize, Option<String>), Failure> {
        let asked = self.number("limit")?.unwrap_or(usual);
        let note = (asked > most)
            .then(|| format!("limit {} is over the maximum; {} is used", thousands(asked), thousands(most)));
        Ok((asked.min(most), note))
    }

    /// `lookback` is `1h`, `2d` or `custom` (then `start` is given), as Jaeger's UI sends it.
    fn duration_named(&self, name: &str) -> Result<Option<Duration>, Failure> {
        if self.one(name) == Some("custom") { Ok(None) } else { self.duration(name) }
    }

    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>, Failure> {
        let problem = |text| {
            Failure::Bad(format!(
                "unable to parse param '{name}': invalid duration {text:?}, like 1.2s, 100ms, 500us"
            ))
        };
        self.one(name).map(|text| units::parse_duration(text).ok_or_else(|| problem(text))).transpose()
    }

    fn micros(&self, name: &str) -> Result<Option<UnixNanos>, Failure> {
        let read = |text: &str| match text.parse::<u64>() {
            Ok(micros) => Ok(UnixNanos(micros.saturating_mul(1_000))),
            Err(error) => Err(Failure::Bad(format!("unable to parse param '{name}': {error}"))),
        };
        self.one(name).map(read).transpose()
    }

    /// `tag=key:value`, any number of times, and `tags={"key":"value"}`.
    fn tags(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut tags = BTreeMap::new();
        for tag in self.all("tag") {
            let Some((key, value)) = tag.split_once(':') else {
                let text = format!("malformed 'tag' parameter, expecting key:value, received: {tag}");
                return Err(Failure::Bad(text));
            };
            tags.insert(key.to_owned(), value.to_owned());
        }
        for object in self.all("tags").filter(|object| !object.is_empty()) {
            let object: BTreeMap<String, String> = serde_json::from_str(object).map_err(|e| {
                Failure::Bad(format!("malformed 'tags' parameter, cannot unmarshal JSON: {e}"))
            })?;
            tags.extend(object);
        }
        Ok(tags)
    }
}

fn kind(name: &str) -> Result<throughline_otlp::SpanKind, Failure> {
    let number =
        (1..=5).find(|n| throughline_otlp::SpanKind::from_otlp(*n).as_str().eq_ignore_ascii_case(name));
    number.map(throughline_otlp::SpanKind::from_otlp).ok_or_else(|| {
        Failure::Bad(format!(
            "tag 'span.kind' has no value {name:?}; internal, server, client, producer, consumer"
        ))
    })
}

/// One name or value: `+` is a space, `%` and two hex digits a byte, all bytes together UTF-8.
fn decode(text: &str) -> Result<String, Failure> {
    let malformed = || Failure::Bad(format!("malformed percent encoding in the query string: {text:?}"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = digit().zip(digit()).ok_or_else(malformed)?;
                u8::try_from(high * 16 + low).map_err(|_| malformed())?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

/// Text as one value of a query string, or one segment of a path: every byte that is not unreserved is escaped.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
