//! What every page has: head, search box, landmarks.

use maud::{DOCTYPE, Markup, html};

use super::assets;
use crate::app::Samples;

/// What differs from page to page.
#[derive(Clone, Copy, Default)]
pub(super) struct Frame<'a> {
    pub(super) title: &'a str,
    /// Tells the modules which page they are on.
    pub(super) kind: &'a str,
    /// What stands in the search box.
    pub(super) query: &'a str,
    /// Reload after so many seconds where no JavaScript does it better.
    pub(super) reload: Option<u32>,
    /// Whether there is a sampler to look at.
    pub(super) samples: Samples,
    /// Keys that work on this page, for the foot.
    pub(super) keys: &'a [(&'a str, &'a str)],
}

pub(super) fn page(frame: &Frame<'_>, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (frame.title) " · throughline" }
                link rel="stylesheet" href=(assets::url("page.css"));
                link rel="icon" type="image/svg+xml" href=(assets::url("icon.svg"));
                script type="module" src=(assets::url("page.js")) {}
                @if let Some(seconds) = frame.reload {
                    noscript { meta http-equiv="refresh" content=(seconds); }
                }
            }
            body data-page=(frame.kind) {
                a.skip href="#main" { "Skip to content" }
                header.top {
                    a.home href="/" { (mark()) "throughline" }
                    form.box action="/" method="get" role="search" {
                        input #q type="search" name="q" value=(frame.query) autocomplete="off" autocapitalize="off"
                            spellcheck="false" aria-label="Search traces, or paste a trace id"
                            placeholder="service=api error correlation_id=… duration>500ms, or a trace id";
                        button type="submit" { "Search" }
                    }
                    @if frame.samples == Samples::Traces {
                        nav.places aria-label="Places" { a href="/sampler" { "Sampler" } }
                    }
                }
                main #main { (content) }
                footer.foot {
                    @for (key, what) in frame.keys {
                        span.key { kbd { (key) } " " (what) }
                    }
                }
            }
        }
    }
}

/// The mark: one line through three stations.
fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 24 12" width="24" height="12" aria-hidden="true" {
            path d="M1 6h22" {}
            circle cx="4" cy="6" r="2.5" {}
            circle cx="12" cy="6" r="2.5" {}
            circle cx="20" cy="6" r="2.5" {}
        }
    }
}
