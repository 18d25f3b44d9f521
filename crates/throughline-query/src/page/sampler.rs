//! The live picture of the samplers: what comes in, what is kept and why, what waits, how far back it can reach, and what the
//! exporters still have to send. The server renders it; with JavaScript it comes as events, a second each, without it the page
//! reloads itself.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::response::sse::{Event, KeepAlive, KeepAliveStream, Sse};
use futures_util::stream::{self, Stream};
use maud::{Markup, html};
use throughline_otlp::UnixNanos;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::PageRefusal;
use super::frame::{self, Frame};
use super::waterfall::percent;
use crate::app::{App, Samples};
use crate::own::sampled::nothing_samples;
use crate::reply::{self, Failure};
use crate::sampling::{Bound, Exporter, Moment, Reach, Sampler, Sampling, Tier, Verdict, reach};
use crate::units::{exact, thousands};

#[cfg(test)]
mod tests;

/// Between two events.
const EVERY: Duration = Duration::from_secs(1);
/// Seconds after which a browser without JavaScript loads the page again.
const RELOAD: u32 = 2;
/// Height of the chart, in pixels.
const HEIGHT: f64 = 64.0;
/// What decides besides policies, with its words; each under its verdict.
const OTHERS: &[(Verdict, &str, &str)] = &[
    (Verdict::Sampled, "linked", "linked with a kept trace"),
    (Verdict::NotSampled, "no policy", "no policy said yes"),
    (Verdict::NotSampled, "too large", "larger than maximum_trace_size_bytes"),
    (Verdict::NotSampled, "shutdown", "undecided at a shutdown"),
];

pub(super) async fn page(State(app): State<App>) -> Result<Response, PageRefusal> {
    let content = picture(&app).await?.ok_or_else(nothing_samples)?;
    let frame = Frame {
        title: "Sampler",
        kind: "sampler",
        reload: Some(RELOAD),
        samples: Samples::Traces,
        ..Frame::default()
    };
    Ok(reply::html(StatusCode::OK, frame::page(&frame, &content)))
}

type Events<S> = Sse<KeepAliveStream<S>>;

/// `sampler` with the main part of the page, once a second, as long as somebody listens.
pub(super) async fn follow(
    State(app): State<App>,
) -> Result<Events<impl Stream<Item = Result<Event, Infallible>>>, PageRefusal> {
    let place = app.place()?;
    picture(&app).await?.ok_or_else(nothing_samples)?;
    let mut ticks = interval(EVERY);
    // One that was held up does not have to hear of every second that passed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let follower: (App, Interval, OwnedSemaphorePermit) = (app, ticks, place);
    let events = stream::unfold(follower, |(app, mut ticks, place)| async move {
        ticks.tick().await;
        let content = picture(&app).await.ok().flatten()?;
        let event = Event::default().event("sampler").data(reply::shown(content));
        Some((Ok(event), (app, ticks, place)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// The main part of the page; `None` if nothing samples.
async fn picture(app: &App) -> Result<Option<Markup>, Failure> {
    let (asked, now) = (app.clone(), app.now());
    app.ask(move |_| Ok(asked.live().sampling().map(|sampling| whole(&sampling, now)))).await
}

fn whole(sampling: &Sampling, now: UnixNanos) -> Markup {
    html! {
        h1.quiet { "Sampler" }
        (figures(sampling, now))
        (chart(&sampling.history))
        @for sampler in &sampling.samplers { (one(sampler)) }
        (exporters(&sampling.exporters))
        @if let Some(of_tier) = &sampling.tier { (tier(of_tier)) }
    }
}

fn figures(sampling: &Sampling, now: UnixNanos) -> Markup {
    let rates = sampling.rates();
    let undecided: usize = sampling.samplers.iter().map(|sampler| sampler.undecided).sum();
    let bytes: usize = sampling.samplers.iter().map(|sampler| sampler.bytes).sum();
    let (look_back, of_what) = look_back(sampling.reach, now);
    let figure = |name: &str, value: String, what: &str| {
        html! { div { dt { (name) } dd { b { (value) } " " span { (what) } } } }
    };
    html! {
        dl.gauges {
            (figure("in", rate(rates.spans_in), "spans/s"))
            (figure("kept", rate(rates.spans_kept), &format!("spans/s{}", share(rates.spans_kept, rates.spans_in))))
            (figure("decided", rate(rates.decided), "traces/s"))
            (figure("undecided", thousands(undecided), if undecided == 1 { "trace" } else { "traces" }))
            (figure("memory", size(bytes), "of traces and decisions"))
            (figure("look-back", look_back, &of_what))
        }
    }
}

/// How far back late spans and links reach, and what that is of.
fn look_back(reached: Option<Reach>, now: UnixNanos) -> (String, String) {
    let Some(Reach { since, look_back, bound }) = reached else {
        return ("nothing yet".to_owned(), "in the journal".to_owned());
    };
    let configured = exact(look_back);
    let of_what = match bound {
        Bound::Nothing | Bound::LookBack => format!("in the journal, of at most {configured}"),
        Bound::JournalSize => format!("in the journal, of {configured}: journal_size has no room for more"),
    };
    (reach(since, now), of_what)
}

/// ` · 5.1 %`, if that can be said: what is kept now came in earlier.
fn share(part: f64, whole: f64) -> String {
    if whole > 0.0 && part <= whole { format!(" · {:.1} %", part / whole * 100.0) } else { String::new() }
}

fn rate(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { thousands(format!("{rate:.0}")) }
}

/// `312 B`, `4.2 MiB`.
fn size(bytes: usize) -> String {
    let bytes = bytes as f64;
    let units = [("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0), ("KiB", 1_024.0)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

/// Spans in and spans kept, a second a bar, newest at the right.
fn chart(history: &[Moment]) -> Markup {
    let seconds: Vec<(f64, f64)> = history
        .windows(2)
        .filter_map(|pair| match pair {
            [before, after] => {
                let rates = after.since(before);
                Some((rates.spans_in, rates.spans_kept))
            }
            _ => None,
        })
        .collect();
    let most = seconds.iter().fold(0.0_f64, |most, (spans_in, kept)| most.max(*spans_in).max(*kept));
    let slots = seconds.len().max(60) as f64;
    let bar = |class: &str, at: usize, value: f64| {
        let height = if most > 0.0 { value / most * HEIGHT } else { 0.0 };
        let x = (slots - seconds.len() as f64 + at as f64) / slots;
        html! {
            @if value > 0.0 {
                rect class=(class) x=(percent(x * 100.0)) width=(percent(80.0 / slots)) y=(format!("{:.1}", HEIGHT - height)) height=(format!("{height:.1}")) {}
            }
        }
    };
    html! {
        figure.pulse {
            svg role="img" aria-label="Spans in and spans kept in each of the last seconds" width="100%" height=(HEIGHT) {
                @for (at, (spans_in, kept)) in seconds.iter().enumerate() {
                    (bar("in", at, *spans_in))
                    (bar("kept", at, *kept))
                }
            }
            figcaption {
                span { i.in {} "spans in  " i.kept {} "spans kept, each second" }
                @if most > 0.0 { span { "highest " (rate(most)) "/s" } } @else { span { "nothing came in these seconds" } }
            }
        }
    }
}

fn one(sampler: &Sampler) -> Markup {
    let decided: u64 = sampler.decisions.iter().map(|count| count.traces).sum();
    html! {
        section.sampler data-pipeline=(sampler.pipeline) {
            h2 { "Pipeline " code { (sampler.pipeline) }
                span.count { " decision_wait " (exact(sampler.wait)) ", " (sampler.shards) @if sampler.shards == 1 { " shard" } @else { " shards" } } }
            div.table { table.reasons {
                thead { tr { th scope="col" { "decided by" } th scope="col" { "verdict" } th.n scope="col" { "traces" } th.part scope="col" {} } }
                tbody {
                    @for policy in &sampler.policies {
                        (reason(Verdict::Sampled, policy, "", sampler.because(Verdict::Sampled, policy), decided))
                        @for verdict in [Verdict::Dropped, Verdict::NotSampled] {
                            @let traces = sampler.because(verdict, policy);
                            @if traces > 0 { (reason(verdict, policy, "", traces, decided)) }
                        }
                    }
                    @for (verdict, key, words) in OTHERS.iter().filter(|(_, key, _)| !sampler.policies.iter().any(|it| it == key)) {
                        @let traces = sampler.because(*verdict, key);
                        @if traces > 0 || *key == "no policy" { (reason(*verdict, key, words, traces, decided)) }
                    }
                }
            } }
            p.facts {
                span { (thousands(sampler.traces(Verdict::Sampled))) " of " (thousands(decided)) " traces kept, " (thousands(sampler.kept_spans)) " spans" }
                span { (thousands(sampler.undecided)) " undecided, at most " (thousands(sampler.num_traces)) }
                span { (thousands(sampler.remembered)) " decisions remembered in memory" }
                @for (count, what) in events(sampler) { @if count > 0 { span { (thousands(count)) " " (what) } } }
            }
        }
    }
}

/// What is worth saying only where it happened.
fn events(sampler: &Sampler) -> [(u64, &'static str); 11] {
    [
        (sampler.overturned, "brought back after \"not sampled\""),
        (sampler.linked, "kept for a link only"),
        (sampler.late_sampled, "late spans followed their kept trace"),
        (sampler.late_not_sampled, "late spans of traces not sampled"),
        (sampler.evicted, "decided early: num_traces was reached"),
        (sampler.links_left_out, "linked traces left out beyond max_traces"),
        (sampler.beyond_look_back, "links to traces beyond the look-back"),
        (sampler.failed_policies, "times a policy failed"),
        (sampler.asked_elsewhere, "traces other nodes were asked about"),
        (sampler.unanswered, "decided without another node that did not answer"),
        (sampler.kept_elsewhere, "kept because another node keeps a part"),
    ]
}

fn reason(verdict: Verdict, name: &str, words: &str, traces: u64, decided: u64) -> Markup {
    let said = match verdict {
        Verdict::Sampled => "kept",
        Verdict::Dropped => "dropped",
        Verdict::NotSampled => "not sampled",
        Verdict::Undecided => "undecided",
    };
    let part = if decided == 0 { 0.0 } else { traces as f64 / decided as f64 };
    html! {
        tr data-verdict=(verdict.as_str()) data-reason=(name) {
            td { @if words.is_empty() { code { (name) } } @else { (words) } }
            td { (said) }
            td.n { (thousands(traces)) }
            td.part {
                svg width="100%" height="8" aria-hidden="true" { rect width=(percent(part * 100.0)) height="8" {} }
                span { @if traces > 0 { (format!("{:.1} %", part * 100.0)) } }
            }
        }
    }
}

fn exporters(exporters: &[Exporter]) -> Markup {
    html! {
        @if !exporters.is_empty() {
            section.sampler {
                h2 { "Exporters" }
                div.table { table.exporters {
                    thead { tr {
                        th scope="col" { "pipeline/exporter" } th.n scope="col" { "waiting" } th.n scope="col" { "sent" }
                        th.n scope="col" { "refused" } th.n scope="col" { "failed attempts" } th.n scope="col" { "unreadable" }
                    } }
                    tbody {
                        @for exporter in exporters {
                            tr data-exporter=(exporter.name) {
                                td { code { (exporter.name) } }
                                td.n { (thousands(exporter.waiting)) }
                                td.n { (thousands(exporter.sent)) }
                                td.n.bad[exporter.refused > 0] { (thousands(exporter.refused)) }
                                td.n { (thousands(exporter.failed_attempts)) }
                                td.n.bad[exporter.gone > 0] { (thousands(exporter.gone)) }
                            }
                        }
                    }
                } }
                p.facts { span { "Spans or log records. What waits lies in the journal, not in memory." } }
            }
        }
    }
}

fn tier(tier: &Tier) -> Markup {
    html! {
        section.sampler {
            h2 { "Nodes"
                span.count { " " (thousands(tier.nodes)) " on the ring, "
                    @match &tier.us { Some(us) => { "this one is " (us) } None => "which of them this one is, is not known" } } }
            @if !tier.peers.is_empty() {
                div.table { table.exporters {
                    thead { tr {
                        th scope="col" { "node" } th.n scope="col" { "wishes waiting" } th.n scope="col" { "delivered" }
                        th.n scope="col" { "given up" } th.n scope="col" { "traces it answered for" } th.n scope="col" { "decided without it" }
                    } }
                    tbody {
                        @for peer in &tier.peers {
                            tr data-peer=(peer.name) {
                                td { code { (peer.name) } }
                                td.n { (thousands(peer.waiting)) }
                                td.n { (thousands(peer.delivered)) }
                                td.n.bad[peer.given_up > 0] { (thousands(peer.given_up)) }
                                td.n { (thousands(peer.answered)) }
                                td.n.bad[peer.unanswered > 0] { (thousands(peer.unanswered)) }
                            }
                        }
                    }
                } }
            }
            p.facts {
                span { (thousands(tier.taken)) " wishes of others taken, " (thousands(tier.taken_kept)) " of them: a part of a trace is kept there" }
                span { (thousands(tier.answered)) " traces others asked about" }
                @if tier.refused > 0 { span { (thousands(tier.refused)) " calls refused" } }
            }
        }
    }
}
