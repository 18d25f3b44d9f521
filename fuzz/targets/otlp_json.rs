//! JSON from a stranger: never a panic; what is accepted is valid OTLP, and survives writing and reading again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use throughline_otlp::{Signal, check, decode_traces, json};

fuzz_target!(|text: &[u8]| {
    for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
        if let Ok(request) = json::to_protobuf(signal, text) {
            // Deeper nesting than protobuf allows is the one thing JSON can say and protobuf cannot.
            if let Err(error) = check(signal, &request) {
                assert_eq!(error, throughline_otlp::WireError::TooDeep);
            }
        }
    }
    if let Ok(request) = json::to_protobuf(Signal::Traces, text)
        && let Ok(spans) = decode_traces(&request)
    {
        let written = json::traces([&request[..]]).expect("checked").to_string();
        let again = json::to_protobuf(Signal::Traces, written.as_bytes()).expect("what we write we read");
        assert_eq!(decode_traces(&again).expect("valid").len(), spans.len());
    }
});
