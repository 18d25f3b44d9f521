//! The only place that writes: data to standard output, talk to standard error. Knows whether a terminal reads along.

use std::io::{self, IsTerminal, Write};

use throughline_trace::text::Colour;

use crate::exit;

/// Where a command's words go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    colour: Colour,
    width: Option<usize>,
}

impl Output {
    /// Looks at standard output once.
    pub(crate) fn new() -> Self {
        let stdout = io::stdout();
        let width = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
        let width = width.filter(|width| stdout.is_terminal() && *width > 0);
        Self { colour: colour_on(&stdout), width }
    }

    /// Whether standard error takes colours.
    pub(crate) fn talk_colour() -> Colour {
        colour_on(&io::stderr())
    }

    /// Whether standard output takes colours.
    pub(crate) fn colour(&self) -> Colour {
        self.colour
    }

    /// Columns of the terminal, `None` if standard output is none.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    /// Data, as it is.
    pub(crate) fn data(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        if let Err(error) = written {
            // Whoever reads (`head`, a pager) has had enough.
            if error.kind() == io::ErrorKind::BrokenPipe {
                std::process::exit(0);
            }
            self.talk(&format!("error: cannot write to standard output: {error}"));
            std::process::exit(exit::OUTPUT);
        }
    }

    /// One line for whoever listens; nobody has to.
    pub(crate) fn offer(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    }

    /// Data, one line.
    pub(crate) fn line(&self, text: &str) {
        self.data(&format!("{text}\n"));
    }

    /// Where `debug` exporters write: they are talk, too.
    pub(crate) fn debug() -> Box<dyn Write + Send> {
        Box::new(io::stderr())
    }

    /// Talk, one line.
    pub(crate) fn talk(&self, text: &str) {
        // Nobody is left to tell that nobody listens.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// Colours only on a terminal, and not if `NO_COLOR` is set or the terminal is dumb.
fn colour_on(stream: &impl IsTerminal) -> Colour {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if stream.is_terminal() && !dumb && !set("NO_COLOR") { Colour::Always } else { Colour::Never }
}
