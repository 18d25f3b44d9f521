//! The programs that take turns, and how each is started on a configuration.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `throughline`
    pub ours: PathBuf,
    /// The OpenTelemetry Collector, if it could be built.
    pub peer: Option<PathBuf>,
}

/// When our acknowledgement goes out. The peer has nothing like it: it acknowledges what is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the operating system has the span: it outlives the process, not the power.
    None,
    /// When the disk has it.
    Sync,
}

/// Who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The OpenTelemetry Collector.
    Peer,
    /// throughline.
    Ours(Durability),
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Peer => "otelcol 0.159",
            Self::Ours(Durability::None) => "ours, none",
            Self::Ours(Durability::Sync) => "ours, sync",
        })
    }
}

impl Contender {
    /// How it is started on `configuration`; data goes into `folder`. `None` if the program is not there.
    #[must_use]
    pub fn command(
        self,
        programs: &Programs,
        configuration: &Path,
        folder: &Path,
        journal_bytes: u64,
    ) -> Option<Command> {
        let durability = match self {
            Self::Peer => {
                let mut command = Command::new(programs.peer.as_ref()?);
                command.arg("--config").arg(configuration);
                return Some(command);
            }
            Self::Ours(Durability::None) => "none",
            Self::Ours(Durability::Sync) => "sync",
        };
        let mut command = Command::new(&programs.ours);
        // Not `--ephemeral`: the process is killed, and nobody would remove the folder.
        command.arg("serve").arg("--config").arg(configuration).arg("--data-dir").arg(folder.join("data"));
        command.args(["--durability", durability, "--ui-port", "0", "--tempo-port", "0"]);
        command.arg("--journal-size").arg(format!("{}MiB", journal_bytes >> 20));
        Some(command)
    }
}
