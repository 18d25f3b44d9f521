//! What the library counts about itself: everything it left out, refused or found in conflict. Plain atomics, always on, so
//! that nothing is lost in silence; also reported through the global meter when metrics are on.

use crate::metrics;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)+) => {
        /// A snapshot of what the library counted since the process started.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)+ }

        struct Cells { $($name: AtomicU64,)+ }
        static CELLS: Cells = Cells { $($name: AtomicU64::new(0),)+ };

        /// What the library counted since the process started.
        #[must_use]
        pub fn counters() -> Counters {
            Counters { $($name: CELLS.$name.load(Relaxed),)+ }
        }

        /// Something worth counting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(non_camel_case_types, reason = "one list names the field, the event and its label")]
        pub(crate) enum Event { $($name,)+ }

        pub(crate) fn count(event: Event, n: u64) {
            let (cell, label) = match event { $(Event::$name => (&CELLS.$name, $label),)+ };
            cell.fetch_add(n, Relaxed);
            metrics::event(label, n);
        }
    };
}

counters! {
    /// Messages with two different valid `traceparent` values.
    traceparent_conflicts = "traceparent_conflict",
    /// Messages with two different correlation ids, or two tenants (header and baggage, or two headers).
    value_conflicts = "value_conflict",
    /// Correlation ids or tenants that were not adopted: too long, or bytes that are not visible ASCII.
    ids_refused = "id_refused",
    /// `traceparent` headers that were there and not valid.
    traceparents_invalid = "traceparent_invalid",
    /// Baggage members left out for the byte budget because they are not on the allow-list, or over W3C's limits.
    baggage_members_dropped = "baggage_member_dropped",
    /// `baggage` headers left out for the byte budget.
    baggage_dropped = "baggage_dropped",
    /// `tracestate` headers left out for the byte budget.
    tracestate_dropped = "tracestate_dropped",
    /// Links left out because of the cap.
    links_dropped = "link_dropped",
    /// Span names that were not interned because the table of names is full.
    names_not_interned = "name_not_interned",
}
