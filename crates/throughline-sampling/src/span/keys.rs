//! Which attribute keys are asked for, so that a list of attributes is walked once and only these are looked into.

use throughline_otlp::WireError;
use throughline_otlp::wire::Fields;

use super::value::short_pair;

/// Where an asked-for attribute is put, if it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(usize);

/// The raw `KeyValue` found for each slot.
pub(crate) type Found<'a> = Vec<Option<&'a [u8]>>;

/// The keys asked for in one place: span, resource, scope or event.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    keys: Vec<Box<[u8]>>,
    /// Bit n: some key is n bytes long (63: that or longer). Most attributes are told apart by it alone.
    lengths: u64,
}

/// Where an attribute is found if a span or its resource has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Twofold {
    span: Slot,
    resource: Slot,
}

/// The keys asked for, by place.
#[derive(Debug, Default)]
pub(crate) struct AskedKeys {
    pub(crate) span: Keys,
    pub(crate) resource: Keys,
    pub(crate) scope: Keys,
    pub(crate) event: Keys,
}

impl Slot {
    /// What was found for it.
    #[inline]
    pub(crate) fn of<'a>(self, found: &[Option<&'a [u8]>]) -> Option<&'a [u8]> {
        found.get(self.0).copied().flatten()
    }
}

impl AskedKeys {
    /// Asks for an attribute of a span or its resource.
    pub(crate) fn attribute(&mut self, key: &str) -> Twofold {
        Twofold { span: self.span.ask(key), resource: self.resource.ask(key) }
    }
}

impl Twofold {
    /// What was found of a span.
    #[inline]
    pub(crate) fn on_span<'a>(self, found: &[Option<&'a [u8]>]) -> Option<&'a [u8]> {
        self.span.of(found)
    }

    /// What was found of a resource.
    #[inline]
    pub(crate) fn on_resource<'a>(self, found: &[Option<&'a [u8]>]) -> Option<&'a [u8]> {
        self.resource.of(found)
    }
}

impl Keys {
    /// Asks for `key`; equal keys share a slot.
    pub(crate) fn ask(&mut self, key: &str) -> Slot {
        let known = self.keys.iter().position(|known| **known == *key.as_bytes());
        Slot(known.unwrap_or_else(|| {
            self.lengths |= length_bit(key.len());
            self.keys.push(key.as_bytes().into());
            self.keys.len() - 1
        }))
    }

    /// Whether nothing is asked for: the attributes need not be walked.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Empties `found` for the next list of attributes.
    #[inline]
    pub(crate) fn reset(&self, found: &mut Found<'_>) {
        found.clear();
        found.resize(self.keys.len(), None);
    }

    /// Keeps `pair` if its key is asked for; of two attributes with one key the first counts.
    #[inline]
    pub(crate) fn take<'a>(&self, pair: &'a [u8], found: &mut [Option<&'a [u8]>]) -> Result<(), WireError> {
        let key = key_of(pair)?;
        if self.lengths & length_bit(key.len()) == 0 {
            return Ok(());
        }
        if let Some(at) = self.keys.iter().position(|asked| **asked == *key)
            && let Some(slot @ None) = found.get_mut(at)
        {
            *slot = Some(pair);
        }
        Ok(())
    }
}

#[inline]
fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

#[inline]
fn key_of(pair: &[u8]) -> Result<&[u8], WireError> {
    if let Some((key, _)) = short_pair(pair) {
        return Ok(key);
    }
    let mut key: &[u8] = &[];
    for field in Fields::new(pair) {
        let field = field?;
        if field.number == 1 {
            key = field.bytes()?;
        }
    }
    Ok(key)
}
