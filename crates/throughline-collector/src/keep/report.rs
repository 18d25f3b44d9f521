//! What the keeping side says about itself: readiness, and its part of the metrics page.

use throughline_journal::Recovery;
use throughline_store::StoreStats;

use super::Keep;
use crate::exposition::{Exposition, Kind, Labels};

/// Tells the log what opening journal and store found damaged.
pub(super) fn say(recovery: &Recovery, store: &StoreStats) {
    for quarantined in &recovery.quarantined {
        tracing::error!("a damaged part of the journal was set aside: {quarantined}");
    }
    for torn in &recovery.torn {
        tracing::info!("a write that a crash cut off was dropped: {torn}");
    }
    for aside in &store.set_aside {
        tracing::error!(
            "a damaged part of the store was set aside, for you to look at until retention removes it: {aside}"
        );
    }
}

impl Keep {
    /// Whether everything acknowledged can be found, else why not.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        let health = self.health.borrow();
        if health.stopping {
            return Err("shutting down".to_owned());
        }
        if health.broken {
            return Err("a thread panicked, see the log: restart".to_owned());
        }
        if let Some(why) = &health.failing {
            return Err(format!("the store refuses: {why}"));
        }
        if health.recovering {
            return Err("indexing what the journal holds".to_owned());
        }
        match self.journal.stats().poisoned {
            Some(why) => Err(format!("the journal is stopped: {why}")),
            None => Ok(()),
        }
    }

    pub(crate) fn write(&self, page: &mut Exposition) {
        let ready = u8::from(self.readiness().is_ok());
        page.single("throughline_ready", Kind::Gauge, "1 if everything acknowledged can be found.", ready);
        self.write_flow(page);
        self.write_trouble(page);
        self.write_journal(page);
        self.write_store(page);
    }

    fn write_flow(&self, page: &mut Exposition) {
        let lag = self.state().pipeline.lag();
        let help = "Requests acknowledged and not yet in the store.";
        page.single("throughline_ingest_waiting_requests", Kind::Gauge, help, lag.waiting);
        let help = "Bytes of them held in memory.";
        page.single("throughline_ingest_queued_bytes", Kind::Gauge, help, lag.queued_bytes);
        let help = "Requests that did not fit into memory and are read back from the journal.";
        page.single("throughline_ingest_overflowed_requests_total", Kind::Counter, help, lag.overflowed);
    }

    fn write_trouble(&self, page: &mut Exposition) {
        let counts = self.state().counts;
        for (name, help, value) in [
            (
                "throughline_quarantined_records_total",
                "Damaged stretches of the journal, and records the store cannot take.",
                counts.quarantined,
            ),
            (
                "throughline_store_failures_total",
                "Times the store refused and was asked again.",
                counts.store_failures,
            ),
            (
                "throughline_retention_failures_total",
                "Times a block could not be dropped.",
                counts.retention_failures,
            ),
            (
                "throughline_blocks_dropped_for_room_total",
                "Blocks dropped because the disk was full.",
                counts.blocks_dropped_for_room,
            ),
        ] {
            page.single(name, Kind::Counter, help, value);
        }
    }

    fn write_journal(&self, page: &mut Exposition) {
        let stats = self.journal.stats();
        for (name, help, value) in [
            ("throughline_journal_segments", "Segments on disk.", stats.segments as u64),
            ("throughline_journal_disk_bytes", "Disk taken by segments.", stats.file_bytes),
            ("throughline_journal_pinned_bytes", "Of this, what the store still needs.", stats.pinned_bytes),
            ("throughline_journal_waiting_bytes", "Bytes waiting to be written.", stats.waiting_bytes),
        ] {
            page.single(name, Kind::Gauge, help, value);
        }
        for (name, help, value) in [
            ("throughline_journal_records_total", "Records acknowledged since start.", stats.records),
            ("throughline_journal_syncs_total", "Times records were synced to disk.", stats.syncs),
        ] {
            page.single(name, Kind::Counter, help, value);
        }
    }

    fn write_store(&self, page: &mut Exposition) {
        let stats = self.store.stats();
        for (name, help, value) in [
            ("throughline_store_blocks", "Blocks on disk.", stats.blocks as u64),
            ("throughline_store_disk_bytes", "Disk taken by blocks.", stats.disk_bytes),
            (
                "throughline_store_memory_bytes",
                "Bytes of OTLP not yet in a block.",
                stats.memory_bytes as u64,
            ),
            (
                "throughline_store_set_aside_blocks",
                "Blocks found damaged and put out of the way.",
                stats.set_aside.len() as u64,
            ),
            (
                "throughline_store_set_aside_bytes",
                "Disk they take until retention removes them: at the retention age, or first for want of room.",
                stats.set_aside_bytes,
            ),
        ] {
            page.single(name, Kind::Gauge, help, value);
        }
        let help = "Spans and log records on disk, duplicates counted.";
        let Some(family) = page.family("throughline_store_documents", Kind::Gauge, help) else { return };
        for (kind, value) in [("span", stats.spans), ("log_record", stats.logs)] {
            let mut labels = Labels::default();
            labels.add("kind", kind);
            family.sample("", &labels.finish(), value);
        }
    }
}
