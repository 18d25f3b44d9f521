//! An `http::HeaderMap` as a carrier. Header names are lower case there, values are bytes.

use crate::{HeaderSink, HeaderSource};
use ::http::{HeaderMap, HeaderName, HeaderValue};

impl HeaderSource for HeaderMap {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        for (name, value) in self {
            each(name.as_str().as_bytes(), Some(value.as_bytes()));
        }
    }
}

impl HeaderSink for HeaderMap {
    fn replace(mut self, owned: &[&'static str], entries: &[(&'static str, &[u8])]) -> Self {
        for name in owned {
            self.remove(*name);
        }
        for (name, value) in entries {
            // A value HTTP cannot carry (a control byte from a message's baggage) is left out rather than failing the call.
            if let Ok(value) = HeaderValue::from_bytes(value) {
                self.append(HeaderName::from_static(name), value);
            }
        }
        self
    }
}
