//! The binary `throughline`: reads the command line, runs one command, turns its end into an exit code.
//!
//! In the order a reader meets them: [`cli`] is what can be said; [`serve`] runs the [`server`], under
//! what is [`configured`]; [`validate`] only looks at that; [`live`] is what the page asks of what runs; [`demo`] runs the
//! server too, with a broker and four services beside it; [`ask`] and [`follow`] ask a running server through [`client`];
//! [`output`] is the only place that writes.

mod ask;
mod cli;
mod client;
mod configured;
mod demo;
mod exit;
mod follow;
mod live;
mod output;
mod quantity;
mod serve;
mod server;
mod validate;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::exit::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    // clap prints help and usage errors itself and exits with 0 or 2.
    let cli = Cli::parse();
    let output = Output::new();
    let ended = match cli.command {
        Command::Demo(args) => demo::run(args, &output),
        Command::Serve(args) => serve::run(*args, &output),
        Command::Validate(args) => validate::run(&args, &output),
        Command::Trace(args) => ask::trace(&args, &output),
        Command::Search(args) => ask::search(&args, &output),
        Command::Lineage(args) => ask::lineage(&args, &output),
        Command::DemoService(args) => demo::child::run(args.service, &output),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.talk(&format!("error: {failure}"));
            ExitCode::from(failure.code())
        }
    }
}

/// The runtime of the commands that listen.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().map_err(|error| Failure::Start(format!("cannot start the runtime: {error}")))
}
