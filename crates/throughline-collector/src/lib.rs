//! The backend's running part: receive, journal, keep.
