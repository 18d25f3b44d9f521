//! Where a configuration's text comes from: what `--config` may say. Reads files; fetches nothing over a network.

use std::path::Path;

/// A piece of configuration. Later ones are laid over earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// How errors call it: a file's path as it was given, or `--config`.
    pub name: String,
    /// YAML.
    pub text: String,
}

/// A source that can not be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file can not be read.
    #[error("cannot read the configuration {name}: {source}")]
    File {
        /// The file.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// The environment has no such variable.
    #[error("--config env:{0}: the environment variable {0} is not set")]
    Unset(String),
    /// A way to get configuration that we do not have.
    #[error(
        "--config {0}: expected a file, file:PATH, env:NAME or yaml:TEXT; nothing is fetched over the network"
    )]
    Scheme(String),
}

impl Source {
    /// YAML under a name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// What an argument of `--config` stands for: a file's path, `file:PATH`, `env:NAME` (a variable that holds YAML) or
    /// `yaml:TEXT`, where a key such as `processors::batch::timeout` is a path.
    ///
    /// # Errors
    /// [`SourceError`] if the file or variable can not be read, or the scheme is another.
    pub fn from_argument(
        argument: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, SourceError> {
        match argument.split_once(':') {
            Some(("yaml", text)) => Ok(Self::new(argument, text)),
            Some(("env", name)) => match environment(name) {
                Some(text) => Ok(Self::new(argument, text)),
                None => Err(SourceError::Unset(name.to_owned())),
            },
            Some(("file", path)) => Self::file(Path::new(path)),
            Some(("http" | "https", _)) => Err(SourceError::Scheme(argument.to_owned())),
            _ => Self::file(Path::new(argument)),
        }
    }

    /// The file at `path`.
    ///
    /// # Errors
    /// [`SourceError::File`] if it can not be read as UTF-8 text.
    pub fn file(path: &Path) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self { name, text }),
            Err(source) => Err(SourceError::File { name, source }),
        }
    }
}
