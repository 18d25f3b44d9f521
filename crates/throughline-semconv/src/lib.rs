//! Names of attributes, spans, metrics and headers: the generation throughline writes (semantic conventions v1.44),
//! the older generations it still reads, and its own. No dependencies, no logic beyond looking a name up.
//!
//! - [`attribute`]: what is written today, by registry name.
//! - [`own`]: names of throughline where the registry has none, and the two names of the source (`linked_trace_id_*`).
//! - [`legacy`]: what the profile `legacy` writes and what older instrumentation wrote.
//! - [`metric`]: the messaging and HTTP metrics of v1.44.
//! - [`header`]: the headers a message carries.
//! - [`current_name`]: an older attribute name to today's.

pub mod attribute;
pub mod header;
pub mod legacy;
pub mod metric;
pub mod own;

/// The schema the attributes in [`attribute`] belong to.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// Today's name of an attribute that an older generation of instrumentation wrote, or `None` if `key` is not an
/// older name (it may be current, or none of ours).
///
/// Viewers meet three generations at once; the store indexes and the page shows the current name beside the old one.
#[must_use]
pub fn current_name(key: &str) -> Option<&'static str> {
    legacy::RENAMED.iter().find(|(old, _)| *old == key).map(|(_, new)| *new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_name_leads_to_a_current_one_and_never_to_another_old_one() {
        for (old, new) in legacy::RENAMED {
            assert_eq!(current_name(old), Some(*new));
            assert_eq!(current_name(new), None, "{old} -> {new}, which is itself renamed");
        }
        assert_eq!(current_name("http.route"), None);
    }
}
