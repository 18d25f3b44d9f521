//! The rings there were, in a file of the data folder: a node that is started again knows who was on its list before, also if
//! the list has been changed meanwhile. What cannot be read or written costs that and nothing else, and is said.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use throughline_otlp::UnixNanos;

use super::tier::Tier;
use crate::export::ring::Ring;

const VERSION: u8 = 1;

/// As the file has it: FORMAT.md, "Rings of before".
#[derive(Serialize, Deserialize)]
struct Noted {
    version: u8,
    rings: Vec<NotedRing>,
}

#[derive(Serialize, Deserialize)]
struct NotedRing {
    members: Vec<String>,
    /// Unix nanoseconds; `None`: it held when the file was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

/// What the file says. The ring that held when it was written held until `now`, for all that is known.
pub(super) fn read(path: &Path, now: UnixNanos) -> Tier {
    let noted = match fs::read(path).map(|text| serde_json::from_slice::<Noted>(&text)) {
        Ok(Ok(noted)) if noted.version == VERSION => noted,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Tier::default(),
        not_read => {
            let error = match not_read {
                Ok(Ok(noted)) => format!("is of version {}", noted.version),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            let path = path.display();
            tracing::warn!(%path, error, "which nodes there were before is not known; those that are now are asked");
            return Tier::default();
        }
    };
    Tier::remembered(noted.rings.into_iter().map(|ring| {
        let until = ring.until.map_or(now, UnixNanos);
        (until, Ring::new(ring.members.iter().map(String::as_str)))
    }))
}

/// Replaces the file, as a whole or not at all. Blocks.
pub(super) fn write(path: &Path, tier: &Tier) -> io::Result<()> {
    let members = |members: &[std::sync::Arc<str>]| members.iter().map(|name| name.to_string()).collect();
    let present = NotedRing { members: members(tier.members()), until: None };
    let former = tier
        .rings()
        .map(|(until, ring)| NotedRing { members: members(ring.members()), until: Some(until.0) });
    let noted = Noted { version: VERSION, rings: std::iter::once(present).chain(former).collect() };
    let beside: PathBuf = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(&serde_json::to_vec(&noted)?)?;
    file.sync_all()?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use throughline_otlp::TraceId;

    use super::super::tier::JOINING;
    use super::*;

    fn ring(members: &[&str]) -> Arc<Ring> {
        Arc::new(Ring::new(members.iter().copied()))
    }

    #[test]
    fn a_node_that_is_started_again_with_another_list_knows_who_was_on_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        let (us, at) = (Some(Arc::from("a")), |seconds: u64| UnixNanos(seconds * 1_000_000_000));
        let first = read(&path, at(1)).followed_by(ring(&["a", "older"]), us.clone(), at(1));
        let first = first.followed_by(ring(&["a", "old"]), us.clone(), at(10));
        write(&path, &first).unwrap();
        let again = read(&path, at(20)).followed_by(ring(&["a", "b"]), us, at(20));
        let (mut old, mut older) = (0, 0);
        for number in 1..100_u128 {
            let trace = TraceId::new((number << 64 | number).to_be_bytes()).unwrap();
            let all = again.holders(trace, at(0), JOINING);
            old += usize::from(all.iter().any(|holder| **holder == *"old"));
            older += usize::from(all.iter().any(|holder| **holder == *"older"));
            let young = again.holders(trace, at(11), JOINING);
            assert!(young.iter().all(|holder| **holder != *"older"), "look-back is over: {young:?}");
        }
        assert!(old > 10 && older > 10, "{old} {older} of 99 traces were another's");
        for other in ["", "{}", r#"{"version":2,"rings":[]}"#] {
            fs::write(&path, other).unwrap();
            assert_eq!(read(&path, at(30)).rings().count(), 0, "{other}");
        }
    }
}
