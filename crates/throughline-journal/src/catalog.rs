//! Which segments there are, what of them may be read, and which may be used again: the state that the writer, readers
//! and consumers share. It does no I/O and holds its lock for moments only.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    Options, Position,
    consumers::Consumers,
    format::{Extent, Identity, PAGE},
    index::Entries,
    record::Keys,
    segment::{Sealed, SegmentFile},
};

/// The shared state.
pub(crate) struct Catalog {
    state: Mutex<State>,
    segment_bytes: u32,
    cap_bytes: u64,
    look_back_bytes: u64,
    reserve: usize,
}

struct State {
    sealed: BTreeMap<u32, Arc<Sealed>>,
    open: Option<Open>,
    spare: Vec<Arc<SegmentFile>>,
    /// What the index of the segment before was gathered in: its memory serves the next.
    gathered: Option<Entries>,
    consumers: Consumers,
    /// What need not stay for look-back's sake.
    expired: Option<Position>,
}

/// The segment being written, as far as it may be read.
struct Open {
    file: Arc<SegmentFile>,
    identity: Identity,
    extent: Extent,
    entries: Arc<Mutex<Entries>>,
}

/// A segment as a reader sees it at one moment.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) identity: Identity,
    /// Records end here.
    pub(crate) data_end: u32,
}

/// Where the next segment comes from.
pub(crate) enum Next {
    /// A file that nobody needs.
    Reuse(Arc<SegmentFile>),
    /// A new file: the cap allows one.
    Create,
    /// The cap is reached, and this consumer needs the oldest segment.
    Pinned(Arc<str>),
}

/// Where lookups go.
pub(crate) struct Lookups {
    /// Oldest first.
    pub(crate) sealed: Vec<Arc<Sealed>>,
    /// The open segment's sequence and what its index will be.
    pub(crate) open: Option<(u32, Arc<Mutex<Entries>>)>,
}

/// Figures of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) segments: usize,
    pub(crate) bytes: u64,
    pub(crate) pinned_bytes: u64,
    pub(crate) first: Option<Position>,
    pub(crate) last: Option<Position>,
    pub(crate) at_cap: bool,
}

impl Catalog {
    pub(crate) fn new(
        sealed: BTreeMap<u32, Arc<Sealed>>,
        spare: Vec<Arc<SegmentFile>>,
        options: &Options,
    ) -> Self {
        let consumers = Consumers::expecting(&options.consumers);
        Self {
            state: Mutex::new(State { sealed, open: None, spare, gathered: None, consumers, expired: None }),
            segment_bytes: options.segment_bytes,
            cap_bytes: options.cap_bytes,
            look_back_bytes: options.look_back_bytes,
            reserve: options.reserve_segments as usize,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under this lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses the file of the next segment. A released segment is used again as late as look-back asks and as early as
    /// it allows: files already touched are several times faster to write.
    pub(crate) fn next(&self) -> Next {
        let mut state = self.lock();
        while state.spare.len() < self.reserve
            && let Some(file) = state.take_released(self.segment_bytes)
        {
            state.spare.push(file);
        }
        if state.spare.len() > self.reserve
            && let Some(spare) = state.spare.pop()
        {
            return Next::Reuse(spare);
        }
        let lacking = self.reserve.saturating_sub(state.spare.len()) as u64;
        let grown = state.bytes() + (lacking + 1) * u64::from(self.segment_bytes);
        if (grown > self.look_back_bytes.min(self.cap_bytes) || state.oldest_is_expired())
            && let Some(file) = state.take_released(self.segment_bytes)
        {
            return Next::Reuse(file);
        }
        if grown <= self.cap_bytes { Next::Create } else { Next::Pinned(state.consumers.slowest()) }
    }

    /// A file of the reserve.
    pub(crate) fn take_reserve(&self) -> Option<Arc<SegmentFile>> {
        self.lock().spare.pop()
    }

    /// How many files the reserve lacks.
    pub(crate) fn reserve_lacks(&self) -> usize {
        self.reserve.saturating_sub(self.lock().spare.len())
    }

    /// A released segment in spite of look-back: the disk has no room for another file.
    pub(crate) fn take_released(&self) -> Option<Arc<SegmentFile>> {
        self.lock().take_released(self.segment_bytes)
    }

    /// A file that was taken and not used.
    pub(crate) fn give_back(&self, file: Arc<SegmentFile>) {
        self.lock().spare.push(file);
    }

    /// The segment now being written.
    pub(crate) fn begin(&self, file: Arc<SegmentFile>, identity: Identity) {
        let extent = Extent { data_end: PAGE, last_record: 0, records: 0, synced_to: PAGE };
        let mut state = self.lock();
        let entries = Arc::new(Mutex::new(state.gathered.take().unwrap_or_default()));
        state.open = Some(Open { file, identity, extent, entries });
    }

    /// Makes records readable.
    pub(crate) fn publish<'a>(&self, extent: Extent, records: impl Iterator<Item = (u32, &'a Keys)>) {
        let mut state = self.lock();
        let Some(open) = &mut state.open else { return };
        let mut entries = open.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for (record, keys) in records {
            entries.push(record, keys);
        }
        open.extent = extent;
    }

    /// The open segment's future index.
    pub(crate) fn entries(&self) -> Arc<Mutex<Entries>> {
        self.lock().open.as_ref().map(|open| Arc::clone(&open.entries)).unwrap_or_default()
    }

    /// The open segment is sealed.
    pub(crate) fn seal(&self, sealed: Sealed) {
        let mut state = self.lock();
        // A lookup may still be in it.
        let entries = state.open.take().and_then(|open| Arc::into_inner(open.entries));
        state.gathered = entries.and_then(|entries| entries.into_inner().ok()).map(|mut entries| {
            entries.clear();
            entries
        });
        state.sealed.insert(sealed.sequence(), Arc::new(sealed));
    }

    /// Whether the next segment's pairs are gathered in the memory of this one's.
    #[cfg(test)]
    pub(crate) fn has_gathered(&self) -> bool {
        self.lock().gathered.is_some()
    }

    /// The segment with this sequence number.
    pub(crate) fn view(&self, sequence: u32) -> Option<View> {
        self.lock().view(sequence)
    }

    /// The first segment from this sequence number on.
    pub(crate) fn view_from(&self, sequence: u32) -> Option<View> {
        let state = self.lock();
        let sealed = state.sealed.range(sequence..).next().map(|(sequence, _)| *sequence);
        let open = state.open.as_ref().map(|open| open.identity.sequence).filter(|open| *open >= sequence);
        state.view(sealed.or(open)?)
    }

    /// False once the segment was recycled: what was read of it before this was asked is sound.
    pub(crate) fn holds(&self, identity: Identity) -> bool {
        self.lock().view(identity.sequence).is_some_and(|view| view.identity == identity)
    }

    /// Everything a lookup has to ask.
    pub(crate) fn lookups(&self) -> Lookups {
        let state = self.lock();
        let open = state.open.as_ref().map(|open| (open.identity.sequence, Arc::clone(&open.entries)));
        Lookups { sealed: state.sealed.values().cloned().collect(), open }
    }

    /// Registers a consumer or moves it forward. Returns released files to be removed: those of a size that is no longer used,
    /// and the oldest of those beyond the cap, which restarts of a full journal may bring about.
    pub(crate) fn release(&self, name: &Arc<str>, up_to: Option<Position>) -> Vec<Arc<SegmentFile>> {
        let mut state = self.lock();
        state.consumers.release(name, up_to);
        let Some(floor) = state.consumers.floor() else { return Vec::new() };
        let odd = |sealed: &Sealed| sealed.file.bytes != self.segment_bytes && sealed.last() <= floor;
        let removed = state.sealed.extract_if(.., |_, sealed| odd(sealed));
        let mut removed: Vec<_> = removed.map(|(_, sealed)| Arc::clone(&sealed.file)).collect();
        while state.bytes() > self.cap_bytes
            && let Some(file) = state.take_released(self.segment_bytes)
        {
            removed.push(file);
        }
        removed
    }

    /// Nothing up to here has to stay for look-back's sake.
    pub(crate) fn expire(&self, up_to: Position) {
        let mut state = self.lock();
        state.expired = state.expired.max(Some(up_to));
    }

    pub(crate) fn forget(&self, name: &Arc<str>) {
        self.lock().consumers.forget(name);
    }

    pub(crate) fn usage(&self) -> Usage {
        let state = self.lock();
        let floor = state.consumers.floor();
        let pinned = state.sealed.values().filter(|sealed| floor.is_none_or(|floor| sealed.last() > floor));
        let open = state.open.as_ref();
        let open_bytes = open.map_or(0, |open| u64::from(open.file.bytes));
        let written = open.filter(|open| open.extent.records > 0);
        let first = state.sealed.keys().next().copied().or(written.map(|open| open.identity.sequence));
        let last = written.map(|open| Position::new(open.identity.sequence, open.extent.last_record));
        Usage {
            segments: state.sealed.len() + usize::from(open.is_some()),
            bytes: state.bytes(),
            pinned_bytes: pinned.map(|sealed| u64::from(sealed.file.bytes)).sum::<u64>() + open_bytes,
            first: first.map(|sequence| Position::new(sequence, PAGE)),
            last: last.or(state.sealed.values().next_back().map(|sealed| sealed.last())),
            at_cap: state.bytes() + u64::from(self.segment_bytes) > self.cap_bytes,
        }
    }
}

impl State {
    /// All files together.
    fn bytes(&self) -> u64 {
        let sealed = self.sealed.values().map(|sealed| &sealed.file);
        let files = sealed.chain(self.open.as_ref().map(|open| &open.file)).chain(&self.spare);
        files.map(|file| u64::from(file.bytes)).sum()
    }

    fn oldest_is_expired(&self) -> bool {
        self.sealed.values().next().is_some_and(|oldest| Some(oldest.last()) <= self.expired)
    }

    /// The oldest segment, if nobody needs it.
    fn take_released(&mut self, segment_bytes: u32) -> Option<Arc<SegmentFile>> {
        let floor = self.consumers.floor()?;
        let fits = |sealed: &Sealed| sealed.file.bytes == segment_bytes && sealed.last() <= floor;
        let sequence = self.sealed.iter().find(|(_, sealed)| fits(sealed)).map(|(sequence, _)| *sequence)?;
        self.sealed.remove(&sequence).map(|sealed| Arc::clone(&sealed.file))
    }

    fn view(&self, sequence: u32) -> Option<View> {
        if let Some(sealed) = self.sealed.get(&sequence) {
            let data_end = sealed.footer.data_end;
            return Some(View { file: Arc::clone(&sealed.file), identity: sealed.footer.identity, data_end });
        }
        let open = self.open.as_ref().filter(|open| open.identity.sequence == sequence)?;
        Some(View { file: Arc::clone(&open.file), identity: open.identity, data_end: open.extent.data_end })
    }
}
