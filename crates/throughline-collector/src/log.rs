//! Lines of the log that could become as many as there are records: the first of them are written, then a few.

/// So many are written one by one, then one in [`ONE_IN`].
const FIRST: u64 = 10;
const ONE_IN: u64 = 1000;

/// Whether one more of a kind is written, when there were so many before. It says how many there are by now.
pub(crate) fn is_worth_a_line(before: u64) -> bool {
    before < FIRST || before.is_multiple_of(ONE_IN)
}

/// What would stand in the log.
#[cfg(test)]
pub(crate) mod capture {
    use std::fmt::Write as _;
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            let _ = write!(self.0, "{}={value:?} ", field.name());
        }
    }

    impl Subscriber for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut line = Line(format!("{} ", event.metadata().level()));
            event.record(&mut line);
            self.0.lock().unwrap().push(line.0);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    /// What `work` writes into the log on this thread: a line an event, its level first.
    pub(crate) fn lines(work: impl FnOnce()) -> Vec<String> {
        let lines = Arc::<Lines>::default();
        tracing::subscriber::with_default(Arc::clone(&lines), work);
        std::mem::take(&mut lines.0.lock().unwrap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_many_are_written_and_then_a_few() {
        let written: Vec<u64> = (0..2500).filter(|before| is_worth_a_line(*before)).collect();
        assert_eq!(written, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1000, 2000]);
    }
}
