//! What is wrong with a configuration, or worth saying about it, and where. Collects everything; decides nothing and
//! prints nothing.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use super::component::ComponentId;

/// A place in one of the sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Which source, in the order given.
    pub(super) source: usize,
    /// From 1.
    pub(super) line: usize,
    /// From 1, in characters.
    pub(super) column: usize,
}

/// One sentence about one place in the configuration. `Display` is `file:line:column: path: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The source's name as it was given, such as a file's path.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Keys from the top, such as `processors::tail_sampling::policies[2]::latency`. Empty: the file as a whole.
    pub path: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, path, message } = self;
        write!(f, "{file}:{line}:{column}: ")?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(message)
    }
}

/// Everything that keeps a configuration from being used, in the order of the sources. `Display` is a line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Errors {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}{problem}")?;
        }
        Ok(())
    }
}

/// Where the readers put what they find. Shared by all of them, hence the cells.
#[derive(Debug, Default)]
pub(super) struct Findings {
    names: Vec<String>,
    errors: RefCell<Vec<Found>>,
    notes: RefCell<Vec<Found>>,
    asked: RefCell<BTreeSet<(String, &'static str)>>,
    files: RefCell<Vec<(Found, PathBuf)>>,
    references: RefCell<Vec<Mention>>,
    components: RefCell<Vec<(String, Place)>>,
}

/// An extension named by a component.
#[derive(Clone, Debug)]
pub(super) struct Mention {
    pub(super) place: Place,
    pub(super) path: String,
    pub(super) id: ComponentId,
}

/// A file that the configuration names and that must be there at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The file.
    pub file: PathBuf,
    /// Where it is named; no message.
    pub place: Problem,
}

/// What was found, once everything is read.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) errors: Vec<Problem>,
    pub(super) notes: Vec<Problem>,
    /// Keys we know, by the path of their block.
    pub(super) asked: BTreeSet<(String, &'static str)>,
    pub(super) files: Vec<NamedFile>,
    /// Where each component stands; no messages.
    pub(super) components: Vec<Problem>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    place: Place,
    path: String,
    message: String,
}

impl Findings {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self { names, ..Self::default() }
    }

    pub(super) fn error(&self, place: Place, path: &str, message: impl Into<String>) {
        self.errors.borrow_mut().push(Found { place, path: path.to_owned(), message: message.into() });
    }

    pub(super) fn note(&self, place: Place, path: &str, message: impl Into<String>) {
        self.notes.borrow_mut().push(Found { place, path: path.to_owned(), message: message.into() });
    }

    /// A reader asked the block at `path` for `key`: it is a key that we know. The reference documentation is held
    /// against these.
    pub(super) fn asked(&self, path: &str, key: &'static str) {
        self.asked.borrow_mut().insert((path.to_owned(), key));
    }

    /// How many errors there are so far.
    pub(super) fn errors(&self) -> usize {
        self.errors.borrow().len()
    }

    /// The value at `place` names a file.
    pub(super) fn file(&self, place: Place, path: &str, file: PathBuf) {
        let found = Found { place, path: path.to_owned(), message: String::new() };
        self.files.borrow_mut().push((found, file));
    }

    /// The value at `place` names an extension.
    pub(super) fn mention(&self, place: Place, path: &str, id: ComponentId) {
        self.references.borrow_mut().push(Mention { place, path: path.to_owned(), id });
    }

    /// The component of this path stands at `place`.
    pub(super) fn component(&self, place: Place, path: String) {
        self.components.borrow_mut().push((path, place));
    }

    /// The extensions named so far.
    pub(super) fn mentions(&self) -> Vec<Mention> {
        self.references.borrow().clone()
    }

    /// In the order of the sources.
    pub(super) fn close(self) -> Closed {
        let Self { names, errors, notes, asked, files, references: _, components } = self;
        let told = |mut found: Vec<Found>| {
            found.sort();
            found.dedup();
            found.into_iter().map(|found| found.told(&names)).collect()
        };
        let files = files.into_inner();
        Closed {
            errors: told(errors.into_inner()),
            notes: told(notes.into_inner()),
            asked: asked.into_inner(),
            components: components
                .into_inner()
                .into_iter()
                .map(|(path, place)| Found { place, path, message: String::new() }.told(&names))
                .collect(),
            files: files
                .into_iter()
                .map(|(found, file)| NamedFile { file, place: found.told(&names) })
                .collect(),
        }
    }
}

impl Found {
    fn told(self, names: &[String]) -> Problem {
        let Place { source, line, column } = self.place;
        let file = names.get(source).cloned().unwrap_or_default();
        Problem { file, line: line.max(1), column: column.max(1), path: self.path, message: self.message }
    }
}
