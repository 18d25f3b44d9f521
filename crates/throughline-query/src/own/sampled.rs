//! Tail sampling as JSON: what was decided on a trace, and what the samplers are doing. And a line of it for terminals.

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;
use throughline_trace::text::TextOptions;

#[cfg(test)]
mod tests;

use super::JsonRefusal;
use crate::app::App;
use crate::reply::{self, Failure};
use crate::sampling::Decision;

/// What each pipeline that samples decided on a trace, whether or not the store has it.
pub(super) async fn decision(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response, JsonRefusal> {
    let id = reply::trace_id(&id)?;
    let asked = app.clone();
    let decisions = app.ask(move |_| Ok(asked.live().decisions(id))).await?;
    if decisions.is_empty() {
        return Err(Failure::Missing(format!("no pipeline that samples has seen trace {id}")).into());
    }
    let decisions: Vec<_> = decisions.iter().map(Decision::json).collect();
    Ok(reply::json(&json!({ "traceId": id.to_string(), "decisions": decisions })))
}

pub(super) async fn figures(State(app): State<App>) -> Result<Response, JsonRefusal> {
    let (asked, now) = (app.clone(), app.now());
    let sampling = app.ask(move |_| Ok(asked.live().sampling())).await?;
    Ok(reply::json(&sampling.ok_or_else(nothing_samples)?.json(now)))
}

/// There is no picture of a sampler where there is none.
pub(crate) fn nothing_samples() -> Failure {
    Failure::Missing(
        "nothing samples here: no pipeline of the configuration has the processor tail_sampling".to_owned(),
    )
}

/// What each pipeline that samples decided, below the trace as text: at most as wide as that is.
pub(super) fn lines(decisions: &[Decision], options: &TextOptions) -> String {
    let width = options.width.unwrap_or(usize::MAX);
    let mut text = String::new();
    for decision in decisions {
        // A policy's name must not drive the terminal.
        let line = reply::escaped(&decision.line(), reply::steers);
        let mut used = 0;
        for word in line.split(' ') {
            let wide = word.chars().count();
            let (gap, before) = match used {
                0 => ("", 0),
                _ if used + 1 + wide > width => ("\n  ", 2),
                _ => (" ", used + 1),
            };
            text.push_str(gap);
            text.push_str(word);
            used = before + wide;
        }
        text.push('\n');
    }
    text
}
