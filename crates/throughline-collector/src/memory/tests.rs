//! When receivers refuse, from figures given; nothing here depends on the machine's memory.

use std::num::NonZeroU64;

use super::*;
use crate::configuration::MemoryLimiter;

fn memory(limit: MemoryLimit, spike: Option<MemoryLimit>) -> Memory {
    let interval = Duration::from_millis(1);
    Memory { name: "memory_limiter".to_owned(), limiter: MemoryLimiter { interval, limit, spike } }
}

fn bytes(bytes: u64) -> MemoryLimit {
    MemoryLimit::Bytes(NonZeroU64::new(bytes).unwrap())
}

#[test]
fn requests_are_refused_from_the_limit_minus_the_spike() {
    let total = total(Path::new("/")).unwrap();
    for (limit, spike, expected) in [
        (bytes(1000), None, 800),
        (bytes(1000), Some(bytes(300)), 700),
        (bytes(total), Some(MemoryLimit::Percent(10)), total - total / 100 * 10),
        (MemoryLimit::Percent(50), Some(MemoryLimit::Percent(10)), total / 100 * 50 - total / 100 * 10),
    ] {
        assert_eq!(Limiter::new(&memory(limit, spike), Vec::new(), anonymous).unwrap().limit, expected);
    }
}

#[test]
fn only_the_pipelines_behind_it_are_refused_and_only_while_memory_is_short() {
    let limiter = |guards, limit| Limiter::new(&memory(bytes(limit), None), guards, anonymous).unwrap();
    let (first, second) = (
        limiter(vec![(0, Signal::Traces), (1, Signal::Traces)], 100),
        limiter(vec![(1, Signal::Traces)], 1000),
    );
    let limiters = Limiters([first, second].map(Arc::new).into());
    let look = |used| limiters.0.iter().for_each(|limiter| limiter.look(used));
    let refused = || {
        let all = [(0, Signal::Traces), (0, Signal::Logs), (1, Signal::Traces), (2, Signal::Traces)];
        all.map(|(receiver, signal)| limiters.admit(receiver, signal, 10).is_err())
    };
    let counts = || {
        let of = |limiter: &Arc<Limiter>| {
            [&limiter.accepted, &limiter.refused].map(|counts| counts[0].load(Ordering::Relaxed))
        };
        limiters.0.iter().map(of).collect::<Vec<_>>()
    };
    for (used, expected, counted) in [
        (79, [false; 4], [[20, 0], [10, 0]]),
        (80, [true, false, true, false], [[20, 20], [10, 0]]),
        (800, [true, false, true, false], [[20, 40], [10, 10]]),
        (0, [false; 4], [[40, 40], [20, 10]]),
    ] {
        look(used);
        assert_eq!((refused(), counts()), (expected, counted.to_vec()), "{used}");
    }
    let refusal = {
        look(1000);
        limiters.admit(0, Signal::Traces, 1).unwrap_err()
    };
    assert!(refusal.retry_after().is_some(), "{refusal:?}");
}

#[tokio::test(start_paused = true)]
async fn it_looks_at_every_interval_until_it_is_stopped() {
    static USED: AtomicU64 = AtomicU64::new(0);
    let usage: Usage = || Ok(USED.load(Ordering::Relaxed));
    let limiter = Limiter::new(&memory(bytes(100), None), vec![(0, Signal::Logs)], usage).unwrap();
    let limiters = Limiters(vec![Arc::new(limiter)]);
    let (mut tasks, stop) = (JoinSet::new(), watch::Sender::new(false));
    limiters.run(&mut tasks, &stop);
    for (used, refused) in [(0, false), (80, true), (79, false)] {
        USED.store(used, Ordering::Relaxed);
        // Time stands still but for this.
        tokio::time::advance(Duration::from_millis(2)).await;
        tokio::task::yield_now().await;
        assert_eq!(limiters.admit(0, Signal::Logs, 1).is_err(), refused, "{used}");
    }
    stop.send(true).unwrap();
    tasks.join_next().await.unwrap().unwrap();
}

#[test]
fn memory_is_the_machines_or_what_control_groups_leave() {
    let check = |groups: &str, limits: &[(&str, &str)]| {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/meminfo", "MemTotal:       4000 kB\nMemFree:  1 kB\n");
        write("proc/self/cgroup", groups);
        limits.iter().for_each(|(path, text)| write(&format!("sys/fs/cgroup/{path}"), text));
        total(root.path()).unwrap()
    };
    let machine = 4000 * 1024;
    for (groups, limits, expected) in [
        ("", [].as_slice(), machine),
        ("0::/\n", &[("memory.max", "max\n")], machine),
        ("0::/a/b\n", &[("a/b/memory.max", "max\n"), ("a/memory.max", "2000\n")], 2000),
        ("0::/a/b\n", &[("a/b/memory.max", "1000\n"), ("a/memory.max", "2000\n")], 1000),
        ("0::/a\n", &[("a/memory.max", "9999999999\n")], machine),
        ("3:cpu:/x\n2:memory:/docker/1\n", &[("memory/memory.limit_in_bytes", "3000\n")], 3000),
    ] {
        assert_eq!(check(groups, limits), expected, "{groups:?} {limits:?}");
    }
    assert!(anonymous().unwrap() > 100 * 1024, "this process uses some");
}
