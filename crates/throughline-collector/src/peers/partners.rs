//! Who else holds a part of a trace, because it asked about it, or said that it keeps it: it is asked before that trace is
//! decided here, and told when it is kept. In memory, bounded, for as long as look-back; who falls out asks again with its next
//! span.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use throughline_otlp::TraceId;
use tokio::time::Instant;

/// Traces remembered: beyond so many the oldest goes first. About 20 MB.
const TRACES: usize = 131_072;

/// Nodes remembered of one trace.
const NODES: usize = super::wire::OTHERS_MOST;

/// Promises heard of that have not been made here yet, at most: a few megabytes.
const PROMISES: usize = 65_536;

/// Names remembered in all, as long as a trace needs them. A caller beyond that is answered, and not asked in turn.
const NAMES: usize = 1024;

pub(super) struct Partners {
    look_back: Duration,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    names: BTreeSet<Arc<str>>,
    by_trace: HashMap<TraceId, Vec<Arc<str>>>,
    order: VecDeque<(Instant, TraceId)>,
}

impl Partners {
    pub(super) fn new(look_back: Duration) -> Self {
        Self { look_back, known: Mutex::default() }
    }

    /// `node` holds a part of it.
    pub(super) fn add(&self, trace: TraceId, node: &str) {
        let mut known = self.known();
        let Some(name) = known.name(node, self.look_back) else { return };
        match known.by_trace.get_mut(&trace) {
            Some(nodes) if nodes.contains(&name) || nodes.len() >= NODES => {}
            Some(nodes) => nodes.push(name),
            None => {
                known.by_trace.insert(trace, vec![name]);
                known.order.push_back((Instant::now(), trace));
            }
        }
        known.forget(self.look_back);
    }

    pub(super) fn of(&self, trace: TraceId) -> Vec<Arc<str>> {
        self.known().by_trace.get(&trace).cloned().unwrap_or_default()
    }

    pub(super) fn any(&self, trace: TraceId) -> bool {
        self.known().by_trace.contains_key(&trace)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn name(&mut self, node: &str, look_back: Duration) -> Option<Arc<str>> {
        if let Some(name) = self.names.get(node) {
            return Some(Arc::clone(name));
        }
        super::host(node)?;
        if self.names.len() >= NAMES {
            // Where nodes come and go they have new names each time: what no trace needs any more makes room.
            self.forget(look_back);
            self.names.retain(|name| Arc::strong_count(name) > 1);
        }
        if self.names.len() >= NAMES {
            return None;
        }
        let name: Arc<str> = Arc::from(node);
        self.names.insert(Arc::clone(&name));
        Some(name)
    }

    fn forget(&mut self, look_back: Duration) {
        while let Some((since, trace)) = self.order.front().copied()
            && (self.order.len() > TRACES || since.elapsed() > look_back)
        {
            self.order.pop_front();
            self.by_trace.remove(&trace);
        }
    }
}

/// Promises that this node has only been told of, and is about to make: it does not tell them on. One that was made before
/// changes nothing and stays here, which does no harm: it is never news again.
#[derive(Default)]
pub(super) struct HeardOf(Mutex<Promises>);

#[derive(Default)]
struct Promises {
    /// With the pipeline.
    heard: HashSet<(Arc<str>, TraceId)>,
    order: VecDeque<(Arc<str>, TraceId)>,
}

impl HeardOf {
    pub(super) fn add(&self, pipeline: &str, trace: TraceId) {
        let mut promises = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let promise = (Arc::from(pipeline), trace);
        if promises.heard.insert(promise.clone()) {
            promises.order.push_back(promise);
        }
        if promises.order.len() > PROMISES
            && let Some(oldest) = promises.order.pop_front()
        {
            promises.heard.remove(&oldest);
        }
    }

    /// Whether it was only told; asked once of each promise.
    pub(super) fn take(&self, pipeline: &str, trace: TraceId) -> bool {
        let mut promises = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        promises.heard.remove(&(Arc::from(pipeline), trace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_asked_is_remembered_within_bounds_of_number_and_time() {
        let partners = Partners::new(Duration::from_secs(10));
        let trace = |number: u128| TraceId::new(number.to_be_bytes()).unwrap();
        let of = |number| partners.of(trace(number)).iter().map(|node| node.to_string()).collect::<String>();
        for (number, node) in [(1, "a"), (1, "b"), (1, "a"), (2, ""), (2, "no host"), (2, "c")] {
            partners.add(trace(number), node);
        }
        assert_eq!((of(1), of(2), of(3)), ("ab".to_owned(), "c".to_owned(), String::new()));
        assert!(partners.any(trace(1)) && !partners.any(trace(3)));
        (0..20).for_each(|node| partners.add(trace(1), &format!("n{node}")));
        assert_eq!(partners.of(trace(1)).len(), NODES);
        (3..3 + TRACES as u128).for_each(|number| partners.add(trace(number), "c"));
        assert_eq!((of(1), of(2), of(3)), (String::new(), String::new(), "c".to_owned()));
        tokio::time::advance(Duration::from_secs(11)).await;
        partners.add(trace(1), "d");
        assert_eq!((of(3), of(1)), (String::new(), "d".to_owned()));
        (0..NAMES).for_each(|node| partners.add(trace(4), &format!("m{node}")));
        partners.add(trace(5), "stranger");
        assert_eq!(of(5), "stranger", "a trace needs no more than {NODES} of those names");
        (0..NAMES).for_each(|node| partners.add(trace(100 + node as u128), &format!("k{node}")));
        partners.add(trace(6), "another");
        assert_eq!(of(6), "", "too many names");
        tokio::time::advance(Duration::from_secs(11)).await;
        partners.add(trace(7), "a");
        partners.add(trace(6), "another");
        assert_eq!(of(6), "another", "those of before are forgotten");
    }

    #[test]
    fn a_promise_that_was_heard_of_is_known_once_and_the_oldest_go_first() {
        let heard = HeardOf::default();
        let trace = |number: usize| TraceId::new((number as u128 + 1).to_be_bytes()).unwrap();
        (0..=PROMISES).for_each(|number| heard.add("traces", trace(number)));
        heard.add("traces", trace(1));
        assert!(!heard.take("other", trace(1)), "of another pipeline");
        assert_eq!(
            [0, 1, 1, PROMISES].map(|number| heard.take("traces", trace(number))),
            [false, true, false, true]
        );
        (0..PROMISES).for_each(|number| heard.add("traces", trace(number)));
        assert!(heard.0.lock().unwrap().order.len() <= PROMISES);
    }
}
