//! `rotation` of a file: when it is full it is set aside under a name with the time, in the peer's form, and a new one is
//! begun; of those set aside the oldest go. No file that is set aside is ever written over.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When a file is set aside, and how many of those stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// `max_megabytes`, in bytes: a file does not grow beyond it, but by a single record that is larger.
    pub most_bytes: u64,
    /// `max_days`: those set aside longer ago are removed.
    pub most_days: Option<u32>,
    /// `max_backups`: beyond so many the oldest are removed.
    pub most_files: Option<u32>,
}

impl Rotation {
    /// Whether a file of `size` bytes has no room for `more`.
    pub(super) fn is_full(&self, size: u64, more: usize) -> bool {
        size > 0 && size.saturating_add(more as u64) > self.most_bytes
    }

    /// Sets the file aside and begins a new one.
    pub(super) fn rotate(&self, path: &Path, now: SystemTime) -> io::Result<File> {
        fs::rename(path, free_name(path, now)?)?;
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        // What is written counts more than what should be gone: the next rotation tries again.
        if let Err(error) = self.prune(path, now) {
            tracing::warn!(path = %path.display(), %error, "files that were set aside cannot be removed");
        }
        Ok(file)
    }

    fn prune(&self, path: &Path, now: SystemTime) -> io::Result<()> {
        let mut aside = set_aside(path)?;
        aside.sort();
        let oldest = self.most_days.map(|days| {
            let age = Duration::from_secs(u64::from(days) * 24 * 3600);
            stamp(now.checked_sub(age).unwrap_or(UNIX_EPOCH))
        });
        let too_many = self.most_files.map_or(0, |most| aside.len().saturating_sub(most as usize));
        for (at, (time, file)) in aside.iter().enumerate() {
            if at < too_many || oldest.as_ref().is_some_and(|oldest| time < oldest) {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }
}

/// `spans.jsonl` is set aside as `spans-2026-11-21T06-34-00.000.jsonl`.
fn name(path: &Path, stamp: &str) -> PathBuf {
    let (stem, extension) = parts(path);
    path.with_file_name(format!("{stem}-{stamp}{extension}"))
}

/// A file's name before its last dot, and from there on.
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let extension = text(path.extension());
    (text(path.file_stem()), if extension.is_empty() { extension } else { format!(".{extension}") })
}

/// The first name from `now` on that no file has: two files may be full within a millisecond.
fn free_name(path: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let mut at = now;
    loop {
        let name = name(path, &stamp(at));
        if !name.try_exists()? {
            return Ok(name);
        }
        at += Duration::from_millis(1);
    }
}

/// The files that were set aside, each with the time in its name.
fn set_aside(path: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let (stem, extension) = parts(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let time = name.to_str().and_then(|name| {
            let time = name.strip_prefix(&stem)?.strip_prefix('-')?.strip_suffix(&extension)?;
            is_stamp(time).then(|| time.to_owned())
        });
        found.extend(time.map(|time| (time, entry.path())));
    }
    Ok(found)
}

/// Where the digits are in a time.
const FORM: &str = "0000-00-00T00-00-00.000";

fn is_stamp(text: &str) -> bool {
    let fits = |(found, expected): (u8, u8)| match expected {
        b'0' => found.is_ascii_digit(),
        _ => found == expected,
    };
    text.len() == FORM.len() && text.bytes().zip(FORM.bytes()).all(fits)
}

/// UTC, in the form of [`FORM`]: sorted as texts they are sorted by time.
fn stamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let (second, millis) = (second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{millis:03}")
}

/// Year, month and day of a number of days since 1970, counted in years that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis)
    }

    #[test]
    fn times_in_names() {
        for (time, expected) in [
            (at(0, 0), "1970-01-01T00-00-00.000"),
            (at(951_782_400, 1), "2000-02-29T00-00-00.001"),
            (at(1_795_243_640, 999), "2026-11-21T06-47-20.999"),
            (at(4_107_542_399, 0), "2100-02-28T23-59-59.000"),
            (at(4_107_542_400, 0), "2100-03-01T00-00-00.000"),
        ] {
            assert_eq!(stamp(time), expected);
            assert!(is_stamp(expected));
        }
        assert!(!is_stamp("2026-11-21T06-47-20,999") && !is_stamp("2026") && !is_stamp(""));
    }

    #[test]
    fn the_oldest_go_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spans.jsonl");
        let day = 24 * 3600;
        let rotation = |most_days, most_files| Rotation { most_bytes: 1, most_days, most_files };
        let names = || {
            let mut names: Vec<String> = fs::read_dir(folder.path())
                .unwrap()
                .map(|it| it.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let strangers =
            ["spans-old.jsonl", "other-1970-01-01T00-00-00.000.jsonl", "spans-1970-01-01T00-00-00.000.txt"];
        strangers.iter().for_each(|name| fs::write(folder.path().join(name), "").unwrap());
        // Two in one millisecond, then one a day.
        for (number, days) in [0, 0, 1, 2, 3].into_iter().enumerate() {
            fs::write(&path, number.to_string()).unwrap();
            rotation(None, None).rotate(&path, at(days * day, 0)).unwrap();
        }
        let aside = |day: u64, millis: u64| format!("spans-{}.jsonl", stamp(at(day * 24 * 3600, millis)));
        let all = [aside(0, 0), aside(0, 1), aside(1, 0), aside(2, 0), aside(3, 0)];
        let ours = |names: &[String]| -> Vec<String> {
            names.iter().filter(|name| all.contains(name)).cloned().collect()
        };
        assert_eq!(ours(&names()), all);
        for (number, name) in all.iter().enumerate() {
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), number.to_string());
        }
        rotation(Some(2), None).prune(&path, at(3 * day, 0)).unwrap();
        assert_eq!(ours(&names()), all[2..]);
        rotation(None, Some(1)).prune(&path, at(3 * day, 0)).unwrap();
        assert_eq!(ours(&names()), all[4..]);
        assert!(strangers.iter().all(|name| names().contains(&(*name).to_owned())), "what is not ours stays");
        assert!(names().contains(&"spans.jsonl".to_owned()));
    }
}
