//! The other side of [`super::services`]: this binary as one of the four services. It says on standard output when it is
//! up, heard or not, and ends when its standard input does, which it does however the parent ends.

use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::json;
use throughline::{Profile, set_profile};
use throughline_checkout::{Ready, Service, Settings};

use crate::exit::Failure;
use crate::output::Output;

/// Set if spans are to have their older names.
pub(super) const LEGACY: &str = "THROUGHLINE_DEMO_LEGACY";
/// How long a service may take to leave its group and send its last spans, as long as the parent is there.
const GRACE: Duration = Duration::from_secs(8);
/// The same when the parent is gone, and broker and backend with it: there is nobody to say goodbye to.
const GRACE_ALONE: Duration = Duration::from_millis(500);
/// How often the end of the parent is looked for, once there is a sign of it.
const LOOK: Duration = Duration::from_millis(50);

/// Runs the service until standard input ends.
pub(crate) fn run(service: Service, output: &Output) -> Result<(), Failure> {
    if std::env::var_os(LEGACY).is_some() {
        set_profile(Profile::Legacy);
    }
    let settings = Settings::from_env().map_err(|error| Failure::Usage(error.to_string()))?;
    let parent = std::os::unix::process::parent_id();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let watch = move || {
        until_stdin_ends();
        // The service may have ended by itself at the same moment.
        let _ = stop.send(());
        end_at_last(parent);
    };
    std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(watch)
        .map_err(|error| Failure::Start(format!("cannot watch the parent: {error}")))?;

    let output = *output;
    let ready = move |ready: Ready| output.offer(&describe(ready).to_string());
    let stop = async {
        // The sender lives in the thread above until it has sent.
        let _ = stopped.await;
    };
    let ended = crate::runtime()?.block_on(throughline_checkout::run(service, settings, ready, stop));
    ended.map_err(|error| Failure::Start(format!("{service} ended: {error}")))
}

fn describe(ready: Ready) -> serde_json::Value {
    match ready {
        Ready::Listening(address) => json!({ "ready": "listening", "address": address.to_string() }),
        Ready::Assigned { partitions } => json!({ "ready": "assigned", "partitions": partitions }),
    }
}

fn until_stdin_ends() {
    let mut stdin = std::io::stdin().lock();
    let mut sink = [0; 64];
    // An error is an end as well: the pipe is of no more use.
    while stdin.read(&mut sink).is_ok_and(|read| read > 0) {}
}

/// The end, if the orderly one hangs: on a broker that is gone, say.
fn end_at_last(parent: u32) {
    let begun = Instant::now();
    // A parent that is killed closes its pipes before its children are given away, so one look is not enough.
    while begun.elapsed() < GRACE {
        if std::os::unix::process::parent_id() != parent {
            std::thread::park_timeout(GRACE_ALONE);
            std::process::exit(0);
        }
        // Parked, not slept: nothing unparks this thread, the timeout is the point.
        std::thread::park_timeout(LOOK);
    }
    std::process::exit(1);
}
