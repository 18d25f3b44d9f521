//! A scenario's `tail_sampling` block, read into settings as the collector's configuration does: what that refuses is refused
//! here, what it takes for unset is unset.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use serde_json::{Map, Value};
use throughline_sampling::settings::{
    DecisionCache, ErrorMode, FirstMatch, Invert, Matching, Overflow, Policy, Rule, Settings, Shutdown,
    StatusCode, Strategy,
};

type Read<T> = Result<T, String>;

/// A block whose keys are taken one by one; what is left is an error.
struct Block(Map<String, Value>);

impl Block {
    fn new(json: &Value) -> Read<Self> {
        json.as_object().cloned().map(Self).ok_or_else(|| format!("not a block: {json}"))
    }

    fn get<T>(&mut self, key: &str, read: impl Fn(&Value) -> Option<T>) -> Read<Option<T>> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(value) => read(&value).map(Some).ok_or_else(|| format!("{key}: {value}")),
        }
    }

    fn must<T>(&mut self, key: &str, read: impl Fn(&Value) -> Option<T>) -> Read<T> {
        self.get(key, read)?.ok_or_else(|| format!("{key} is missing"))
    }

    fn list(&mut self, key: &str) -> Read<Vec<Value>> {
        Ok(self.get(key, |value| value.as_array().cloned())?.unwrap_or_default())
    }

    fn texts(&mut self, key: &str) -> Read<Vec<String>> {
        self.list(key)?.iter().map(|value| value.as_str().map(str::to_owned).ok_or(key.to_owned())).collect()
    }

    fn invert(&mut self) -> Read<Invert> {
        let invert = self.get("invert_match", Value::as_bool)?.unwrap_or_default();
        Ok(if invert { Invert::Yes } else { Invert::No })
    }

    fn finish<T>(self, done: T) -> Read<T> {
        match self.0.keys().next() {
            Some(key) => Err(format!("unknown key {key}")),
            None => Ok(done),
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn duration(value: &Value) -> Option<Duration> {
    let text = value.as_str()?;
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let number: u64 = number.parse().ok()?;
    match unit {
        "s" => Some(Duration::from_secs(number)),
        "ms" => Some(Duration::from_millis(number)),
        _ => None,
    }
}

pub fn settings(json: &Value) -> Read<Settings> {
    let mut block = Block::new(json)?;
    let num_traces = block.get("num_traces", Value::as_u64)?.unwrap_or(50_000).max(1);
    let flag = |block: &mut Block, key| block.get(key, Value::as_bool).map(Option::unwrap_or_default);
    if block.get("num_shards", Value::as_u64)?.is_some_and(|shards| shards > 256) {
        return Err("num_shards".to_owned());
    }
    block.get("expected_new_traces_per_sec", Value::as_u64)?;
    let settings = Settings {
        decision_wait: block.get("decision_wait", duration)?.unwrap_or(Duration::from_secs(30)),
        decision_wait_after_root: block.get("decision_wait_after_root_received", duration)?,
        num_traces: NonZeroUsize::new(usize::try_from(num_traces).unwrap()).unwrap(),
        overflow: if flag(&mut block, "block_on_overflow")? {
            Overflow::Block
        } else {
            Overflow::DecideOldest
        },
        decision_cache: cache(&mut block)?,
        strategy: match block.get("sampling_strategy", text)?.as_deref() {
            Some("span-ingest") => Strategy::SpanIngest,
            None | Some("trace-complete") => Strategy::TraceComplete,
            Some(other) => return Err(format!("sampling_strategy {other}")),
        },
        first_match: match flag(&mut block, "sample_on_first_match")? {
            true => FirstMatch::Decides,
            false => FirstMatch::AskAll,
        },
        maximum_trace_size_bytes: block
            .get("maximum_trace_size_bytes", Value::as_u64)?
            .and_then(NonZeroU64::new),
        shutdown: match flag(&mut block, "drop_pending_traces_on_shutdown")? {
            true => Shutdown::Drop,
            false => Shutdown::Resume,
        },
        policies: policies(&mut block, "policies")?,
    };
    block.finish(settings)
}

fn cache(block: &mut Block) -> Read<DecisionCache> {
    let mut cache = DecisionCache { sampled: None, non_sampled: None };
    if let Some(json) = block.get("decision_cache", |value| Some(value.clone()))? {
        let size = |value: &Value| NonZeroUsize::new(usize::try_from(value.as_u64()?).ok()?);
        let mut block = Block::new(&json)?;
        cache.sampled = block.get("sampled_cache_size", size)?;
        cache.non_sampled = block.get("non_sampled_cache_size", size)?;
        block.finish(())?;
    }
    Ok(cache)
}

fn policies(block: &mut Block, key: &str) -> Read<Vec<Policy>> {
    block.list(key)?.iter().map(policy).collect()
}

fn policy(json: &Value) -> Read<Policy> {
    let mut block = Block::new(json)?;
    let kind = block.must("type", text)?;
    let name = block.get("name", text)?.unwrap_or_else(|| kind.clone());
    let own = block.get(&kind, |value| Some(value.clone()))?;
    let rule = match (kind.as_str(), own) {
        ("always_sample", None) => Rule::AlwaysSample,
        ("trace_flags", None) => Rule::TraceFlags,
        (kind, Some(own)) => {
            let mut own = Block::new(&own)?;
            let rule = rule(kind, &mut own)?;
            own.finish(rule)?
        }
        (kind, None) => return Err(format!("no block {kind}")),
    };
    block.finish(Policy { name, rule })
}

fn rule(kind: &str, block: &mut Block) -> Read<Rule> {
    Ok(match kind {
        "latency" => latency(block)?,
        "numeric_attribute" => Rule::NumericAttribute {
            key: block.must("key", text)?,
            min: block.get("min_value", Value::as_i64)?,
            max: block.get("max_value", Value::as_i64)?,
            invert: block.invert()?,
        },
        "probabilistic" => Rule::Probabilistic {
            salt: block.get("hash_salt", text)?,
            // The configuration notes that more than 100 % is taken as all.
            percentage: block.must("sampling_percentage", Value::as_f64)?.min(100.0),
        },
        "string_attribute" => Rule::StringAttribute {
            key: block.must("key", text)?,
            values: block.texts("values")?,
            matching: matching(block)?,
            invert: block.invert()?,
        },
        "boolean_attribute" => Rule::BooleanAttribute {
            key: block.must("key", text)?,
            value: block.must("value", Value::as_bool)?,
            invert: block.invert()?,
        },
        "status_code" => Rule::StatusCode { codes: codes(block)? },
        _ => limit_or_group(kind, block)?,
    })
}

fn latency(block: &mut Block) -> Read<Rule> {
    let above = block.get("threshold_ms", Value::as_u64)?;
    let up_to = block.get("upper_threshold_ms", Value::as_u64)?.filter(|most| *most > 0);
    if above.is_none() && up_to.is_none() {
        return Err("threshold_ms is missing".to_owned());
    }
    let above = Duration::from_millis(above.unwrap_or_default());
    Ok(Rule::Latency { above, up_to: up_to.map(Duration::from_millis) })
}

fn matching(block: &mut Block) -> Read<Matching> {
    block.get("cache_max_size", Value::as_u64)?;
    Ok(match block.get("enabled_regex_matching", Value::as_bool)? {
        Some(true) => Matching::Regex { cache: None },
        _ => Matching::Exact,
    })
}

fn codes(block: &mut Block) -> Read<Vec<StatusCode>> {
    let code = |text: &String| match text.as_str() {
        "OK" => Ok(StatusCode::Ok),
        "ERROR" => Ok(StatusCode::Error),
        "UNSET" => Ok(StatusCode::Unset),
        other => Err(format!("status code {other}")),
    };
    block.texts("status_codes")?.iter().map(code).collect()
}

fn limit_or_group(kind: &str, block: &mut Block) -> Read<Rule> {
    Ok(match kind {
        "rate_limiting" => Rule::RateLimiting {
            spans_per_second: block.must("spans_per_second", Value::as_u64)?,
            burst: block.get("burst_capacity", Value::as_u64)?.and_then(NonZeroU64::new),
        },
        "bytes_limiting" => Rule::BytesLimiting {
            bytes_per_second: block.must("bytes_per_second", Value::as_u64)?,
            burst: block.get("burst_capacity", Value::as_u64)?.and_then(NonZeroU64::new),
        },
        "span_count" => Rule::SpanCount {
            min: block.get("min_spans", Value::as_u64)?,
            max: block.get("max_spans", Value::as_u64)?.filter(|max| *max > 0),
        },
        "trace_state" => Rule::TraceState { key: block.must("key", text)?, values: block.texts("values")? },
        "ottl_condition" => Rule::OttlCondition {
            errors: match block.get("error_mode", text)?.as_deref() {
                Some("ignore") => ErrorMode::Ignore,
                Some("propagate") => ErrorMode::Propagate,
                Some("silent") | None => ErrorMode::Silent,
                Some(other) => return Err(format!("error_mode {other}")),
            },
            spans: block.texts("span")?,
            span_events: block.texts("spanevent")?,
        },
        "and" => Rule::And(policies(block, "and_sub_policy")?),
        "drop" => Rule::Drop(policies(block, "drop_sub_policy")?),
        "not" => {
            let sub = block.must("not_sub_policy", |value| Some(value.clone()))?;
            Rule::Not(Box::new(policy(&sub)?))
        }
        "composite" => composite(block)?,
        other => return Err(format!("type {other}")),
    })
}

fn composite(block: &mut Block) -> Read<Rule> {
    block.texts("policy_order")?;
    let subs = policies(block, "composite_sub_policy")?;
    let mut shares: Vec<(Policy, Option<u8>)> = subs.into_iter().map(|sub| (sub, None)).collect();
    for allocation in block.list("rate_allocation")? {
        let mut allocation = Block::new(&allocation)?;
        let name = allocation.must("policy", text)?;
        let percent = |value: &Value| value.as_u64().and_then(|percent| u8::try_from(percent).ok());
        let percent = allocation.must("percent", percent)?;
        let share = shares.iter_mut().find(|(sub, _)| sub.name == name).ok_or(format!("no {name}"))?;
        share.1 = Some(percent);
    }
    let total = block.must("max_total_spans_per_second", |value| NonZeroU64::new(value.as_u64()?))?;
    Ok(Rule::Composite { total_spans_per_second: total, shares })
}
