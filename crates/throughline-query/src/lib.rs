//! Jaeger and Tempo APIs, our own JSON, text and SSE endpoints, and the page: all that answers questions about kept traces.
//!
//! In the order a request travels:
//!
//! - `guard`: who may ask; `routes`: which handler answers.
//! - [`app`]: what handlers share: store, live data ([`Live`]), clock.
//! - [`reads`]: how many heavy reads run at once, and what they hold; [`answer`]: answers on their way out, counted.
//! - [`query`]: the query language of search box, URL and command line; `asked`: what a search asks; `params`: query strings; `units`: lengths and times.
//! - [`load()`]: from the store to an assembled trace; `summary`: a trace as a list shows it; `sampling`: why it was kept.
//! - `jaeger`, `tempo`, `own`: the APIs. `page`: what a person sees, over `geometry`, which lays it out.
//!
//! It knows the store and the assembled trace, never the collector, the journal or the sampler: what is live comes through
//! [`Live`]. It writes nothing.

// The tests' fixture uses the crate by its name, as the test in a browser does.
#[cfg(test)]
extern crate self as throughline_query;

pub mod answer;
pub mod app;
mod asked;
mod geometry;
mod guard;
mod jaeger;
mod load;
mod own;
mod page;
mod params;
pub mod query;
pub mod reads;
mod reply;
mod routes;
mod sampling;
mod summary;
mod tempo;
#[cfg(test)]
mod testing;
mod units;

pub use app::{App, Arrival, Live, Samples};
pub use load::load;
pub use query::{Query, QueryError, parse_query};
pub use routes::{metrics, tempo, ui};
pub use sampling::{
    Again, Bound, Count, Decision, Exporter, Moment, Peer, Reach, Reason, Sampler, Sampling, Tier, Trigger,
    Verdict,
};
