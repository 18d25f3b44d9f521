//! `auth` of an exporter: the token of a `bearertokenauth` that every request shows. One in a file is read again when it
//! changes; a file that cannot be read, or is empty for a moment, leaves the token of before in use.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::SettingError;

const KEY: &str = "auth.authenticator";

/// What is shown, and in which header.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerSettings {
    /// `header`
    pub header: String,
    /// `scheme`, which stands before the token; empty: the bare token.
    pub scheme: String,
    /// The token.
    pub token: Token,
    /// A file is looked at no more often than this.
    pub every: Duration,
}

/// Where a token is.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// This one.
    Text(String),
    /// The first line of this file that is not empty.
    File(PathBuf),
}

/// A token never shows in a log.
impl fmt::Debug for BearerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerSettings")
            .field("header", &self.header)
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

/// The header of requests, kept up to date.
pub(super) struct Bearer {
    settings: BearerSettings,
    header: HeaderName,
    current: Mutex<Current>,
}

struct Current {
    value: HeaderValue,
    looked: Instant,
    /// Whether the file could be read when it was looked at last: what is wrong with it is said once.
    file: Result<(), SettingError>,
}

impl Bearer {
    /// Reads the token.
    pub(super) fn open(settings: &BearerSettings) -> Result<Self, SettingError> {
        let header = settings
            .header
            .parse()
            .map_err(|_| SettingError::new(KEY, format!("`{}` is no name of a header", settings.header)))?;
        let current = Current { value: value(settings)?, looked: Instant::now(), file: Ok(()) };
        Ok(Self { settings: settings.clone(), header, current: Mutex::new(current) })
    }

    /// Puts the token into a request's headers. Never where a log shows it.
    pub(super) async fn show(self: &Arc<Self>, headers: &mut HeaderMap) {
        if self.is_due() {
            let bearer = Arc::clone(self);
            // Reads a file. If the runtime stops, so does the request.
            let _ = tokio::task::spawn_blocking(move || bearer.look()).await;
        }
        let value = self.current.lock().unwrap_or_else(PoisonError::into_inner).value.clone();
        headers.insert(self.header.clone(), value);
    }

    /// Whether the file is to be looked at; whoever is told so does it.
    fn is_due(&self) -> bool {
        let Token::File(_) = self.settings.token else { return false };
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let due = current.looked.elapsed() >= self.settings.every;
        if due {
            current.looked = Instant::now();
        }
        due
    }

    fn look(&self) {
        let read = value(&self.settings);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match read {
            Ok(value) if current.value == value => Ok(()),
            Ok(value) => {
                tracing::info!("an exporter's token was read again");
                current.value = value;
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &file
            && current.file != file
        {
            tracing::warn!(%error, "an exporter's token cannot be read again; the one before stays in use");
        }
        current.file = file;
    }
}

fn value(settings: &BearerSettings) -> Result<HeaderValue, SettingError> {
    let token = match &settings.token {
        Token::Text(token) => token.clone(),
        Token::File(path) => first_line(path)?,
    };
    let text = if settings.scheme.is_empty() { token } else { format!("{} {token}", settings.scheme) };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| SettingError::new(KEY, "the token has characters that no header can have"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn first_line(path: &Path) -> Result<String, SettingError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| SettingError::new(KEY, format!("cannot read {}: {error}", path.display())))?;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.map(str::to_owned)
        .ok_or_else(|| SettingError::new(KEY, format!("{} has no token; write one into it", path.display())))
}
