//! What is larger than a request may be, cut between its items: what was let in must also get out, and many backends take no
//! more than 4 MiB at a time.

use throughline_otlp::{OfPart, Parts, Unit, WireError, count_items};

/// Requests with the items of `request` in their order, each with at most so many and of about so many bytes at most: what is
/// around an item comes on top. One has an item at least, however large that is.
pub(super) fn cut(request: &[u8], most_items: u64, most_bytes: usize) -> Result<Vec<OfPart>, WireError> {
    let items = count_items(request)?;
    let (begins, mut part) = (request.as_ptr().addr(), Part::default());
    // Each but the last holds an item at least.
    let mut parts = Parts::new(items.max(1));
    parts.deal(request, Unit::Item, |item| {
        let from = item.as_ptr().addr() - begins;
        let is_larger = from + item.len() - part.from > most_bytes;
        if part.items > 0 && (part.items >= most_items || is_larger) {
            part = Part { number: part.number + 1, from, items: 0 };
        }
        part.items += 1;
        Ok(Some(part.number))
    })?;
    Ok(parts.into_requests())
}

/// The one being filled.
#[derive(Default)]
struct Part {
    number: usize,
    /// Where in the request it begins.
    from: usize,
    items: u64,
}

#[cfg(test)]
mod tests {
    use throughline_otlp::json::to_protobuf;
    use throughline_otlp::{Signal, decode_traces};

    use super::*;

    /// Spans whose names are of these lengths, two a resource, which has some attributes of its own.
    fn request(names: &[usize]) -> Vec<u8> {
        let span = |length: &usize| {
            let (id, name) = ("0af7651916cd43dd8448eb211c80319c", "x".repeat(*length));
            format!(r#"{{"traceId":"{id}","spanId":"00000000000000aa","name":"{name}"}}"#)
        };
        let resource = |names: &[usize]| {
            let spans = names.iter().map(span).collect::<Vec<_>>().join(",");
            let value = "v".repeat(100);
            let attributes = format!(r#"[{{"key":"k","value":{{"stringValue":"{value}"}}}}]"#);
            format!(r#"{{"resource":{{"attributes":{attributes}}},"scopeSpans":[{{"spans":[{spans}]}}]}}"#)
        };
        let resources = names.chunks(2).map(resource).collect::<Vec<_>>().join(",");
        to_protobuf(Signal::Traces, format!(r#"{{"resourceSpans":[{resources}]}}"#).as_bytes()).unwrap()
    }

    /// How many spans each part has; all of them are there, in order, with their resource.
    fn parts(names: &[usize], most_items: u64, most_bytes: usize) -> Vec<usize> {
        let parts = cut(&request(names), most_items, most_bytes).unwrap();
        let mut found = Vec::new();
        for part in &parts {
            let spans = decode_traces(&part.request).unwrap();
            assert_eq!(spans.len(), part.items);
            assert!(spans.iter().all(|span| span.resource.attributes.len() == 1));
            // Around the first item stands what is around it in the whole, and no more.
            assert!(spans.len() == 1 || part.request.len() <= most_bytes.saturating_add(200));
            found.extend(spans.iter().map(|span| span.name.len()));
        }
        assert_eq!(found, names);
        parts.iter().map(|part| part.items).collect()
    }

    #[test]
    fn parts_have_at_most_so_much_and_are_the_whole_together() {
        let few = [10, 20, 30, 40, 50];
        assert_eq!(parts(&few, u64::MAX, usize::MAX), [5]);
        assert_eq!(parts(&few, 2, usize::MAX), [2, 2, 1]);
        assert_eq!(parts(&few, u64::MAX, 1), [1; 5]);
        assert_eq!(parts(&[10, 5000, 10, 10], u64::MAX, 1000), [1, 1, 2]);
        assert_eq!(parts(&[1; 40], u64::MAX, 2000).iter().sum::<usize>(), 40);
        assert_eq!(parts(&[], 1, 1), [0; 0]);
        // What is around items counts too.
        assert!(parts(&[1; 40], u64::MAX, 1000).len() > 2);
    }
}
