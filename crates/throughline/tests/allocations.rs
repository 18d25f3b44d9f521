//! How often extract and inject allocate: a hop's cost, held by a test. The counter is per thread, so tests may run side by
//! side.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use support::{Headers, PARENT, Pipeline, headers};
use throughline::{HeaderSink, HeaderSource, extract, process};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "a global allocator cannot be had without; it only counts and passes on")]
// SAFETY: every call goes to `System` with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn counted<T>(work: impl FnOnce() -> T) -> usize {
    let before = ALLOCATIONS.get();
    let kept = work();
    let after = ALLOCATIONS.get();
    drop(kept);
    after - before
}

/// A sink that writes nowhere: what is counted is ours.
struct Nowhere;

impl HeaderSource for Nowhere {
    fn visit(&self, _: &mut dyn FnMut(&[u8], Option<&[u8]>)) {}
}

impl HeaderSink for Nowhere {
    fn replace(self, _: &[&'static str], entries: &[(&'static str, &[u8])]) -> Self {
        assert!(!entries.is_empty());
        self
    }
}

fn message() -> Headers {
    headers(&[
        ("traceparent", PARENT),
        ("tracestate", "ot=th:8,vendor=x"),
        ("baggage", "tenant.id=acme,region=eu,plan=pro,flag=on"),
        ("x-correlation-id", "order-42"),
        ("x-tenant-id", "acme"),
        ("schema", "7"),
    ])
}

#[test]
fn extract_allocates_a_handful_of_times_and_nothing_for_foreign_headers() {
    let foreign = headers(&[("schema", "7"), ("content-type", "json"), ("traceparenx", "no")]);
    assert_eq!(counted(|| extract(&foreign)), 0);
    let message = message();
    drop(extract(&message)); // baggage is remembered from here on
    let full = counted(|| extract(&message));
    assert!(full <= 10, "{full} allocations to extract five headers");
    let plain = headers(&[("traceparent", PARENT)]);
    let plain = counted(|| extract(&plain));
    assert!(plain <= 5, "{plain} allocations to extract a traceparent");
}

#[test]
fn inject_does_not_allocate() {
    let pipeline = Pipeline::new();
    process("orders").headers(&message()).parent(pipeline.context()).run_sync(|span| {
        assert_eq!(counted(|| span.inject(Nowhere)), 0, "all it needs is in the context");
    });
    process("orders").headers(&headers(&[("traceparent", PARENT)])).parent(pipeline.context()).run_sync(
        |span| {
            let derived = counted(|| span.inject(Nowhere));
            assert!(derived <= 2, "{derived} allocations to derive a correlation id");
        },
    );
}
