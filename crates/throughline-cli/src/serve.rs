//! `throughline serve`: the server until a signal, then an orderly end.

use serde_json::Value as Json;
use throughline_collector::{Config, DataFolder, Durability, default_data_folder};
use throughline_trace::text::Colour;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{DurabilityArg, ServeArgs};
use crate::exit::Failure;
use crate::output::Output;
use crate::quantity::{show_length, show_size};
use crate::server::{Addresses, Plan, Server, url};

/// Runs until Ctrl-C or SIGTERM.
pub(crate) fn run(args: ServeArgs, output: &Output) -> Result<(), Failure> {
    log_warnings();
    crate::runtime()?.block_on(serve(args, output))
}

async fn serve(args: ServeArgs, output: &Output) -> Result<(), Failure> {
    let json = args.json;
    args.ports.check_distinct(None)?;
    let plan = plan(args)?;
    let kept = kept(&plan.config);
    let mut signals = Signals::new()?;
    let server = tokio::select! {
        server = Server::start(plan) => server?,
        () = signals.next() => return Ok(()),
    };
    let folder = server.data_folder().display().to_string();
    if json {
        let mut ready = server.addresses().json();
        if let Json::Object(object) = &mut ready {
            object.insert("data_dir".to_owned(), folder.into());
        }
        output.line(&ready.to_string());
    } else {
        let version = env!("CARGO_PKG_VERSION");
        let data = format!("  data        {folder}\n              {kept}");
        output.talk(&format!(
            "throughline {version}\n{}\n{data}\nCtrl-C stops it.",
            listening(server.addresses())
        ));
    }
    signals.next().await;
    output.talk("stopping: answering what is in progress, writing what was accepted");
    tokio::select! {
        () = server.shutdown() => Ok(()),
        () = signals.next() => Ok(()),
    }
}

/// The addresses, for a person.
pub(crate) fn listening(addresses: Addresses) -> String {
    let Addresses { otlp_grpc, otlp_http, ui, tempo } = addresses;
    format!(
        "  OTLP/gRPC   {otlp_grpc}\n  OTLP/HTTP   {}\n  page        {}\n  Tempo API   {}",
        url(otlp_http),
        url(ui),
        url(tempo),
    )
}

fn kept(config: &Config) -> String {
    let Config { retention_age, retention_bytes, journal_bytes, limits, .. } = config;
    format!(
        "kept {}, at most {}; journal at most {}; durability {}; a request at most {}",
        show_length(*retention_age),
        show_size(*retention_bytes),
        show_size(*journal_bytes),
        match config.durability {
            Durability::Sync => "sync",
            Durability::Batch { .. } => "batch",
            Durability::None => "none",
        },
        show_size(limits.message_bytes as u64),
    )
}

fn plan(args: ServeArgs) -> Result<Plan, Failure> {
    let data = match (args.data_dir, args.ephemeral) {
        (Some(folder), _) => DataFolder::Persistent(folder),
        (None, true) => DataFolder::Ephemeral,
        (None, false) => {
            DataFolder::Persistent(default_data_folder(|name| std::env::var_os(name)).ok_or_else(|| {
                Failure::Usage(
                    "there is no home folder to keep data in; say --data-dir FOLDER or --ephemeral"
                        .to_owned(),
                )
            })?)
        }
    };
    let durability = match args.durability {
        DurabilityArg::Sync => Durability::Sync,
        DurabilityArg::Batch => Durability::Batch { window: Durability::DEFAULT_WINDOW },
        DurabilityArg::None => Durability::None,
    };
    let config = Config {
        data,
        durability,
        retention_age: args.retention_age,
        retention_bytes: args.retention_size,
        journal_bytes: args.journal_size,
        cors_origins: args.cors_origin,
        allow_hosts: args.allow_host.clone(),
        ..Config::default()
    };
    Ok(Plan { bind: args.bind, ports: args.ports, allow_hosts: args.allow_host, config })
}

/// Warnings of the parts go to standard error, in colour only on a terminal; `RUST_LOG` asks for more.
pub(crate) fn log_warnings() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(Output::talk_colour() == Colour::Always)
        .with_target(false)
        .init();
}

/// Ctrl-C and SIGTERM, as they come.
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        let on = |kind| {
            signal(kind).map_err(|error| Failure::Start(format!("cannot listen for signals: {error}")))
        };
        Ok(Self { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())? })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
