//! Any bytes where a journal segment should be: recovery reports, it does not panic and does not loop.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = throughline_journal::sim::recover_bytes(bytes);
});
