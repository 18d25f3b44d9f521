//! Accepted requests on disk: segments, group commit, recovery, retention.
