//! Waiting for an event, with an end: a hang fails instead of hanging.

use std::time::Duration;

/// Longer than anything takes that these tests wait for.
pub const PATIENCE: Duration = Duration::from_secs(120);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Until it is so.
///
/// # Panics
/// If it is not within [`PATIENCE`].
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let looking = async {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        while !tokio::task::block_in_place(&mut done) {
            looks.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, looking).await.is_ok(), "in vain: {what}");
}
