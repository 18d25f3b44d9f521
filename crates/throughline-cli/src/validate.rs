//! `throughline validate`: what `serve --config` would say of a configuration, without starting anything.

use serde_json::{Value as Json, json};
use throughline_collector::Config;
use throughline_collector::configuration::Problem;

use crate::cli::ValidateArgs;
use crate::configured::{Configured, Invalid};
use crate::exit::Failure;
use crate::output::Output;

/// Prints `ok`, or fails with everything that is wrong.
pub(crate) fn run(args: &ValidateArgs, output: &Output) -> Result<(), Failure> {
    let runtime = crate::runtime()?;
    let _within = runtime.enter();
    let read = Configured::read(&args.config, Config::default());
    let (errors, notes): (Vec<Json>, &[Problem]) = match &read {
        Ok(configured) => (Vec::new(), &configured.loaded.notes),
        Err(Invalid::Source(message)) => (vec![json!({ "message": message })], &[]),
        Err(Invalid::Problems { errors, notes }) => (errors.iter().map(told).collect(), notes),
    };
    if args.json {
        let notes: Vec<Json> = notes.iter().map(told).collect();
        output.line(&json!({ "ok": read.is_ok(), "errors": errors, "notes": notes }).to_string());
    } else {
        say_notes(notes, output);
    }
    match read {
        Ok(_) if args.json => Ok(()),
        Ok(_) => {
            output.line("ok");
            Ok(())
        }
        Err(invalid) => Err(invalid.failure()),
    }
}

/// What is accepted and worth knowing, a line each.
pub(crate) fn say_notes(notes: &[Problem], output: &Output) {
    for note in notes {
        let line = match note.message.strip_prefix("has no effect: ") {
            Some(why) => {
                format!("accepted without effect: {}", Problem { message: why.to_owned(), ..note.clone() })
            }
            None => format!("note: {note}"),
        };
        output.talk(&line);
    }
}

fn told(problem: &Problem) -> Json {
    let Problem { file, line, column, path, message } = problem;
    json!({ "file": file, "line": line, "column": column, "path": path, "message": message })
}
