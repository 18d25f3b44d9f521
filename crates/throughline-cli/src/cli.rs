//! What can be said on the command line. Flags, defaults and help; no behaviour.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use throughline_checkout::Service;

use crate::exit::{self, Failure};
use crate::quantity;

/// Where a client looks for a server.
const DEFAULT_URL: &str = "http://127.0.0.1:16686";

/// End-to-end tracing for event-driven systems: one trace through every queue.
#[derive(Debug, Parser)]
#[command(name = "throughline", version, propagate_version = true, max_term_width = 100, after_help = exit::TABLE)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the checkout demo: a broker, a backend and four services, and see one trace through all of them
    Demo(DemoArgs),
    /// Receive OTLP, keep spans and logs on disk, answer on the page and the Jaeger and Tempo APIs; with --config: sample
    /// traces and send them on
    Serve(Box<ServeArgs>),
    /// Check a configuration: find everything that `serve --config` would refuse, without starting anything
    Validate(ValidateArgs),
    /// Show one trace: its spans, how long messages waited in queues, what it is linked to
    Trace(TraceArgs),
    /// Find spans, logs and batches
    Search(SearchArgs),
    /// Show a batch and the traces it came from, by lineage hash or by the id of one of the traces
    Lineage(LineageArgs),
    /// One of the demo's services; the demo starts it
    #[command(hide = true)]
    DemoService(DemoServiceArgs),
}

const DEMO_HELP: &str = "\
Examples:
  throughline demo                           run seven checkouts, stay up until Ctrl-C
  throughline demo --once                    run them, check every hop, exit with 0 or 1
  throughline demo --bootstrap kafka:9092    the same over a real Kafka
  throughline demo --legacy                  with the names older viewers expect (`orders publish`)

With --json each stage is one line of JSON: {\"event\":\"ready\",…} with the addresses and process ids, then
{\"event\":\"run\",…} with the checkouts, the batch and the trace that the text shows.";

/// Flags of `demo`.
#[derive(Debug, Args)]
#[command(after_help = format!("{DEMO_HELP}\n\n{}", exit::TABLE))]
pub(crate) struct DemoArgs {
    /// Run the checkouts, check what was traced, and exit
    #[arg(long)]
    pub(crate) once: bool,
    /// Use this Kafka instead of the one inside this process; topics that are missing are created
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) bootstrap: Option<String>,
    /// Write the span and attribute names of older conventions (`orders publish`)
    #[arg(long)]
    pub(crate) legacy: bool,
    /// Port of the checkout API; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 3000)]
    pub(crate) api_port: u16,
    /// Keep the data in this folder; without it, in a temporary one that goes with the demo
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How long to wait for the Kafka of --bootstrap, and then for the traces of the checkouts
    #[arg(long, value_name = "LENGTH", default_value = "60s", value_parser = quantity::length)]
    pub(crate) timeout: Duration,
    /// Show what the services log
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Print JSON, one line a stage
    #[arg(long)]
    pub(crate) json: bool,
    /// Let this service send without trace headers: what the check must catch
    #[arg(long, value_name = "SERVICE", hide = true, value_parser = breakable)]
    pub(crate) break_injection: Option<Service>,
    #[command(flatten)]
    pub(crate) ports: PortArgs,
}

/// The batcher is the last: nobody receives what it sends, so nothing would show that it broke.
fn breakable(name: &str) -> Result<Service, String> {
    let service = name.parse::<Service>().ok().filter(|service| *service != Service::Batcher);
    service.ok_or_else(|| "expected api, payment-worker or email-worker".to_owned())
}

/// The ports of the backend.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Ports (0 takes any free one)")]
pub(crate) struct PortArgs {
    /// OTLP over gRPC [default: 4317]
    #[arg(long, value_name = "PORT")]
    pub(crate) otlp_grpc_port: Option<u16>,
    /// OTLP over HTTP [default: 4318]
    #[arg(long, value_name = "PORT")]
    pub(crate) otlp_http_port: Option<u16>,
    /// The page and the Jaeger API [default: 16686]
    #[arg(long, value_name = "PORT")]
    pub(crate) ui_port: Option<u16>,
    /// The Tempo API [default: 3200]
    #[arg(long, value_name = "PORT")]
    pub(crate) tempo_port: Option<u16>,
}

impl PortArgs {
    pub(crate) fn otlp_grpc(&self) -> u16 {
        self.otlp_grpc_port.unwrap_or(4317)
    }

    pub(crate) fn otlp_http(&self) -> u16 {
        self.otlp_http_port.unwrap_or(4318)
    }

    pub(crate) fn ui(&self) -> u16 {
        self.ui_port.unwrap_or(16686)
    }

    pub(crate) fn tempo(&self) -> u16 {
        self.tempo_port.unwrap_or(3200)
    }

    /// Refuses one port for two listeners, which would be told as a port that somebody else has.
    pub(crate) fn check_distinct(&self, api: Option<u16>) -> Result<(), Failure> {
        let mut seen: Vec<(u16, &str)> = Vec::new();
        let flags = [
            (Some(self.otlp_grpc()), "--otlp-grpc-port"),
            (Some(self.otlp_http()), "--otlp-http-port"),
            (Some(self.ui()), "--ui-port"),
            (Some(self.tempo()), "--tempo-port"),
            (api, "--api-port"),
        ];
        for (port, flag) in flags.into_iter().filter_map(|(port, flag)| Some((port?, flag))) {
            if let Some((_, other)) = seen.iter().find(|(taken, _)| port != 0 && *taken == port) {
                return Err(Failure::Usage(format!("port {port} is given twice: {other} and {flag}")));
            }
            seen.push((port, flag));
        }
        Ok(())
    }
}

const SERVE_HELP: &str = "\
Limits: a request has at most 16 MiB, also once inflated; all requests in memory together 256 MiB; each port 1,024
connections; metrics 10,000 series, in memory only. What is over a limit is refused, counted on /metrics, and the sender
is told whether to try again.

Examples:
  throughline serve
  throughline serve --ephemeral --ui-port 8080
  throughline serve --data-dir /var/lib/throughline --retention-age 30d --retention-size 200GiB
  throughline serve --json --otlp-http-port 0    prints one line of JSON with the addresses once it is ready
  throughline serve --config collector.yaml --data-dir /var/lib/throughline
  throughline serve --config base.yaml --config env:EXTRA --config 'yaml:processors::batch::timeout: 2s'

With --config receivers, pipelines and exporters are those of the configuration; --data-dir, --ephemeral, --durability,
--journal-size, --retention-age, --retention-size, --bind (of the page and the Tempo API), --ui-port and --tempo-port count
more than what it says. Where neither says a port for the page or the Tempo API, it is the default, or any free one if that
is taken; the ready line says which. What is accepted and means nothing here is told on standard error.

Ctrl-C or SIGTERM stops it: what is in progress is answered and written first. A second one does not wait.";

/// Flags of `serve`.
#[derive(Debug, Args)]
#[command(after_help = format!("{SERVE_HELP}\n\n{}", exit::TABLE))]
pub(crate) struct ServeArgs {
    /// Run this configuration of the OpenTelemetry Collector: a file, file:PATH, env:NAME or yaml:TEXT; a later one is laid
    /// over those before it (repeatable)
    #[arg(long, value_name = "SOURCE", action = ArgAction::Append)]
    pub(crate) config: Vec<String>,
    /// Keep the data in this folder [default: $XDG_DATA_HOME/throughline, else ~/.local/share/throughline]
    #[arg(long, value_name = "FOLDER", conflicts_with = "ephemeral")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Keep the data in a temporary folder that goes with the process
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// What a power loss may take of what was acknowledged; a process that is killed loses nothing [default: sync]
    #[arg(long, value_enum)]
    pub(crate) durability: Option<DurabilityArg>,
    /// Forget what is older [default: 7d]
    #[arg(long, value_name = "LENGTH", value_parser = quantity::length)]
    pub(crate) retention_age: Option<Duration>,
    /// Forget the oldest when the store is larger [default: 10GiB]
    #[arg(long, value_name = "SIZE", value_parser = quantity::size)]
    pub(crate) retention_size: Option<u64>,
    /// Refuse requests, for now, when what is accepted and not yet in the store is larger; at least 96MiB, with smaller
    /// requests less [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = quantity::size)]
    pub(crate) journal_size: Option<u64>,
    /// Listen on this address; anyone who reaches it can read and write traces [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) bind: Option<IpAddr>,
    /// Answer to this host name on the page and the APIs, besides localhost and addresses (repeatable)
    #[arg(long, value_name = "NAME", action = ArgAction::Append)]
    pub(crate) allow_host: Vec<String>,
    /// Let pages of this origin send OTLP from a browser (repeatable)
    #[arg(long, value_name = "ORIGIN", action = ArgAction::Append)]
    pub(crate) cors_origin: Vec<String>,
    /// Print one line of JSON with the addresses when ready
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) ports: PortArgs,
}

const VALIDATE_HELP: &str = "\
Examples:
  throughline validate --config collector.yaml
  throughline validate --config base.yaml --config site.yaml     as merged, in this order
  throughline validate --config env:COLLECTOR_CONFIG --json | jq '.errors[] | {file, line, column, message}'

It prints `ok`, or every error with file, line and column on standard error; notes on what is accepted without effect stand
there too. Looked at: keys and values, policies, references, certificates and other files that are named, and what this build
cannot do. Not looked at, because it changes: whether ports are free and backends answer. With --json standard output has one
object, whatever the outcome: {\"ok\":…, \"errors\":[…], \"notes\":[…]}.";

/// Flags of `validate`.
#[derive(Debug, Args)]
#[command(after_help = format!("{VALIDATE_HELP}\n\n{}", exit::TABLE))]
pub(crate) struct ValidateArgs {
    /// A file, file:PATH, env:NAME or yaml:TEXT; a later one is laid over those before it (repeatable)
    #[arg(long, value_name = "SOURCE", action = ArgAction::Append, required = true)]
    pub(crate) config: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a power loss may take of what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArg {
    /// Nothing: it is on disk before it is acknowledged
    Sync,
    /// The last 100 ms
    Batch,
    /// What the system has not written to the disk yet, however old
    None,
}

/// Where the server is, and in which form its answer is printed.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientArgs {
    /// The server, `throughline serve` or `throughline demo`; plain http
    #[arg(long, value_name = "URL", env = "THROUGHLINE_URL", default_value = DEFAULT_URL)]
    pub(crate) url: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const TRACE_HELP: &str = "\
Examples:
  throughline trace 4bf92f3577b34da6a3ce929d0e0e4736
  throughline trace 4bf92f3577b34da6a3ce929d0e0e4736 --follow
  throughline trace 4bf92f3577b34da6a3ce929d0e0e4736 --json | jq '.spans[] | {operation, kind, service}'";

/// Flags of `trace`.
#[derive(Debug, Args)]
#[command(after_help = format!("{TRACE_HELP}\n\n{}", exit::TABLE))]
pub(crate) struct TraceArgs {
    /// Trace id, up to 32 hex digits
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Print spans and logs as they arrive, and end when the trace is quiet, or when nothing of it has come within 30 s
    #[arg(long)]
    pub(crate) follow: bool,
    /// `nested` shows every span below its parent, `hops` begins a line at the margin for each hop
    #[arg(long, value_name = "FORM", default_value = "nested", value_parser = ["nested", "hops"], conflicts_with_all = ["follow", "json"])]
    pub(crate) form: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

const SEARCH_HELP: &str = "\
Conditions that hold on one span, all of them:
  service=api  operation=\"POST /checkout\"  kind=consumer  error  duration>500ms  duration<2s
  since=1h  after=2026-01-15T14:00:00Z  before=2026-01-15T15:00:00Z  ANY.ATTRIBUTE=value

Examples:
  throughline search correlation_id=4bf92f3577b34da6
  throughline search service=payment-worker error since=1h
  throughline search 'duration>500ms' kind=consumer --json
  throughline search linked_trace_id_hash=2b011da7875bd41d
  throughline search 4bf92f3577b34da6a3ce929d0e0e4736    as `throughline trace`";

/// Flags of `search`.
#[derive(Debug, Args)]
#[command(after_help = format!("{SEARCH_HELP}\n\n{}", exit::TABLE))]
pub(crate) struct SearchArgs {
    /// Conditions; several words are joined by blanks
    #[arg(value_name = "QUERY", required = true, num_args = 1..)]
    pub(crate) query: Vec<String>,
    /// Traces at most
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

const LINEAGE_HELP: &str = "\
Examples:
  throughline lineage 2b011da7875bd41d                    the batches with this hash and the traces they came from
  throughline lineage 4bf92f3577b34da6a3ce929d0e0e4736    the batches this trace went into";

/// Flags of `lineage`.
#[derive(Debug, Args)]
#[command(after_help = format!("{LINEAGE_HELP}\n\n{}", exit::TABLE))]
pub(crate) struct LineageArgs {
    /// Lineage hash (16 hex digits) or trace id (32)
    #[arg(value_name = "ID-OR-HASH")]
    pub(crate) of: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Which service to be.
#[derive(Debug, Args)]
pub(crate) struct DemoServiceArgs {
    #[arg(value_name = "SERVICE")]
    pub(crate) service: Service,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds_together_and_every_command_has_examples_and_exit_codes() {
        let mut cli = Cli::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
            let help = command.render_help().to_string();
            assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
        }
    }

    #[test]
    fn one_port_for_two_is_told_with_both_flags() {
        let check = |line: &str| {
            let said = match Cli::try_parse_from(line.split(' ')).unwrap().command {
                Command::Demo(args) => args.ports.check_distinct(Some(args.api_port)),
                Command::Serve(args) => args.ports.check_distinct(None),
                _ => panic!("{line}"),
            };
            said.map_or_else(|failure| failure.to_string(), |()| String::new())
        };
        let cases = [
            ("throughline serve", ""),
            ("throughline serve --ui-port 0 --tempo-port 0", ""),
            ("throughline serve --ui-port 3000", ""),
            (
                "throughline serve --ui-port 99 --tempo-port 99",
                "port 99 is given twice: --ui-port and --tempo-port",
            ),
            (
                "throughline serve --tempo-port 4317",
                "port 4317 is given twice: --otlp-grpc-port and --tempo-port",
            ),
            ("throughline demo --ui-port 3000", "port 3000 is given twice: --ui-port and --api-port"),
        ];
        for (line, expected) in cases {
            assert_eq!(check(line), expected, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_is_a_usage_error() {
        let cases = [
            "throughline serve --data-dir x --ephemeral",
            "throughline serve --retention-age 7",
            "throughline demo --break-injection batcher",
            "throughline search",
            "throughline trace",
            "throughline trace 1 --follow --form hops",
        ];
        for line in cases {
            assert_eq!(Cli::try_parse_from(line.split(' ')).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
