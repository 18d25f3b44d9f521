//! A member that a span's W3C tracestate is asked for.

/// A key and the values that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
}

/// W3C Trace Context: list-members a tracestate may have.
const MAX_MEMBERS: usize = 32;
/// W3C Trace Context: characters a member's value may have.
pub(crate) const MAX_VALUE: usize = 256;

impl Member {
    /// Whether a tracestate has this member.
    pub(crate) fn is_in(&self, trace_state: &[u8]) -> bool {
        let Some(value) = value_of(self.key.as_bytes(), trace_state) else { return false };
        self.values.iter().any(|wanted| wanted.as_bytes() == value)
    }
}

/// The value of `key` in a valid tracestate.
fn value_of<'a>(key: &[u8], trace_state: &'a [u8]) -> Option<&'a [u8]> {
    let mut seen: [&[u8]; MAX_MEMBERS] = [&[]; MAX_MEMBERS];
    let mut found = None;
    let members = trace_state.split(|byte| *byte == b',').filter(|member| !member.is_empty());
    for (count, member) in members.enumerate() {
        let equals = member.iter().position(|byte| *byte == b'=')?;
        let (name, value) = member.split_at_checked(equals)?;
        let name = trim_start(name);
        let value = trim_end(value.get(1..)?);
        if !is_key(name) || !is_value(value) || seen.get(..count)?.contains(&name) {
            return None;
        }
        *seen.get_mut(count)? = name;
        if name == key {
            found = Some(value);
        }
    }
    found
}

fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// `key` of W3C Trace Context, level 1: `simple-key` or `tenant@system`.
pub(crate) fn is_key(key: &[u8]) -> bool {
    match key.iter().position(|byte| *byte == b'@').and_then(|at| key.split_at_checked(at)) {
        None => is_key_part(key, u8::is_ascii_lowercase, 256),
        Some((tenant, system)) => {
            is_key_part(tenant, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit(), 241)
                && is_key_part(system.get(1..).unwrap_or_default(), u8::is_ascii_lowercase, 14)
        }
    }
}

fn is_key_part(part: &[u8], may_begin: impl Fn(&u8) -> bool, longest: usize) -> bool {
    part.len() <= longest
        && part.first().is_some_and(may_begin)
        && part.iter().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/')
        })
}

/// `value` of W3C Trace Context, level 1.
pub(crate) fn is_value(value: &[u8]) -> bool {
    !value.is_empty()
        && value.len() <= MAX_VALUE
        && value.last() != Some(&b' ')
        && value.iter().all(|byte| (0x20..=0x7e).contains(byte) && !matches!(byte, b',' | b'='))
}
