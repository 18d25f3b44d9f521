//! How a command ends badly, and the exit code of each way. The table in `--help` is this one.

/// What `--help` says of exit codes.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  done
  1  nothing was found; or the demo's check failed
  2  the command line is wrong, or the query, or the configuration of --config
  3  no throughline answers at --url, or it answered with an error
  4  it could not start: a port, the data folder, the broker
  5  standard output could not be written: a disk that is full; a reader that went away, as `| head` does, is 0
Other than with 0, trace, search and lineage leave standard output empty, with --json too, and standard error says why;
trace --follow may have printed something before.";

/// The exit code where standard output takes nothing more: nobody is left to hand a [`Failure`] to.
pub(crate) const OUTPUT: i32 = 5;

/// A command's bad end, told in one message: what, where, what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nothing was found.
    #[error("{0}")]
    NotFound(String),
    /// The demo ran and something was not as it must be.
    #[error("{0}")]
    Check(String),
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A configuration cannot be used; every line is a problem.
    #[error("the configuration cannot be used:\n{0}")]
    Configuration(String),
    /// Nobody answers, or what answers is in trouble.
    #[error("{0}")]
    Server(String),
    /// A part could not start.
    #[error("{0}")]
    Start(String),
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::NotFound(_) | Self::Check(_) => 1,
            Self::Usage(_) | Self::Configuration(_) => 2,
            Self::Server(_) => 3,
            Self::Start(_) => 4,
        }
    }
}
