//! One segment file: its handle, and what is known of it once it is sealed. It refuses to decide when it may be used again.

use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    Position,
    error::JournalError,
    filter::Filter,
    format::{Extent, FOOTER_BYTES, Footer, HEAD_BYTES, HEADER_PLACES, Head, Identity, PAGE, SegmentHeader},
    fs::{File, Fs, read_salvaging, write_all},
    index::{Encoded, Entries, SealedIndex, Unusable},
    options::SEGMENT_BYTES,
};

/// A file that holds one segment after the other.
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) file: Box<dyn File>,
    /// Its length, which never changes.
    pub(crate) bytes: u32,
}

/// A segment that takes no more records.
pub(crate) struct Sealed {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) footer: Footer,
    pub(crate) filter: Filter,
}

const PREFIX: &str = "segment-";
const SUFFIX: &str = ".tlj";

/// The file of a slot: numbered by file, not by segment, as one file holds many segments in its life.
pub(crate) fn path(dir: &Path, slot: u32) -> PathBuf {
    dir.join(format!("{PREFIX}{slot:08}{SUFFIX}"))
}

/// The slot in a file's name.
pub(crate) fn slot(path: &Path) -> Option<u32> {
    let digits = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Records end at or before this offset: behind it is the footer's page.
pub(crate) const fn data_limit(segment_bytes: u32) -> u32 {
    segment_bytes.saturating_sub(PAGE)
}

/// Bytes a record's payload and keys may take with so many pairs, alone in a segment.
pub(crate) fn fits(segment_bytes: u32, data_end: u64, pairs: u64, value_bytes: u64) -> bool {
    data_end + Entries::bytes_for(pairs, value_bytes) <= u64::from(data_limit(segment_bytes))
}

impl SegmentFile {
    /// A new file of `bytes` bytes, all its space reserved. The folder is synced, so the file will be found again.
    pub(crate) fn create(fs: &dyn Fs, dir: &Path, slot: u32, bytes: u32) -> Result<Self, io::Error> {
        let path = path(dir, slot);
        let file = fs.create(&path)?;
        let prepared = file.allocate(u64::from(bytes)).and_then(|()| fs.sync_dir(dir));
        if let Err(error) = prepared {
            // Nothing was ever in it. If the removal fails too, the next open finds a file without records and removes it.
            let _ = fs.remove(&path);
            return Err(error);
        }
        Ok(Self { path, file, bytes })
    }

    /// Makes this file the segment `identity`. Once the caller has synced it, no power loss brings back what was in it.
    pub(crate) fn begin(&self, identity: Identity) -> io::Result<()> {
        let header = SegmentHeader { identity, segment_bytes: self.bytes }.encode();
        let [first, second] = self.headers().map(|head| match head {
            Head::Valid(header) => Some(header.identity),
            Head::Invalid | Head::Newer(_) => None,
        });
        let [at_first, at_second] = HEADER_PLACES;
        let unused: &[u32] = match (first, second) {
            (None, None) => &[at_first, at_second],
            _ if first < second => &[at_first],
            _ => &[at_second],
        };
        unused.iter().try_for_each(|place| {
            write_all(self.file.as_ref(), &mut [IoSlice::new(&header)], u64::from(*place))
        })
    }

    /// What the two places of the header say.
    pub(crate) fn headers(&self) -> [Head<SegmentHeader>; 2] {
        HEADER_PLACES.map(|place| match SegmentHeader::decode(&self.read(place, HEAD_BYTES)) {
            // No writer states it, so it is damage: else `begin` would keep it for ever, as the place in use.
            Head::Valid(header) if !SEGMENT_BYTES.contains(&header.segment_bytes) => Head::Invalid,
            head => head,
        })
    }

    /// Writes index and footer, which the caller then syncs. It has synced the records before: an intact footer is their proof.
    pub(crate) fn seal(
        self: &Arc<Self>,
        identity: Identity,
        extent: Extent,
        index: Encoded,
    ) -> io::Result<Sealed> {
        let Extent { data_end, last_record, records, synced_to } = extent;
        let footer = Footer { identity, data_end, last_record, records, synced_to, index: index.place };
        write_all(self.file.as_ref(), &mut [IoSlice::new(&index.bytes)], u64::from(index.place.start))?;
        write_all(
            self.file.as_ref(),
            &mut [IoSlice::new(&footer.encode())],
            u64::from(data_limit(self.bytes)),
        )?;
        Ok(Sealed { file: Arc::clone(self), footer, filter: index.filter })
    }

    /// The footer, if there is one for this use of the file and what it says is possible.
    pub(crate) fn footer(&self, identity: Identity) -> Option<Footer> {
        let bytes = self.read(data_limit(self.bytes), FOOTER_BYTES);
        let limit = data_limit(self.bytes);
        Footer::decode(&bytes, identity).filter(|footer| {
            (PAGE..=limit).contains(&footer.data_end)
                && (PAGE..footer.data_end.max(PAGE + 1)).contains(&footer.last_record)
        })
    }

    /// Reads, with zeros for what cannot be read. No more than there is, whatever a header says of the file's length.
    pub(crate) fn read(&self, at: u32, length: usize) -> Vec<u8> {
        let there =
            self.file.length().ok().and_then(|all| usize::try_from(all.saturating_sub(u64::from(at))).ok());
        read_salvaging(self.file.as_ref(), u64::from(at), length.min(there.unwrap_or(length)))
    }

    pub(crate) fn error(&self, action: &'static str) -> impl FnOnce(io::Error) -> JournalError {
        let path = self.path.clone();
        move |source| JournalError::Io { action, path, source }
    }
}

impl Sealed {
    /// A segment whose footer is intact: reads its filter back, and with `check` the rest of the index.
    pub(crate) fn load(
        file: &Arc<SegmentFile>,
        footer: Footer,
        check: crate::Verify,
    ) -> Result<Self, Unusable> {
        let index = SealedIndex {
            file: file.file.as_ref(),
            identity: footer.identity,
            records: footer.records,
            place: footer.index,
        };
        let filter = index.filter()?;
        if check == crate::Verify::Everything {
            index.verify()?;
        }
        Ok(Self { file: Arc::clone(file), footer, filter })
    }

    pub(crate) fn index(&self) -> SealedIndex<'_> {
        SealedIndex {
            file: self.file.file.as_ref(),
            identity: self.footer.identity,
            records: self.footer.records,
            place: self.footer.index,
        }
    }

    pub(crate) fn sequence(&self) -> u32 {
        self.footer.identity.sequence
    }

    pub(crate) fn last(&self) -> Position {
        Position::new(self.sequence(), self.footer.last_record)
    }

    pub(crate) fn position(&self, offset: u32) -> Position {
        Position::new(self.sequence(), offset)
    }
}
