//! Who may send: whoever shows one of the tokens of a `bearertokenauth`. Tokens in a file are read again while it runs.
//! No token is ever written anywhere, and how long a comparison takes says nothing about one but its length.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use http::header::{HeaderMap, HeaderName};
use subtle::{Choice, ConstantTimeEq};

use crate::configuration::{BearerToken, Tokens};
use crate::export::SettingError;
use crate::refusal::Refusal;

const KEY: &str = "auth.authenticator";

/// Lets requests in that show a token.
pub(super) struct Guard {
    header: HeaderName,
    scheme: String,
    file: Option<PathBuf>,
    tokens: RwLock<Vec<String>>,
}

impl Guard {
    /// Reads the tokens.
    pub(super) fn open(settings: &BearerToken) -> Result<Self, SettingError> {
        let header = settings
            .header
            .parse()
            .map_err(|_| SettingError::new(KEY, format!("`{}` is no name of a header", settings.header)))?;
        let (file, tokens) = match &settings.tokens {
            Tokens::Text(tokens) => (None, tokens.clone()),
            Tokens::File(path) => (Some(path.clone()), read(path)?),
        };
        Ok(Self { header, scheme: settings.scheme.clone(), file, tokens: RwLock::new(tokens) })
    }

    /// Whether there is a file, which [`Guard::refresh`] reads.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Where the token is looked for.
    pub(super) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Refuses whoever shows no token, or a wrong one.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let shown = headers.get(&self.header).and_then(|value| self.bare(value.as_bytes()));
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        // Every token is compared, whichever fits.
        let fits = shown.is_some_and(|shown| {
            let equal = |fits: Choice, token: &String| fits | token.as_bytes().ct_eq(shown);
            tokens.iter().fold(Choice::from(0), equal).into()
        });
        if fits { Ok(()) } else { Err(Refusal::Unauthenticated { scheme: self.scheme.clone() }) }
    }

    /// What stands behind the scheme, whose case does not count.
    fn bare<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        if self.scheme.is_empty() {
            return Some(value);
        }
        let (scheme, rest) = value.split_at_checked(self.scheme.len())?;
        let rest = rest.strip_prefix(b" ")?;
        scheme.eq_ignore_ascii_case(self.scheme.as_bytes()).then_some(rest.trim_ascii())
    }

    /// Reads the file again. Without a token in it those of before stay valid: files are often emptied before they are
    /// written. Reads a file: off the runtime's threads.
    pub(super) fn refresh(&self) -> Result<(), SettingError> {
        let Some(path) = &self.file else { return Ok(()) };
        let tokens = read(path)?;
        let mut current = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        if *current != tokens {
            tracing::info!(file = %path.display(), count = tokens.len(), "tokens were read again");
            *current = tokens;
        }
        Ok(())
    }
}

/// A token a line.
fn read(path: &Path) -> Result<Vec<String>, SettingError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| SettingError::new(KEY, format!("cannot read {}: {error}", path.display())))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let tokens: Vec<String> = lines.map(str::to_owned).collect();
    if tokens.is_empty() {
        return Err(SettingError::new(
            KEY,
            format!("{} has no token; write one on each line", path.display()),
        ));
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn settings(header: &str, scheme: &str, tokens: Tokens) -> BearerToken {
        BearerToken { header: header.to_owned(), scheme: scheme.to_owned(), tokens }
    }

    fn check(guard: &Guard, header: &'static str, value: &'static str) -> bool {
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static(header), HeaderValue::from_static(value))]);
        guard.check(&headers).is_ok()
    }

    #[test]
    fn exactly_the_tokens_are_let_in() {
        let text = Tokens::Text(vec!["first".to_owned(), "second".to_owned()]);
        for (header, scheme, shown_in, value, expected) in [
            ("authorization", "Bearer", "authorization", "Bearer first", true),
            ("authorization", "Bearer", "authorization", "bearer  second", true),
            ("authorization", "Bearer", "authorization", "Bearer third", false),
            ("authorization", "Bearer", "authorization", "Bearer firs", false),
            ("authorization", "Bearer", "authorization", "Bearer firstly", false),
            ("authorization", "Bearer", "authorization", "Bearer ", false),
            ("authorization", "Bearer", "authorization", "Bearerfirst", false),
            ("authorization", "Bearer", "authorization", "first", false),
            ("authorization", "Bearer", "authorization", "Basic first", false),
            ("authorization", "Bearer", "authorization", "", false),
            ("authorization", "Bearer", "x-key", "Bearer first", false),
            ("x-key", "", "x-key", "first", true),
            ("x-key", "", "x-key", "Bearer first", false),
            ("x-key", "ApiKey", "x-key", "ApiKey second", true),
        ] {
            let guard = Guard::open(&settings(header, scheme, text.clone())).unwrap();
            assert_eq!(check(&guard, shown_in, value), expected, "{shown_in}: {value:?} for {scheme:?}");
        }
    }

    #[test]
    fn a_file_is_read_again_and_an_empty_one_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let open = || Guard::open(&settings("authorization", "Bearer", Tokens::File(path.clone())));
        let refused = |content: &str| {
            std::fs::write(&path, content).unwrap();
            open().map(|_| ()).unwrap_err().to_string()
        };
        assert!(
            open().map(|_| ()).unwrap_err().to_string().starts_with("`auth.authenticator`: cannot read ")
        );
        assert!(refused(" \n\n").ends_with("has no token; write one on each line"));

        std::fs::write(&path, "old\n\n  other  \n").unwrap();
        let guard = open().unwrap();
        let lets_in = |expected: [bool; 3]| {
            let shown = ["Bearer old", "Bearer other", "Bearer new"];
            assert_eq!(shown.map(|value| check(&guard, "authorization", value)), expected);
        };
        lets_in([true, true, false]);
        std::fs::write(&path, "").unwrap();
        assert!(guard.refresh().is_err());
        lets_in([true, true, false]);
        std::fs::write(&path, "new").unwrap();
        assert_eq!(guard.refresh(), Ok(()));
        lets_in([false, false, true]);
    }
}
