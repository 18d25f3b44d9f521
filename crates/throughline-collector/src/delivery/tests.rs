//! What an exporter says of what goes wrong, and when it makes a request.

use std::path::Path;

use throughline_journal::Options;
use throughline_journal::sim::SimFs;
use throughline_otlp::Signal;

use super::sending::{accepted, lost};
use super::*;
use crate::export::Rejected;
use crate::export::retry::RetrySettings;
use crate::log::capture;

const HOUR: Duration = Duration::from_secs(3600);

/// An exporter of everything that came through receiver 0.
pub(crate) fn everything(journal: Journal, batch_wait: Wait) -> Arc<Delivery> {
    let settings = Settings {
        name: "traces/otlp".to_owned(),
        source: Source::Everything(Signal::Traces, vec![0]),
        batch_items: 100,
        batch_bytes: 1 << 20,
        most_items: u64::MAX,
        batch_wait,
        in_flight: 1,
        retry: RetrySettings::default(),
    };
    Delivery::new(settings, journal)
}

/// As many items and bytes as that, and no other bound.
pub(crate) fn full(items: u64, bytes: usize) -> Full {
    Full { items, bytes, most_items: u64::MAX }
}

/// An empty one.
pub(crate) fn journal() -> Journal {
    Journal::open(Arc::new(SimFs::new(1)), Path::new("/journal"), Options::default()).unwrap().0
}

fn delivery(batch_wait: Wait) -> Arc<Delivery> {
    everything(journal(), batch_wait)
}

#[test]
fn what_goes_wrong_for_every_record_is_not_a_line_for_each() {
    const MANY: u64 = 2500;
    let check = |what: &str, once: &dyn Fn(&Delivery, u64)| {
        let delivery = delivery(Wait::Always(HOUR));
        let lines = capture::lines(|| (0..MANY).for_each(|number| once(&delivery, number)));
        assert_eq!(lines.len(), 12, "{what}");
        let last = lines.last().unwrap();
        assert!(last.contains("2001") && last.contains("traces/otlp") && last.contains("why"), "{last}");
        delivery
    };
    let gone = check("records", &|delivery, position| {
        let mut outcome = Outcome::default();
        outcome.give_up(Unreadable { position, why: "damaged".to_owned() });
        delivery.report(outcome);
    });
    assert_eq!(gone.counts().gone.load(Ordering::Relaxed), MANY);
    let refused = check("requests", &|delivery, _| lost(delivery, 2, "no"));
    assert_eq!(refused.counts().refused.load(Ordering::Relaxed), 2 * MANY);
    let partly = check("answers", &|delivery, _| {
        accepted(delivery, 5, Rejected { items: 1, why: "too old".to_owned() });
    });
    let counts = partly.counts();
    assert_eq!(counts.refused.load(Ordering::Relaxed), MANY);
    assert_eq!(counts.sent.load(Ordering::Relaxed), 4 * MANY);
}

#[test]
fn without_batches_a_request_waits_only_behind_another() {
    let delivery = delivery(Wait::BehindAnother(HOUR));
    let push = |position| delivery.push(Unit { position, needs_from: position, items: 1 });
    let taken = || delivery.next_units().unwrap().iter().map(|taken| taken.unit.position).collect::<Vec<_>>();
    push(1);
    assert_eq!(taken(), [1], "nothing was sent before");
    [2, 3].into_iter().for_each(push);
    delivery.stop(Stop::Drain);
    assert_eq!(taken(), [2, 3]);
    assert_eq!(delivery.next_units(), None);
    let now = Instant::now();
    let left = |wait: Wait, before| wait.left(now, before) > HOUR / 2;
    for (wait, before, waits) in [
        (Wait::BehindAnother(HOUR), None, false),
        (Wait::BehindAnother(HOUR), Some(now), true),
        (Wait::BehindAnother(Duration::ZERO), Some(now), false),
        (Wait::Always(HOUR), None, true),
        (Wait::Always(HOUR), Some(now), true),
    ] {
        assert_eq!(left(wait, before), waits, "{wait:?} {before:?}");
    }
}
