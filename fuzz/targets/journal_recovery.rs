//! Any bytes where a journal segment should be, and a valid segment with any edits and its checksums made right: recovery
//! reports, does not panic, does not loop, and keeps exactly the records that FORMAT.md says exist.
#![no_main]

use libfuzzer_sys::fuzz_target;
use throughline_journal::sim::hostile;

/// One that was sealed, one that was open when the process was killed.
const BASES: [&[u8]; 2] = [
    include_bytes!("../../crates/throughline-journal/tests/fixtures/v2/segment-00000000.tlj"),
    include_bytes!("../../crates/throughline-journal/tests/fixtures/v2/segment-00000001.tlj"),
];

fuzz_target!(|input: &[u8]| {
    // An error is an answer: a later version's segment, numbers that are used up.
    let _ = hostile::survivors(&hostile::segment(&BASES, input));
});
