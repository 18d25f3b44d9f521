//! `throughline demo`: a broker, the server, four services as processes of their own, seven checkouts; then what was
//! traced of them, checked and shown. Builds, runs, drains; the parts are below.

mod broker;
mod checkouts;
pub(crate) mod child;
mod expect;
mod report;
mod services;
mod watch;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use throughline_collector::{Config, DataFolder};
use tokio::time::Instant;

use crate::cli::DemoArgs;
use crate::exit::Failure;
use crate::output::Output;
use crate::serve::{Signals, listening, log_warnings};
use crate::server::{Addresses, Plan, Server, listen, url};
use broker::Broker;
use services::{Launch, Logs, Services};
use watch::{Run, Watch};

/// Runs the demo; a signal ends it in order, at any stage.
pub(crate) fn run(args: DemoArgs, output: &Output) -> Result<(), Failure> {
    log_warnings(None);
    crate::runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let ended = demo(&args, output, &mut signals).await;
        output.talk("stopped");
        ended
    })
}

/// The demo's parts, in the order in which they start.
async fn demo(args: &DemoArgs, output: &Output, signals: &mut Signals) -> Result<(), Failure> {
    args.ports.check_distinct(Some(args.api_port))?;
    let start = Broker::start(args.bootstrap.as_deref(), args.timeout, output);
    let Some(broker) = unless(signals, start).await? else { return Ok(()) };
    let Some(server) = unless(signals, Server::start(plan(args))).await? else { return Ok(()) };
    let started = unless(signals, start_services(args, &broker, &server, output)).await;
    let ended = match started {
        Ok(Some(mut services)) => {
            let shown = unless(signals, show(args, &broker, &server, &mut services, output)).await;
            output.talk("stopping the services");
            services.stop().await;
            shown.map(drop)
        }
        Ok(None) => Ok(()),
        Err(failure) => Err(failure),
    };
    server.shutdown().await;
    // After the services: they have said goodbye to it.
    drop(broker);
    ended
}

/// `None` if a signal came first.
async fn unless<T>(
    signals: &mut Signals,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<Option<T>, Failure> {
    tokio::select! {
        done = work => done.map(Some),
        () = signals.next() => Ok(None),
    }
}

fn plan(args: &DemoArgs) -> Plan {
    let data = args.data_dir.clone().map_or(DataFolder::Ephemeral, DataFolder::Persistent);
    Plan::of_flags(Ipv4Addr::LOCALHOST.into(), args.ports, Config { data, ..Config::default() })
}

async fn start_services(
    args: &DemoArgs,
    broker: &Broker,
    server: &Server,
    output: &Output,
) -> Result<Services, Failure> {
    let api = SocketAddr::from((Ipv4Addr::LOCALHOST, args.api_port));
    // The API listens in another process: tried here, so that a port in use is told like any other.
    drop(listen(api, "the checkout API", "--api-port").await?);
    let launch = Launch {
        bootstrap: broker.bootstrap().to_owned(),
        otlp: server.addresses().otlp().unwrap_or_default(),
        api,
        legacy: args.legacy,
        break_injection: args.break_injection,
        logs: if args.verbose { Logs::Shown } else { Logs::Kept },
    };
    Services::start(launch, *output).await
}

/// What the user came for; then it stays up until a signal, unless it is to run once.
async fn show(
    args: &DemoArgs,
    broker: &Broker,
    server: &Server,
    services: &mut Services,
    output: &Output,
) -> Result<(), Failure> {
    let api = url(services.api());
    announce(args, broker, server, services, output);
    // Subscribed before the first checkout, so that nothing falls in between.
    let watch = Watch::new(server, services, Instant::now() + args.timeout, *output);
    let placed = checkouts::place_all(&api).await?;
    let run = watch.until_traced(placed).await;
    output.talk("");
    report(args, &run, &api, server.addresses(), output);
    let verdict = run.verdict();
    if args.once {
        return verdict;
    }
    if let Err(failure) = &verdict {
        output.talk(&format!("error: {failure}"));
    }
    output.talk("\nThe demo stays up, for you to try it. Ctrl-C stops it.");
    services.watch_over(output).await?;
    verdict
}

fn announce(args: &DemoArgs, broker: &Broker, server: &Server, services: &Services, output: &Output) {
    let addresses = server.addresses();
    if args.json {
        let mut ready = addresses.json();
        if let Some(object) = ready.as_object_mut() {
            object.insert("event".to_owned(), "ready".into());
            object.insert("api".to_owned(), url(services.api()).into());
            object.insert("bootstrap".to_owned(), broker.bootstrap().into());
            object.insert("data_dir".to_owned(), server.data_folder().display().to_string().into());
            object.insert("services".to_owned(), json!(services.processes()));
        }
        output.line(&ready.to_string());
    }
    let lines = [
        format!("  Kafka       {} ({})", broker.bootstrap(), broker.what()),
        listening(addresses),
        format!("  checkout    {}", url(services.api())),
        format!("  data        {}", server.data_folder().display()),
    ];
    output.talk(&format!("{}\n", lines.join("\n")));
}

fn report(args: &DemoArgs, run: &Run, api: &str, addresses: Addresses, output: &Output) {
    if args.json {
        output.line(&report::json(run).to_string());
    } else {
        // Where it ends now, nothing is left to try it on.
        let next = if args.once { String::new() } else { report::next(run, api, addresses) };
        output.data(&(report::text(run, output) + &next));
    }
}
