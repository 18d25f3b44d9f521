//! `trace`, `search`, `lineage`: one question to a running server, its answer printed.

use serde_json::Value as Json;
use throughline_trace::text::Colour;

use crate::cli::{LineageArgs, SearchArgs, TraceArgs};
use crate::client::Client;
use crate::exit::Failure;
use crate::follow;
use crate::output::Output;

/// `trace ID`.
pub(crate) fn trace(args: &TraceArgs, output: &Output) -> Result<(), Failure> {
    let client = Client::new(&args.client.url)?;
    let path = format!("/tl/v1/trace/{}", segment(&args.id));
    if args.follow {
        return follow::run(&client, &args.id, &format!("{path}/follow"), args.client.json, output);
    }
    if args.client.json {
        let mut trace = client.json(&path, &[])?;
        if let (Some(trace), Some(decisions)) = (trace.as_object_mut(), decisions(&client, &path)) {
            trace.insert("decisions".to_owned(), decisions);
        }
        output.line(&format!("{trace:#}"));
        return Ok(());
    }
    let mut look = look(output);
    look.push(("form", args.form.clone()));
    output.data(&client.text(&format!("{path}/text"), &look)?);
    Ok(())
}

/// What the pipelines that sample decided on a trace; most servers have none.
fn decisions(client: &Client, path: &str) -> Option<Json> {
    let answer = client.json(&format!("{path}/decision"), &[]).ok()?;
    answer.get("decisions").cloned()
}

/// `search QUERY`. Nothing found is exit code 1, as with grep, and nothing is printed, in either form. A whole trace id is
/// that trace.
pub(crate) fn search(args: &SearchArgs, output: &Output) -> Result<(), Failure> {
    let query = args.query.join(" ");
    if is_trace_id(&query) {
        let (id, client) = (query.trim().to_owned(), args.client.clone());
        return trace(&TraceArgs { id, follow: false, form: "nested".to_owned(), client }, output);
    }
    let client = Client::new(&args.client.url)?;
    let asked = vec![("q", query.clone()), ("limit", args.limit.to_string())];
    let found = client.json("/tl/v1/search", &asked)?;
    if !holds_any(&found) {
        let what = format!("nothing matches {query}; widen the time, or ask for less at once");
        return Err(Failure::NotFound(what));
    }
    if args.client.json {
        output.line(&format!("{found:#}"));
    } else {
        let look = [asked, look(output)].concat();
        output.data(&client.text("/tl/v1/search/text", &look)?);
    }
    Ok(())
}

/// Whether it can only be meant as a trace id: 32 hex digits and nothing else.
fn is_trace_id(query: &str) -> bool {
    let id = query.trim();
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `lineage ID-or-hash`.
pub(crate) fn lineage(args: &LineageArgs, output: &Output) -> Result<(), Failure> {
    let client = Client::new(&args.client.url)?;
    let path = format!("/tl/v1/lineage/{}", segment(&args.of));
    if args.client.json {
        return json(&client, &path, output);
    }
    output.data(&client.text(&format!("{path}/text"), &look(output))?);
    Ok(())
}

/// Prints the answer, indented.
fn json(client: &Client, path: &str, output: &Output) -> Result<(), Failure> {
    output.line(&format!("{:#}", client.json(path, &[])?));
    Ok(())
}

fn holds_any(found: &Json) -> bool {
    let any = |list: &str| found.get(list).and_then(Json::as_array).is_some_and(|list| !list.is_empty());
    any("traces") || any("logs")
}

/// How the text is to look: as this terminal can show it.
fn look(output: &Output) -> Vec<(&'static str, String)> {
    let colour = match output.colour() {
        Colour::Never => "never",
        Colour::Always => "always",
    };
    let width = output.width().map(|width| ("width", width.to_string()));
    [("colour", colour.to_owned())].into_iter().chain(width).collect()
}

/// What was typed, as one segment of a path: anything but letters and digits is escaped, so that a typo is answered as
/// one and not as another page.
fn segment(typed: &str) -> String {
    let escape = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    typed.trim().bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_stays_one_segment() {
        for (typed, expected) in [(" 4bF9 ", "4bF9"), ("../x?y", "%2E%2E%2Fx%3Fy"), ("é", "%C3%A9")] {
            assert_eq!(segment(typed), expected);
        }
    }

    #[test]
    fn found_is_a_trace_or_a_log() {
        for (answer, expected) in [
            (r#"{"traces":[],"logs":[]}"#, false),
            (r#"{"traces":[{}],"logs":[]}"#, true),
            (r#"{"traces":[],"logs":[{}]}"#, true),
            ("{}", false),
        ] {
            assert_eq!(holds_any(&serde_json::from_str(answer).unwrap()), expected, "{answer}");
        }
    }

    #[test]
    fn only_a_whole_trace_id_is_taken_for_one() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (query, expected) in [
            (id.to_owned(), true),
            (format!(" {} ", id.to_uppercase()), true),
            (id.replace('4', "g"), false),
            (format!("{id}0"), false),
            (format!("trace={id}"), false),
            ("abc".to_owned(), false),
        ] {
            assert_eq!(is_trace_id(&query), expected, "{query}");
        }
    }
}
