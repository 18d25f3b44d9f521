//! A request cut into records: by trace if each is to find its partition, and in halves until none is too large. No I/O.

use bytes::Bytes;
use throughline_otlp::{Choice, Signal, WireError, json, select_items, split_by_trace};

use crate::configuration::Encoding;

/// What a record has besides key and payload, in every version of the protocol, and then some.
const OVERHEAD: usize = 256;

/// How a request is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cutting {
    pub(super) signal: Signal,
    pub(super) encoding: Encoding,
    /// A record for each trace, keyed by it.
    pub(super) by_id: bool,
    /// Most bytes of a record.
    pub(super) most: usize,
}

/// One record, and the part of the request that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parcel {
    /// The 32 hex digits of its trace.
    pub(super) key: Option<String>,
    /// As it goes out.
    pub(super) payload: Bytes,
    /// As protobuf, to be sent again.
    pub(super) request: Bytes,
    pub(super) items: u64,
}

/// Cuts a request; says why if it is not OTLP. A single item that is too large alone is a parcel all the same: who sends it
/// is told.
pub(super) fn cut(cutting: Cutting, request: Bytes) -> Result<Vec<Parcel>, String> {
    let not_otlp = |error: WireError| format!("not OTLP: {error}");
    let mut parcels = Vec::new();
    if cutting.by_id {
        for part in split_by_trace(&request).map_err(not_otlp)? {
            let whole =
                Part { key: Some(part.trace.to_string()), request: part.request.into(), items: part.spans };
            cutting.fit(whole, &mut parcels)?;
        }
    } else {
        let mut items = 0;
        let mut count = |_: usize, _: &[u8]| {
            items += 1;
            Ok(Choice::Drop)
        };
        select_items(&request, &mut count, &mut Vec::new()).map_err(not_otlp)?;
        cutting.fit(Part { key: None, request, items }, &mut parcels)?;
    }
    Ok(parcels)
}

/// A parcel in two; `None` if it cannot be cut.
pub(super) fn halves(cutting: Cutting, parcel: &Parcel) -> Option<Vec<Parcel>> {
    let items = usize::try_from(parcel.items).ok().filter(|items| *items > 1)?;
    let part = Part { key: parcel.key.clone(), request: parcel.request.clone(), items };
    let mut parcels = Vec::new();
    for half in part.halves().ok()? {
        cutting.fit(half, &mut parcels).ok()?;
    }
    Some(parcels)
}

/// Part of a request that is not a record yet.
struct Part {
    key: Option<String>,
    request: Bytes,
    items: usize,
}

impl Part {
    fn halves(&self) -> Result<[Self; 2], WireError> {
        let middle = self.items / 2;
        let half = |takes: &dyn Fn(usize) -> bool| {
            let mut request = Vec::new();
            let mut choose =
                |number: usize, _: &[u8]| Ok(if takes(number) { Choice::Keep } else { Choice::Drop });
            let items = select_items(&self.request, &mut choose, &mut request)?;
            Ok(Self { key: self.key.clone(), request: request.into(), items })
        };
        Ok([half(&|number| number < middle)?, half(&|number| number >= middle)?])
    }
}

impl Cutting {
    /// Adds the part as one record, or as many as are needed.
    fn fit(self, part: Part, parcels: &mut Vec<Parcel>) -> Result<(), String> {
        let mut waiting = vec![part];
        while let Some(part) = waiting.pop() {
            if part.items == 0 {
                continue;
            }
            let payload = self.encoded(&part.request)?;
            let key = part.key.as_ref().map_or(0, String::len);
            if payload.len() + key + OVERHEAD <= self.most || part.items == 1 {
                let Part { key, request, items } = part;
                parcels.push(Parcel { key, payload, request, items: items as u64 });
            } else {
                let [first, second] = part.halves().map_err(|error| format!("not OTLP: {error}"))?;
                waiting.push(second);
                waiting.push(first);
            }
        }
        Ok(())
    }

    fn encoded(self, request: &Bytes) -> Result<Bytes, String> {
        let json = match (self.encoding, self.signal) {
            (Encoding::Protobuf, _) => return Ok(request.clone()),
            (Encoding::Json, Signal::Logs) => json::logs([&**request]),
            (Encoding::Json, _) => json::traces([&**request]),
        };
        json.map(|json| Bytes::from(json.to_string())).map_err(|error| format!("not OTLP: {error}"))
    }
}
