//! Which of several headers of one name counts: the one rule for whoever reads ours, be it to handle a message or to write
//! the next. A header spelled exactly as we write it counts before one in another case; among equals the last value wins,
//! because clients that append put the newest last. Knows no header's meaning.

/// How a header's name was spelled. `Exact` beats `OtherCase`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Spelling {
    OtherCase,
    Exact,
}

impl Spelling {
    /// `None` if it is another name.
    pub(crate) fn of(name: &[u8], own: &'static str) -> Option<Self> {
        if name == own.as_bytes() {
            Some(Self::Exact)
        } else if name.eq_ignore_ascii_case(own.as_bytes()) {
            Some(Self::OtherCase)
        } else {
            None
        }
    }
}

/// The best value so far of one header.
pub(crate) struct Best<T>(Option<(Spelling, T)>);

impl<T> Default for Best<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Best<T> {
    /// Takes `value` if it is at least as well spelled; gives back the one that lost.
    pub(crate) fn offer(&mut self, spelling: Spelling, value: T) -> Option<T> {
        match &self.0 {
            Some((held, _)) if *held > spelling => Some(value),
            _ => self.0.replace((spelling, value)).map(|(_, value)| value),
        }
    }

    pub(crate) fn held(&self) -> Option<(Spelling, &T)> {
        self.0.as_ref().map(|(spelling, value)| (*spelling, value))
    }

    pub(crate) fn take(self) -> Option<T> {
        self.0.map(|(_, value)| value)
    }
}
