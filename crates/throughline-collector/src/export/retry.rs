//! When to send again: growing pauses with jitter, longer if the receiver asks for it, and the point at which to give up.
//! A state machine without clock or randomness: both are passed in.

use std::time::Duration;

/// `retry_on_failure` of an exporter, with the peer's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct RetrySettings {
    /// Pause after the first failure. Default 5 s.
    pub initial_interval: Duration,
    /// Each pause is this many times the one before. Default 1.5.
    pub multiplier: f64,
    /// A pause is drawn from within this part of itself, to both sides. Default 0.5.
    pub randomization_factor: f64,
    /// Pauses grow up to this. Default 30 s.
    pub max_interval: Duration,
    /// After this long without success the request is dropped; `None` never gives up. Default 300 s.
    pub max_elapsed_time: Option<Duration>,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            initial_interval: Duration::from_secs(5),
            multiplier: 1.5,
            randomization_factor: 0.5,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Some(Duration::from_secs(300)),
        }
    }
}

/// One request's failures so far. Make a new one for the next request.
#[derive(Clone, Debug)]
pub struct Backoff {
    settings: RetrySettings,
    failing_since: Option<Duration>,
    interval: Duration,
    failures: u32,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send again at this time.
    At(Duration),
    /// Drop the request: it has failed for as long as it may.
    GiveUp {
        /// Time since the first failure.
        after: Duration,
        /// How often it was sent.
        sent: u32,
    },
}

impl Backoff {
    /// Nothing has failed yet.
    #[must_use]
    pub fn new(settings: RetrySettings) -> Self {
        let interval = settings.initial_interval;
        Self { settings, failing_since: None, interval, failures: 0 }
    }

    /// The request failed and may succeed later. `now` is any monotone time, `random` in `0..=1`, `asked` the pause that
    /// the receiver asked for: it is kept, however long, and never shortened by jitter.
    pub fn failed(&mut self, now: Duration, random: f64, asked: Option<Duration>) -> Next {
        let since = *self.failing_since.get_or_insert(now);
        self.failures = self.failures.saturating_add(1);
        let pause = self.pause(random).max(asked.unwrap_or_default());
        self.interval = scaled(self.interval, self.settings.multiplier).min(self.settings.max_interval);
        let again = now.saturating_add(pause);
        let limit = self.settings.max_elapsed_time.map(|limit| since.saturating_add(limit));
        if limit.is_some_and(|limit| again > limit) {
            return Next::GiveUp { after: now.saturating_sub(since), sent: self.failures };
        }
        Next::At(again)
    }

    /// How often the request has failed.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn pause(&self, random: f64) -> Duration {
        let factor = self.settings.randomization_factor.clamp(0.0, 1.0);
        let interval = self.interval.min(self.settings.max_interval);
        scaled(interval, 1.0 - factor + 2.0 * factor * random.clamp(0.0, 1.0))
    }
}

/// Out of range, which settings could bring about, is the longest time there is.
fn scaled(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// Sends as soon as it may, from second 100 on; says when, or that it gave up and after how many seconds.
    fn check(settings: &RetrySettings, failures: &[(f64, Option<f64>)], expected: &str) {
        let mut backoff = Backoff::new(settings.clone());
        let (mut now, mut said) = (secs(100.0), Vec::new());
        for (random, asked) in failures {
            match backoff.failed(now, *random, asked.map(secs)) {
                Next::At(at) => {
                    now = at;
                    said.push(format!("{}", now.as_secs_f64() - 100.0));
                }
                Next::GiveUp { after, sent } => {
                    said.push(format!("gave up after {} s, {sent} sent", after.as_secs_f64()))
                }
            }
        }
        assert_eq!(said.join(", "), expected);
    }

    #[test]
    fn pauses_grow_to_a_bound_and_the_receiver_is_obeyed() {
        let even = RetrySettings {
            initial_interval: secs(1.0),
            multiplier: 2.0,
            max_interval: secs(6.0),
            max_elapsed_time: Some(secs(60.0)),
            ..RetrySettings::default()
        };
        let middle = (0.5, None);
        check(&even, &[middle; 5], "1, 3, 7, 13, 19");
        check(&even, &[(0.0, None), (1.0, None), (0.0, None)], "0.5, 3.5, 5.5");
        check(&even, &[(0.0, Some(0.1)), (0.0, Some(5.0)), (0.5, None)], "0.5, 5.5, 9.5");
        check(
            &even,
            &[(0.5, Some(59.0)), (0.5, None), middle],
            "59, gave up after 59 s, 2 sent, gave up after 59 s, 3 sent",
        );
        check(&even, &[(0.5, Some(60.0)), (0.5, None)], "60, gave up after 60 s, 2 sent");
        check(&even, &[(0.5, Some(60.5))], "gave up after 0 s, 1 sent");
        let sharp = RetrySettings { randomization_factor: 0.0, ..even.clone() };
        check(&sharp, &[(0.0, None), (1.0, None)], "1, 3");
        let flat = RetrySettings { multiplier: 1.0, ..even.clone() };
        check(&flat, &[middle; 3], "1, 2, 3");
        let low = RetrySettings { max_interval: secs(0.25), ..even };
        check(&low, &[middle; 2], "0.25, 0.5");
    }

    #[test]
    fn without_an_end_it_never_gives_up() {
        let settings = RetrySettings { max_elapsed_time: None, ..RetrySettings::default() };
        let mut backoff = Backoff::new(settings);
        let mut now = Duration::ZERO;
        for _ in 0..100_000 {
            let Next::At(at) = backoff.failed(now, 1.0, None) else { panic!("gave up at {now:?}") };
            assert!(at > now && at - now <= secs(45.0));
            now = at;
        }
        assert_eq!(backoff.failures(), 100_000);
    }

    #[test]
    fn settings_out_of_range_do_no_harm() {
        let settings = RetrySettings {
            multiplier: f64::INFINITY,
            randomization_factor: f64::NAN,
            max_interval: Duration::MAX,
            max_elapsed_time: None,
            ..RetrySettings::default()
        };
        let mut backoff = Backoff::new(settings);
        for _ in 0..3 {
            assert!(matches!(backoff.failed(secs(1.0), f64::NAN, None), Next::At(_)));
        }
    }
}
