//! Names that come again with every message (topics, groups, clients, servers): each kept once, for as long as the process
//! lives. So a span holds an address, and its thread and the exporter's do not take turns counting the owners of a string.
//!
//! The table is capped: a service that makes topics up as it goes must not leak without end. Past the cap a name is shared as any
//! other string is, and counted.

use crate::counters::{Event, count};
use opentelemetry::{StringValue, Value};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

/// Most services know a few dozen names.
pub(crate) const MAX_TEXTS: usize = 1024;
/// How many texts may be made of one: a span name for each operation and profile.
pub(crate) const MAX_DERIVED: usize = 16;

/// A name, cheap to clone.
#[derive(Clone)]
pub(crate) enum Text {
    Kept(&'static Kept),
    Shared(Arc<str>),
}

/// A name of the table, and what was made of it.
pub(crate) struct Kept {
    text: Box<str>,
    derived: [OnceLock<Box<str>>; MAX_DERIVED],
}

type Texts = HashMap<&'static str, &'static Kept, BuildHasherDefault<WordHasher>>;

static TABLE: LazyLock<Mutex<Texts>> = LazyLock::new(Mutex::default);

thread_local! {
    /// What this thread has looked up before: no lock on the usual path. Bounded by the table.
    static SEEN: RefCell<Texts> = RefCell::default();
}

impl Text {
    pub(crate) fn of(text: &str) -> Self {
        let seen = SEEN.with_borrow(|seen| seen.get(text).copied());
        match seen.or_else(|| keep(text)) {
            Some(kept) => Self::Kept(kept),
            None => {
                count(Event::names_not_interned, 1);
                Self::Shared(text.into())
            }
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Kept(kept) => &kept.text,
            Self::Shared(text) => text,
        }
    }

    /// A text made of this one: of a kept one once, of another each time.
    pub(crate) fn derived(&self, which: usize, make: impl FnOnce() -> String) -> Cow<'static, str> {
        let known = match self {
            Self::Kept(kept) => kept.derived.get(which),
            Self::Shared(_) => None,
        };
        match known {
            Some(known) => Cow::Borrowed(known.get_or_init(|| make().into_boxed_str())),
            None => Cow::Owned(make()),
        }
    }
}

fn keep(text: &str) -> Option<&'static Kept> {
    let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = match table.get(text) {
        Some(kept) => *kept,
        None if table.len() >= MAX_TEXTS => return None,
        None => {
            let kept: &'static Kept =
                Box::leak(Box::new(Kept { text: text.into(), derived: Default::default() }));
            table.insert(&kept.text, kept);
            kept
        }
    };
    drop(table);
    SEEN.with_borrow_mut(|seen| seen.insert(&kept.text, kept));
    Some(kept)
}

impl From<&Text> for StringValue {
    fn from(text: &Text) -> Self {
        match text {
            Text::Kept(kept) => Self::from(&*kept.text),
            Text::Shared(text) => Self::from(Arc::clone(text)),
        }
    }
}

impl From<&Text> for Value {
    fn from(text: &Text) -> Self {
        Self::String(text.into())
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Takes eight bytes at a time. Good enough for a capped table: names that collide on purpose cost a scan of it.
#[derive(Default)]
struct WordHasher(u64);

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let word = word.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    /// The table takes the low bits for the place; a product mixes upwards.
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because the second half fills the process's table.
    #[test]
    fn a_text_is_kept_once_and_a_full_table_still_answers_and_says_so() {
        let address = |text: &Text| text.as_str().as_ptr();
        let (here, there) = (Text::of("orders"), std::thread::spawn(|| Text::of("orders")).join().unwrap());
        assert_eq!(address(&here), address(&there));
        let made = |text: &Text| text.derived(3, || format!("send {}", text.as_str()));
        assert_eq!(made(&here), "send orders");
        assert!(
            matches!((made(&here), made(&there)), (Cow::Borrowed(a), Cow::Borrowed(b)) if std::ptr::eq(a, b))
        );

        let before = crate::counters().names_not_interned;
        for topic in 0..MAX_TEXTS + 8 {
            let topic = format!("made-up-{topic}");
            let text = Text::of(&topic);
            assert_eq!((text.as_str(), &*made(&text)), (&*topic, &*format!("send {topic}")));
            assert_eq!(Value::from(&text).as_str(), topic);
        }
        assert!(crate::counters().names_not_interned >= before + 8);
    }
}
