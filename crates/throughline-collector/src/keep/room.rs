//! Making room: retention by age and size, and what happens when the disk is full or the store fails.

use rustix::fs::statvfs;
use throughline_store::StoreError;

use super::{Keep, chain};
use crate::intake::wall_clock;

/// A store that fails with less free than this fails for lack of room: a block's merge may need as much.
const ROOM: u64 = 256 * 1024 * 1024;

impl Keep {
    /// Drops what is too old, and the oldest of what is too much.
    pub(super) fn retire(&self) {
        match self.store.enforce_retention(wall_clock()) {
            Ok(retired) if retired.blocks > 0 => tracing::info!("retention dropped {retired}"),
            Ok(_) => {}
            Err(error) => self.retention_failed(&error),
        }
    }

    /// Whoever meets a full disk says so here; the commit thread makes room.
    pub(crate) fn disk_full(&self) {
        self.state().disk_full = true;
        self.commit_due.notify_one();
    }

    /// The disk is full: the oldest block goes before its time, so that new requests can come in. Dropping is an
    /// unlink, which needs no room itself.
    pub(super) fn make_room(&self) {
        match self.store.drop_oldest() {
            Ok(retired) if retired.blocks > 0 => {
                self.state().counts.blocks_dropped_for_room += retired.blocks as u64;
                tracing::warn!("the disk is full: dropped the oldest block early, {retired}");
            }
            Ok(_) => tracing::warn!("the disk is full, and there is no closed block to drop"),
            Err(error) => self.retention_failed(&error),
        }
    }

    fn retention_failed(&self, error: &StoreError) {
        self.state().counts.retention_failures += 1;
        tracing::warn!(error = chain(error), "a block could not be dropped; it is tried again");
    }

    pub(super) fn store_failed(&self, error: &StoreError) {
        self.state().counts.store_failures += 1;
        let why = chain(error);
        tracing::error!(error = why, "the store refuses; requests stay in the journal and it is asked again");
        self.health.send_modify(|health| health.failing = Some(why));
        // The error's own kind gets lost on its way out of the index's threads; the disk can be asked.
        if statvfs(&self.folder).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM) {
            self.disk_full();
        }
    }
}
