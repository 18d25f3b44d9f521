//! Span names. The SDK takes a `Cow<'static, str>`, and a topic's name is the same with every message: it is spelled once, and
//! kept beside the topic.

use super::Operation;
use crate::settings::Profile;
use crate::text::{MAX_DERIVED, Text};
use std::borrow::Cow;

const _: () = assert!(place(Operation::Call, true) < MAX_DERIVED, "each operation's names have a place");

/// `send orders`, or in the profile `legacy` `orders publish`.
pub(crate) fn of(operation: Operation, destination: &Text, profile: Profile) -> Cow<'static, str> {
    let legacy = profile == Profile::Legacy;
    destination.derived(place(operation, legacy), || spell(operation, destination.as_str(), legacy))
}

const fn place(operation: Operation, legacy: bool) -> usize {
    operation as usize * 2 + legacy as usize
}

fn spell(operation: Operation, destination: &str, legacy: bool) -> String {
    match legacy {
        true => format!("{destination} {}", operation.legacy_name()),
        false => format!("{} {destination}", operation.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_spelled_for_the_operation_and_the_profile() {
        for (operation, profile, expected) in [
            (Operation::Send, Profile::V1_44, "send orders"),
            (Operation::Forward, Profile::V1_44, "send orders"),
            (Operation::Process, Profile::Dup, "process orders"),
            (Operation::Receive, Profile::V1_44, "poll orders"),
            (Operation::Settle, Profile::V1_44, "commit orders"),
            (Operation::Send, Profile::Legacy, "orders publish"),
            (Operation::Process, Profile::Legacy, "orders process"),
        ] {
            let orders = Text::of("orders");
            assert_eq!(of(operation, &orders, profile), expected);
            assert_eq!(of(operation, &orders, profile), expected);
        }
    }
}
