//! The carrier traits on the standard library's shapes: slices and vectors of pairs, maps, options, references.

use super::{HeaderSink, HeaderSource, is_owned};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// A value that a plain collection of headers may hold.
pub trait HeaderValue {
    /// The bytes, or `None` for a null.
    fn bytes(&self) -> Option<&[u8]>;
}

macro_rules! header_value {
    ($($type:ty),+) => { $(
        impl HeaderValue for $type {
            fn bytes(&self) -> Option<&[u8]> {
                Some(AsRef::<[u8]>::as_ref(self))
            }
        }
    )+ };
}
header_value!(str, String, [u8], Vec<u8>, Box<[u8]>, Arc<[u8]>, Cow<'_, [u8]>);

impl<const N: usize> HeaderValue for [u8; N] {
    fn bytes(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl HeaderValue for Arc<str> {
    fn bytes(&self) -> Option<&[u8]> {
        Some(self.as_bytes())
    }
}

impl HeaderValue for Cow<'_, str> {
    fn bytes(&self) -> Option<&[u8]> {
        Some(self.as_bytes())
    }
}

impl<V: HeaderValue> HeaderValue for Option<V> {
    fn bytes(&self) -> Option<&[u8]> {
        self.as_ref().and_then(HeaderValue::bytes)
    }
}

impl<V: HeaderValue + ?Sized> HeaderValue for &V {
    fn bytes(&self) -> Option<&[u8]> {
        (**self).bytes()
    }
}

/// A name or value that can be made from what we write. All of it is ASCII.
trait Written: Sized {
    fn written(bytes: &[u8]) -> Self;
}

impl Written for Vec<u8> {
    fn written(bytes: &[u8]) -> Self {
        bytes.to_vec()
    }
}

impl Written for String {
    fn written(bytes: &[u8]) -> Self {
        String::from_utf8_lossy(bytes).into_owned()
    }
}

impl<W: Written> Written for Option<W> {
    fn written(bytes: &[u8]) -> Self {
        Some(W::written(bytes))
    }
}

impl<K: AsRef<[u8]>, V: HeaderValue> HeaderSource for [(K, V)] {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        for (name, value) in self {
            each(name.as_ref(), value.bytes());
        }
    }
}

impl<K: AsRef<[u8]>, V: HeaderValue, const N: usize> HeaderSource for [(K, V); N] {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        self.as_slice().visit(each);
    }
}

impl<K: AsRef<[u8]>, V: HeaderValue> HeaderSource for Vec<(K, V)> {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        self.as_slice().visit(each);
    }
}

impl<K: AsRef<[u8]>, V: HeaderValue, S: BuildHasher> HeaderSource for HashMap<K, V, S> {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        for (name, value) in self {
            each(name.as_ref(), value.bytes());
        }
    }
}

impl<K: AsRef<[u8]>, V: HeaderValue> HeaderSource for BTreeMap<K, V> {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        for (name, value) in self {
            each(name.as_ref(), value.bytes());
        }
    }
}

impl<H: HeaderSource> HeaderSource for Option<H> {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        if let Some(headers) = self {
            headers.visit(each);
        }
    }
}

impl<H: HeaderSource + ?Sized> HeaderSource for &H {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        (**self).visit(each);
    }
}

impl<H: HeaderSource + ?Sized> HeaderSource for &mut H {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        (**self).visit(each);
    }
}

/// No headers at all.
impl HeaderSource for () {
    fn visit(&self, _each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {}
}

impl<K: AsRef<[u8]> + Written, V: HeaderValue + Written> HeaderSink for Vec<(K, V)> {
    fn replace(mut self, owned: &[&'static str], entries: &[(&'static str, &[u8])]) -> Self {
        self.retain(|(name, _)| !is_owned(name.as_ref(), owned));
        self.extend(entries.iter().map(|(name, value)| (K::written(name.as_bytes()), V::written(value))));
        self
    }
}

impl<K, V, S> HeaderSink for HashMap<K, V, S>
where
    K: AsRef<[u8]> + Written + Eq + Hash,
    V: HeaderValue + Written,
    S: BuildHasher,
{
    fn replace(mut self, owned: &[&'static str], entries: &[(&'static str, &[u8])]) -> Self {
        self.retain(|name, _| !is_owned(name.as_ref(), owned));
        self.extend(entries.iter().map(|(name, value)| (K::written(name.as_bytes()), V::written(value))));
        self
    }
}

impl<K: AsRef<[u8]> + Written + Ord, V: HeaderValue + Written> HeaderSink for BTreeMap<K, V> {
    fn replace(mut self, owned: &[&'static str], entries: &[(&'static str, &[u8])]) -> Self {
        self.retain(|name, _| !is_owned(name.as_ref(), owned));
        self.extend(entries.iter().map(|(name, value)| (K::written(name.as_bytes()), V::written(value))));
        self
    }
}

impl<H: HeaderSink + Default> HeaderSink for Option<H> {
    fn replace(self, owned: &[&'static str], entries: &[(&'static str, &[u8])]) -> Self {
        Some(self.unwrap_or_default().replace(owned, entries))
    }
}

impl<H: HeaderSink + Default> HeaderSink for &mut H {
    fn replace(self, owned: &[&'static str], entries: &[(&'static str, &[u8])]) -> Self {
        *self = std::mem::take(self).replace(owned, entries);
        self
    }
}
