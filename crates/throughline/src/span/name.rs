//! Span names, interned: the SDK takes a `Cow<'static, str>`, and a topic's name is the same with every message. The table
//! is capped; past the cap a name is built anew each time, and counted.

use super::Operation;
use crate::counters::{Event, count};
use crate::settings::Profile;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Most services know a few dozen topics. A service that makes topics up as it goes must not leak without end.
const MAX_NAMES: usize = 1024;

type Key = (Operation, bool);
/// By destination; a handful of operations each.
type Names = HashMap<Box<str>, Vec<(Key, &'static str)>>;

#[derive(Default)]
struct Table {
    interned: usize,
    names: Names,
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

thread_local! {
    /// What this thread has looked up before: no lock on the usual path. Bounded by the table.
    static SEEN: RefCell<Names> = RefCell::default();
}

/// `send orders`, or in the profile `legacy` `orders publish`.
pub(crate) fn of(operation: Operation, destination: &str, profile: Profile) -> Cow<'static, str> {
    let key = (operation, profile == Profile::Legacy);
    let seen = SEEN.with_borrow(|seen| find(seen, destination, key));
    match seen.or_else(|| intern(destination, key)) {
        Some(name) => Cow::Borrowed(name),
        None => {
            count(Event::names_not_interned, 1);
            Cow::Owned(spell(destination, key))
        }
    }
}

fn spell(destination: &str, (operation, legacy): Key) -> String {
    match (operation, legacy) {
        (Operation::Internal, _) => destination.to_owned(),
        (_, true) => format!("{destination} {}", operation.legacy_name()),
        (_, false) => format!("{} {destination}", operation.name()),
    }
}

fn find(names: &Names, destination: &str, key: Key) -> Option<&'static str> {
    names.get(destination)?.iter().find(|(known, _)| *known == key).map(|(_, name)| *name)
}

fn intern(destination: &str, key: Key) -> Option<&'static str> {
    let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    let name = match find(&table.names, destination, key) {
        Some(name) => name,
        None if table.interned >= MAX_NAMES => return None,
        None => {
            let name: &'static str = Box::leak(spell(destination, key).into_boxed_str());
            table.names.entry(destination.into()).or_default().push((key, name));
            table.interned += 1;
            name
        }
    };
    SEEN.with_borrow_mut(|seen| seen.entry(destination.into()).or_default().push((key, name)));
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because the second half fills the process's table.
    #[test]
    fn a_name_is_spelled_once_and_a_full_table_still_names_spans_and_says_so() {
        for (operation, profile, expected) in [
            (Operation::Send, Profile::V1_44, "send orders"),
            (Operation::Process, Profile::Dup, "process orders"),
            (Operation::Receive, Profile::V1_44, "poll orders"),
            (Operation::Settle, Profile::V1_44, "commit orders"),
            (Operation::Send, Profile::Legacy, "orders publish"),
            (Operation::Process, Profile::Legacy, "orders process"),
        ] {
            let (first, again) = (of(operation, "orders", profile), of(operation, "orders", profile));
            assert_eq!(first, expected);
            assert!(matches!((first, again), (Cow::Borrowed(a), Cow::Borrowed(b)) if std::ptr::eq(a, b)));
        }

        let before = crate::counters().names_not_interned;
        for topic in 0..MAX_NAMES + 8 {
            let expected = format!("send made-up-{topic}");
            assert_eq!(of(Operation::Send, &format!("made-up-{topic}"), Profile::V1_44), expected);
        }
        assert!(crate::counters().names_not_interned >= before + 8);
    }
}
