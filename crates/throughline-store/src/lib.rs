//! Kept spans and logs, searchable, in blocks.
