//! `throughline serve`: the server until a signal, then an orderly end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value as Json, json};
use throughline_collector::configuration::{LogLevel, MetricsLevel};
use throughline_collector::topology::{End, Pipeline};
use throughline_collector::{Config, DataFolder, Durability, default_data_folder};
use throughline_trace::text::Colour;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

use crate::cli::{DurabilityArg, ServeArgs};
use crate::configured::Configured;
use crate::exit::Failure;
use crate::live::Metrics;
use crate::output::Output;
use crate::quantity::{show_length, show_size};
use crate::server::{Addresses, Place, Plan, Receivers, Server, url};
use crate::validate::say_notes;

/// Runs until Ctrl-C or SIGTERM.
pub(crate) fn run(args: ServeArgs, output: &Output) -> Result<(), Failure> {
    let runtime = crate::runtime()?;
    // Exporters are made while the configuration is looked at.
    let within = runtime.enter();
    let configured = match args.config.as_slice() {
        [] => None,
        sources => {
            fits_a_configuration(&args)?;
            Some(Configured::read(sources, base()).map_err(|invalid| invalid.failure())?)
        }
    };
    drop(within);
    log_warnings(configured.as_ref().and_then(|it| it.loaded.configuration.service.telemetry.log_level));
    if let Some(configured) = &configured {
        say_notes(&configured.loaded.notes, output);
    }
    runtime.block_on(serve(&args, configured, output))
}

async fn serve(args: &ServeArgs, configured: Option<Configured>, output: &Output) -> Result<(), Failure> {
    let with_configuration = configured.is_some();
    let plan = plan(args, configured)?;
    let kept = kept(&plan.config);
    let mut signals = Signals::new()?;
    let server = tokio::select! {
        server = Server::start(plan) => server?,
        () = signals.next() => return Ok(()),
    };
    for moved in server.moved() {
        output.talk(moved);
    }
    let folder = server.data_folder().display().to_string();
    if args.json {
        let mut ready = server.addresses().json();
        if let Json::Object(object) = &mut ready {
            object.insert("data_dir".to_owned(), folder.into());
            if with_configuration {
                object.insert("receivers".to_owned(), receivers_json(&server));
            }
        }
        output.line(&ready.to_string());
    } else {
        let version = env!("CARGO_PKG_VERSION");
        let data = format!("  data        {folder}\n              {kept}");
        let listening =
            if with_configuration { configured_listening(&server) } else { listening(server.addresses()) };
        output.talk(&format!("throughline {version}\n{listening}\n{data}\nCtrl-C stops it."));
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
    let Addresses { otlp_grpc, otlp_http, ui, tempo, metrics } = addresses;
    let lines = [
        otlp_grpc.map(|at| format!("  OTLP/gRPC   {at}")),
        otlp_http.map(|at| format!("  OTLP/HTTP   {}", url(at))),
        Some(format!("  page        {}", url(ui))),
        Some(format!("  Tempo API   {}", url(tempo))),
        metrics.map(|at| format!("  metrics     {}/metrics", url(at))),
    ];
    lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// With every receiver by its name.
fn configured_listening(server: &Server) -> String {
    let mut lines = Vec::new();
    for (name, addresses) in server.receivers() {
        let grpc = addresses.grpc.map(|at| format!("OTLP/gRPC {at}"));
        let http = addresses.http.map(|at| format!("OTLP/HTTP {}", url(at)));
        let at = grpc.into_iter().chain(http).collect::<Vec<_>>().join(", ");
        lines.push(format!("  {name:<11} {at}"));
    }
    let others = Addresses { otlp_grpc: None, otlp_http: None, ..server.addresses() };
    lines.push(listening(others));
    lines.join("\n")
}

fn receivers_json(server: &Server) -> Json {
    let receivers = server.receivers().iter().map(|(name, at)| {
        json!({ "name": name, "otlp_grpc": at.grpc.map(|it| it.to_string()), "otlp_http": at.http.map(url) })
    });
    receivers.collect()
}

fn kept(config: &Config) -> String {
    let Config { retention_age, retention_bytes, journal_bytes, limits, .. } = config;
    let stores = |pipeline: &Pipeline| pipeline.ends.iter().any(|end| matches!(end, End::Store));
    // Without a configuration everything is stored.
    let kept = match config.topology.as_ref().is_none_or(|all| all.pipelines.iter().any(stores)) {
        true => format!("kept {}, at most {}", show_length(*retention_age), show_size(*retention_bytes)),
        false => "nothing is stored here".to_owned(),
    };
    format!(
        "{kept}; journal at most {}; durability {}; a request at most {}",
        show_size(*journal_bytes),
        match config.durability {
            Durability::Sync => "sync",
            Durability::Batch { .. } => "batch",
            Durability::None => "none",
        },
        show_size(limits.message_bytes as u64),
    )
}

/// What neither flags nor a configuration say.
fn base() -> Config {
    Config { debug_output: Output::debug, ..Config::default() }
}

/// Where OTLP is received is said by one of both.
fn fits_a_configuration(args: &ServeArgs) -> Result<(), Failure> {
    let ports = &args.ports;
    let flags = [
        (ports.otlp_grpc_port.is_some(), "--otlp-grpc-port", "receivers::otlp::protocols::grpc::endpoint"),
        (ports.otlp_http_port.is_some(), "--otlp-http-port", "receivers::otlp::protocols::http::endpoint"),
        (
            !args.cors_origin.is_empty(),
            "--cors-origin",
            "receivers::otlp::protocols::http::cors::allowed_origins",
        ),
    ];
    if let Some((_, flag, key)) = flags.iter().find(|(given, _, _)| *given) {
        return Err(Failure::Usage(format!(
            "{flag} does not go with --config, whose receivers say that; change {key} there, or lay --config \"yaml:{key}: …\" over it"
        )));
    }
    match (ports.ui_port, ports.tempo_port) {
        (Some(ui), Some(tempo)) if ui == tempo && ui != 0 => {
            Err(Failure::Usage(format!("port {ui} is given twice: --ui-port and --tempo-port")))
        }
        _ => Ok(()),
    }
}

fn plan(args: &ServeArgs, configured: Option<Configured>) -> Result<Plan, Failure> {
    let Some(configured) = configured else {
        args.ports.check_distinct(None)?;
        let config = Config { data: data(args, None)?, cors_origins: args.cors_origin.clone(), ..base() };
        let bind = args.bind.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        return Ok(Plan::of_flags(bind, args.ports, with_flags(args, config)?));
    };
    let Configured { loaded, config, ui, tempo, metrics } = configured;
    let said = loaded.configuration.throughline().data;
    let place = |port: Option<u16>, said: Option<SocketAddr>, default: u16| {
        let bind = args.bind.or(said.map(|it| it.ip())).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        match port.or(said.map(|it| it.port())) {
            Some(port) => Place::Exactly(SocketAddr::new(bind, port)),
            None => Place::Rather(SocketAddr::new(bind, default)),
        }
    };
    let level = loaded.configuration.service.telemetry.metrics;
    Ok(Plan {
        ui: place(args.ports.ui_port, ui, args.ports.ui()),
        tempo: place(args.ports.tempo_port, tempo, args.ports.tempo()),
        metrics_at: metrics.filter(|_| level == MetricsLevel::All),
        metrics: if level == MetricsLevel::All { Metrics::Served } else { Metrics::Off },
        receivers: Receivers::OfConfiguration,
        config: with_flags(args, Config { data: data(args, said)?, ..config })?,
    })
}

/// Where the data is: as a flag says, else as the configuration says, else in the user's folder.
fn data(args: &ServeArgs, said: Option<DataFolder>) -> Result<DataFolder, Failure> {
    match (&args.data_dir, args.ephemeral, said) {
        (Some(folder), _, _) => Ok(DataFolder::Persistent(folder.clone())),
        (None, true, _) => Ok(DataFolder::Ephemeral),
        (None, false, Some(said)) => Ok(said),
        (None, false, None) => {
            let folder = default_data_folder(|name| std::env::var_os(name)).ok_or_else(|| {
                Failure::Usage(
                    "there is no home folder to keep data in; say --data-dir FOLDER or --ephemeral"
                        .to_owned(),
                )
            })?;
            Ok(DataFolder::Persistent(folder))
        }
    }
}

/// What was said on the command line counts most.
fn with_flags(args: &ServeArgs, mut config: Config) -> Result<Config, Failure> {
    if let Some(durability) = args.durability {
        config.durability = match durability {
            DurabilityArg::Sync => Durability::Sync,
            DurabilityArg::Batch => Durability::Batch { window: Durability::DEFAULT_WINDOW },
            DurabilityArg::None => Durability::None,
        };
    }
    config.retention_age = args.retention_age.unwrap_or(config.retention_age);
    config.retention_bytes = args.retention_size.unwrap_or(config.retention_bytes);
    if let Some(bytes) = args.journal_size {
        let least = config.least_journal_bytes();
        if bytes < least {
            let (given, least) = (show_size(bytes), show_size(least));
            return Err(Failure::Usage(format!(
                "--journal-size {given} is too small: give it at least {least}"
            )));
        }
        config.journal_bytes = bytes;
        // Where something samples, all of the journal is there to look back into.
        if config.look_back_bytes > 0 {
            config.look_back_bytes = bytes;
        }
    }
    config.allow_hosts.extend(args.allow_host.iter().cloned());
    Ok(config)
}

/// Warnings of the parts, or what the configuration asks for, go to standard error, in colour only on a terminal; `RUST_LOG`
/// counts more.
pub(crate) fn log_warnings(level: Option<LogLevel>) {
    let level = match level {
        None | Some(LogLevel::Warn) => LevelFilter::WARN,
        Some(LogLevel::Debug) => LevelFilter::DEBUG,
        Some(LogLevel::Info) => LevelFilter::INFO,
        Some(LogLevel::Error) => LevelFilter::ERROR,
    };
    let filter =
        tracing_subscriber::EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
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
