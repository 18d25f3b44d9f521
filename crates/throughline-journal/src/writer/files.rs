//! Where the next segment's file comes from: a released one, a new one, or the reserve.

use std::{io, sync::Arc};

use super::{Obstacle, Writer};
use crate::{
    Full, Refused,
    catalog::Next,
    segment::{self, SegmentFile},
};

impl Writer {
    /// A file for the next segment, and whether it is of the reserve.
    pub(super) fn obtain(&mut self, may_use_reserve: bool) -> Result<(Arc<SegmentFile>, bool), Obstacle> {
        let obstacle = match self.catalog.next() {
            Next::Reuse(file) => {
                self.counters.recycled.add(1);
                return Ok((file, false));
            }
            Next::Create => match self.create() {
                Ok(file) => return Ok((file, false)),
                Err(obstacle) => obstacle,
            },
            Next::Pinned(consumer) => Obstacle::Refused(Refused::Full(Full::Cap(consumer))),
        };
        if !may_use_reserve {
            return Err(obstacle);
        }
        if let Some(file) = self.catalog.take_reserve() {
            return Ok((file, true));
        }
        // What lets segments go must not wait for the segments that it lets go: it may exceed the cap until they are. How
        // much there is of it is bounded by the requests in the journal.
        match obstacle {
            Obstacle::Refused(Refused::Full(Full::Cap(_))) => self.create().map(|file| (file, true)),
            obstacle => Err(obstacle),
        }
    }

    /// Makes the files of the reserve. Without room for them there is none: said by the first refusal, not here.
    pub(crate) fn reserve(&mut self) {
        for _ in 0..self.catalog.reserve_lacks() {
            match self.create() {
                Ok(file) => self.catalog.give_back(file),
                Err(_) => return,
            }
        }
    }

    /// A new file; if there is no room for one, a released segment that look-back would have kept.
    fn create(&mut self) -> Result<Arc<SegmentFile>, Obstacle> {
        let slot = self.numbering.next_slot;
        let created = SegmentFile::create(self.fs.as_ref(), &self.dir, slot, self.segment_bytes);
        let taken = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
        if created.as_ref().map_or_else(taken, |_| true) {
            self.numbering.next_slot = slot.saturating_add(1);
        }
        match created {
            Ok(file) => Ok(Arc::new(file)),
            Err(error) => self.catalog.take_released().ok_or_else(|| {
                let path = segment::path(&self.dir, slot);
                let why = format!("cannot create {}: {error}", path.display());
                Obstacle::Refused(Refused::Full(Full::Disk(why.into())))
            }),
        }
    }
}
