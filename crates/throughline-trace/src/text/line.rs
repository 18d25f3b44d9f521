//! One line: pieces of text, each with what it means. Measures, cuts, wraps and colours; knows nothing of traces.

use super::Colour;

/// A line of pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
struct Piece {
    ansi: Option<u8>,
    text: String,
}

/// What a piece means; colour means one thing each.
#[derive(Clone, Copy, Debug)]
pub(super) enum Style<'a> {
    Plain,
    /// A service's name, in the hue of this service.
    Service(&'a str),
    Error,
    Wait,
    Quiet,
}

/// Hues of the 256-colour palette that are readable on light and dark.
const HUES: [u8; 12] = [33, 37, 64, 71, 97, 103, 130, 133, 136, 167, 168, 172];

impl Style<'_> {
    fn ansi(self) -> Option<u8> {
        match self {
            Self::Plain => None,
            Self::Service(name) => HUES.get(hash(name) % HUES.len()).copied(),
            Self::Error => Some(160),
            Self::Wait => Some(178),
            Self::Quiet => Some(245),
        }
    }
}

/// FNV-1a: the hue of a service must not change from run to run.
fn hash(text: &str) -> usize {
    let fold = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().fold(0x811c_9dc5, fold) as usize
}

impl Line {
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self::styled(Style::Plain, text)
    }

    pub(super) fn styled(style: Style<'_>, text: impl AsRef<str>) -> Self {
        let mut line = Self::default();
        line.push(style, text.as_ref());
        line
    }

    pub(super) fn push(&mut self, style: Style<'_>, text: &str) {
        self.pieces.push(Piece { ansi: style.ansi(), text: escape(text) });
    }

    pub(super) fn append(&mut self, other: Self) {
        self.pieces.extend(other.pieces);
    }

    /// Columns it takes on a terminal.
    pub(super) fn width(&self) -> usize {
        self.pieces.iter().map(|piece| width(&piece.text)).sum()
    }

    /// Fills with blanks up to `column`; cuts, with an ellipsis, what is beyond it.
    pub(super) fn fit(&mut self, column: usize) {
        self.cut(column);
        let missing = column.saturating_sub(self.width());
        self.push(Style::Plain, &" ".repeat(missing));
    }

    /// At most `columns` wide, an ellipsis in the last one if something was cut.
    pub(super) fn cut(&mut self, columns: usize) {
        if self.width() <= columns {
            return;
        }
        let mut left = columns.saturating_sub(1);
        let mut kept = Vec::new();
        for mut piece in self.pieces.drain(..) {
            let fits = prefix(&piece.text, left);
            let whole = fits.len() == piece.text.len();
            left -= width(fits);
            piece.text = fits.to_owned();
            kept.push(piece);
            if !whole {
                break;
            }
        }
        self.pieces = kept;
        self.push(Style::Plain, "…");
    }

    /// Broken at blanks into lines of at most `columns`, the first piece's style throughout. For prose only.
    pub(super) fn wrap(self, columns: Option<usize>) -> Vec<Self> {
        let Some(columns) = columns.filter(|columns| self.width() > *columns) else { return vec![self] };
        let ansi = self.pieces.first().and_then(|piece| piece.ansi);
        let text: String = self.pieces.iter().map(|piece| piece.text.as_str()).collect();
        let mut lines: Vec<String> = Vec::new();
        for word in text.split(' ') {
            match lines.last_mut() {
                Some(last) if width(last) + 1 + width(word) <= columns => {
                    last.push(' ');
                    last.push_str(word);
                }
                Some(_) => lines.push(format!("  {word}")),
                None => lines.push(word.to_owned()),
            }
        }
        lines.into_iter().map(|text| Self { pieces: vec![Piece { ansi, text }] }).collect()
    }

    /// The line as bytes for a terminal or a file, without trailing blanks.
    pub(super) fn write(&self, columns: Option<usize>, colour: Colour) -> String {
        let mut line = self.clone();
        if let Some(columns) = columns {
            line.cut(columns);
        }
        let mut out = String::new();
        for piece in &line.pieces {
            match piece.ansi.filter(|_| colour == Colour::Always && !piece.text.trim().is_empty()) {
                Some(ansi) => out.push_str(&format!("\x1b[38;5;{ansi}m{}\x1b[0m", piece.text)),
                None => out.push_str(&piece.text),
            }
        }
        out.truncate(out.trim_end_matches(' ').len());
        out
    }
}

/// The longest prefix that is at most `columns` wide.
fn prefix(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += char_width(c);
        if used > columns {
            return text.get(..at).unwrap_or_default();
        }
    }
    text
}

fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Columns of one character: 0 for combining marks, 2 for the wide blocks of East Asian scripts and emoji. The blocks,
/// not the full table: a rare character off by one moves a column, nothing else.
fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200d | 0xfe00..=0xfe0f | 0x20d0..=0x20ff => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Control characters and those that turn the direction of writing, spelled out.
fn escape(text: &str) -> String {
    let drives = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(drives) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if drives(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}
