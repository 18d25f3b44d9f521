//! The `file` exporter: requests one behind the other in a file, as the peer writes and reads them: OTLP/JSON, one request
//! a line, or protobuf, each behind its length in four bytes, the highest first. A file that is full is set aside
//! (`rotation`).

mod rotation;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use throughline_otlp::{Signal, json};

pub use self::rotation::Rotation;
use super::{Outcome, SettingError, Trouble};

/// `file`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// `path`
    pub path: PathBuf,
    /// `format`
    pub format: FileFormat,
    /// `append`
    pub existing: Existing,
    /// `create_directory`
    pub folder: Folder,
    /// `rotation`; a file that is there goes on then.
    pub rotation: Option<Rotation>,
}

/// `format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileFormat {
    /// `json`
    #[default]
    Json,
    /// `proto`
    Proto,
}

/// What becomes of a file that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// It is emptied.
    #[default]
    Replace,
    /// It goes on.
    Append,
}

/// What becomes of a folder that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Folder {
    /// The exporter does not start.
    #[default]
    MustExist,
    /// It is made.
    Create,
}

/// Writes requests to a file.
#[derive(Debug)]
pub struct FileExporter {
    path: PathBuf,
    format: FileFormat,
    rotation: Option<Rotation>,
    file: Arc<Mutex<File>>,
}

impl FileExporter {
    /// Opens the file.
    ///
    /// # Errors
    /// [`SettingError`] if it cannot be written.
    pub fn new(settings: FileSettings) -> Result<Self, SettingError> {
        let FileSettings { path, format, existing, folder, rotation } = settings;
        let existing = if rotation.is_some() { Existing::Append } else { existing };
        let problem =
            |error: io::Error| SettingError::new("path", format!("cannot write {}: {error}", path.display()));
        if let (Folder::Create, Some(parent)) = (folder, path.parent()) {
            std::fs::create_dir_all(parent).map_err(problem)?;
        }
        let mut options = OpenOptions::new();
        options.create(true);
        match existing {
            Existing::Append => options.append(true),
            Existing::Replace => options.write(true).truncate(true),
        };
        let file = options.open(&path).map_err(problem)?;
        Ok(Self { file: Arc::new(Mutex::new(file)), path, format, rotation })
    }

    /// Appends one request. It is the system's then, not yet on the disk.
    pub async fn send(&self, signal: Signal, request: Bytes) -> Outcome {
        let (format, file) = (self.format, Arc::clone(&self.file));
        let rotation = self.rotation.map(|rotation| (rotation, self.path.clone()));
        let written = tokio::task::spawn_blocking(move || {
            let bytes = match encoded(format, signal, &request) {
                Ok(bytes) => bytes,
                Err(why) => return Ok(Err(why)),
            };
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((rotation, path)) = rotation
                && rotation.is_full(file.metadata()?.len(), bytes.len())
            {
                *file = rotation.rotate(&path, SystemTime::now())?;
            }
            append(&mut file, &bytes).map(Ok)
        });
        match written.await {
            Ok(Ok(Ok(()))) => Outcome::ACCEPTED,
            Ok(Ok(Err(why))) => Outcome::Refused { why },
            Ok(Err(error)) => self.failed(&error.to_string()),
            Err(_) => self.failed("the collector is stopping"),
        }
    }

    /// A full disk may have room again.
    fn failed(&self, why: &str) -> Outcome {
        let why = format!("{}: {why}", self.path.display());
        Outcome::Retry { after: None, trouble: Trouble::Destination, why, rest: None }
    }
}

fn encoded(format: FileFormat, signal: Signal, request: &[u8]) -> Result<Vec<u8>, String> {
    let json = match (format, signal) {
        (FileFormat::Proto, _) => {
            let length =
                u32::try_from(request.len()).map_err(|_| "larger than a record can be".to_owned())?;
            return Ok([&length.to_be_bytes(), request].concat());
        }
        (FileFormat::Json, Signal::Traces) => json::traces([request]),
        (FileFormat::Json, Signal::Logs) => json::logs([request]),
        (FileFormat::Json, Signal::Metrics) => return Err("metrics are not exported".to_owned()),
    };
    let mut line = json.map_err(|error| format!("not OTLP: {error}"))?.to_string().into_bytes();
    line.push(b'\n');
    Ok(line)
}

/// A record that could not be written whole is cut off again, so that the next attempt does not stand behind half of one.
fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    use std::io::{Seek as _, SeekFrom};
    let before = file.seek(SeekFrom::End(0))?;
    file.write_all(bytes).inspect_err(|_| {
        // If this fails too, the error being returned already says that the disk does not work.
        let _ = file.set_len(before);
    })
}

#[cfg(test)]
mod tests {
    use throughline_otlp::json::to_protobuf;

    use super::*;

    /// As the peer was seen to write it, but for the schema URLs, which it loses.
    const JSON: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"x"}}],"droppedAttributesCount":3},"schemaUrl":"v","scopeSpans":[{"scope":{"name":"lib1"},"spans":[{"endTimeUnixNano":"1790000000010000000","name":"a1","spanId":"1111111111111111","startTimeUnixNano":"1790000000000000000","status":{"code":2,"message":"m"},"traceId":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}]}]}]}"#;

    async fn check(settings: FileSettings, requests: &[Bytes]) -> Vec<u8> {
        let path = settings.path.clone();
        let exporter = FileExporter::new(settings).unwrap();
        for request in requests {
            assert_eq!(exporter.send(Signal::Traces, request.clone()).await, Outcome::ACCEPTED);
        }
        std::fs::read(path).unwrap()
    }

    #[tokio::test]
    async fn requests_stand_one_behind_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let request = Bytes::from(to_protobuf(Signal::Traces, JSON.as_bytes()).unwrap());
        let json = FileSettings {
            path: folder.path().join("new/out.jsonl"),
            format: FileFormat::Json,
            existing: Existing::Replace,
            folder: Folder::Create,
            rotation: None,
        };
        let line = format!("{JSON}\n").into_bytes();
        let twice = [request.clone(), request.clone()];
        assert_eq!(check(json.clone(), &twice).await, [line.clone(), line.clone()].concat());
        let more = FileSettings { existing: Existing::Append, ..json.clone() };
        assert_eq!(check(more, &twice[..1]).await.len(), line.len() * 3);
        assert_eq!(check(json, &twice[..1]).await, line, "replaced");
        let proto = FileSettings {
            path: folder.path().join("out.bin"),
            format: FileFormat::Proto,
            existing: Existing::Replace,
            folder: Folder::MustExist,
            rotation: None,
        };
        let length = u32::try_from(request.len()).unwrap().to_be_bytes();
        let record = [&length, request.as_ref()].concat();
        assert_eq!(check(proto, &twice).await, [record.clone(), record].concat());
    }

    #[tokio::test]
    async fn a_full_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let request = Bytes::from(to_protobuf(Signal::Traces, JSON.as_bytes()).unwrap());
        let line = JSON.len() as u64 + 1;
        let rotation = Rotation { most_bytes: line * 2, most_days: None, most_files: Some(2) };
        let settings = FileSettings {
            path: folder.path().join("out.jsonl"),
            format: FileFormat::Json,
            existing: Existing::Replace,
            folder: Folder::MustExist,
            rotation: Some(rotation),
        };
        std::fs::write(&settings.path, "x").unwrap();
        // Beside the byte there is room for one, then for two a file: x1 23 45 67 8.
        let last = check(settings.clone(), &vec![request.clone(); 8]).await;
        assert_eq!(last.len() as u64, line);
        let mut sizes: Vec<u64> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|it| it.unwrap().metadata().unwrap().len())
            .collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [line, line * 2, line * 2], "two set aside, the oldest of which are gone");
        // A record that is larger than a file may be stands alone in one.
        let tiny = Rotation { most_bytes: 1, ..rotation };
        let alone = check(FileSettings { rotation: Some(tiny), ..settings }, &[request]).await;
        assert_eq!(alone.len() as u64, line);
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let settings = FileSettings {
            path: folder.path().join("none/out"),
            format: FileFormat::Json,
            existing: Existing::Replace,
            folder: Folder::MustExist,
            rotation: None,
        };
        let error = FileExporter::new(settings).unwrap_err().to_string();
        assert!(error.starts_with("`path`: cannot write ") && error.contains("No such file"), "{error}");
        let full = FileSettings {
            path: PathBuf::from("/dev/full"),
            format: FileFormat::Proto,
            existing: Existing::Append,
            folder: Folder::MustExist,
            rotation: None,
        };
        let exporter = FileExporter::new(full).unwrap();
        let said = exporter.send(Signal::Traces, Bytes::from_static(b"x")).await;
        let Outcome::Retry { why, .. } = said else { panic!("{said:?}") };
        assert!(why.contains("No space left"), "{why}");
    }
}
