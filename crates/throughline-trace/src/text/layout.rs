//! Columns: the tree on the left, how long a span took, how long its message waited and where, on the right. When the
//! width is short the place of the wait goes first, then the tree is cut, then the wait and the duration go.

use super::line::{Line, Style};
use super::rows::Row;
use crate::time;

/// Below this the tree would be all ellipses: the other columns give way.
const LEAST_TREE: usize = 32;
/// `Trace: ` and an id, which the columns' names stand beside.
const TITLE: usize = 39;
const GAP: &str = "  ";

/// The columns' widths; 0 for a column that is not shown.
pub(super) struct Columns {
    tree: usize,
    took: usize,
    waited: usize,
    place: usize,
    /// Of all of them, `None` for as much as it takes.
    whole: Option<usize>,
}

impl Columns {
    /// As wide as the rows need, as many as fit.
    pub(super) fn of(rows: &[Row], width: Option<usize>) -> Self {
        let widest = |cell: fn(&Row) -> usize| rows.iter().map(cell).max().unwrap_or(0);
        let full = Self {
            tree: widest(|row| row.tree.width() + row.id.as_ref().map_or(0, |id| 1 + cell_width(id)))
                .max(TITLE),
            took: widest(|row| cell_width(&took(row))).max("took".len()),
            waited: widest(|row| cell_width(&waited(row))),
            place: widest(|row| cell_width(&place(row))),
            whole: width,
        };
        let full =
            if full.waited > 0 { Self { waited: full.waited.max("waited".len()), ..full } } else { full };
        let Some(width) = width else { return full };
        // What gives way, in this order: the place rather than the tree, then the tree down to its least, then the rest.
        let choices = [
            (full.tree, full.took, full.waited, full.place),
            (LEAST_TREE, full.took, full.waited, 0),
            (LEAST_TREE, full.took, 0, 0),
        ];
        for (least, took, waited, place) in choices {
            let right: usize = [took, waited, place].iter().filter(|w| **w > 0).map(|w| w + GAP.len()).sum();
            if width >= least + right {
                return Self { tree: full.tree.min(width - right), took, waited, place, whole: full.whole };
            }
        }
        Self { tree: full.tree.min(width), took: 0, waited: 0, place: 0, whole: full.whole }
    }

    /// The first line, with the columns' names.
    pub(super) fn heading(&self, title: Line) -> Line {
        let mut line = title;
        // The id must stay whole, so where it is wider than the tree the names are left out.
        if line.width() > self.tree {
            return line;
        }
        line.fit(self.tree);
        self.cells(&mut line, &[("took", Style::Quiet), ("waited", Style::Quiet), ("", Style::Quiet)]);
        line
    }

    /// One row with its cells.
    pub(super) fn lay(&self, row: Row) -> Line {
        let (took, waited, place) = (took(&row), waited(&row), place(&row));
        let mut line = row.tree;
        if let Some(id) = row.id {
            // It has no cells beside it: it may have their room, and where that is not enough its label is cut.
            line.cut(self.whole.map_or(usize::MAX, |whole| whole.saturating_sub(1 + cell_width(&id))));
            line.push(Style::Plain, &format!(" {id}"));
            return line;
        }
        line.fit(self.tree);
        self.cells(&mut line, &[(&took, Style::Plain), (&waited, Style::Wait), (&place, Style::Wait)]);
        line
    }

    fn cells(&self, line: &mut Line, cells: &[(&str, Style<'_>); 3]) {
        let [(took, quiet), (waited, wait), (place, at)] = *cells;
        for (text, style, width) in [(took, quiet, self.took), (waited, wait, self.waited)] {
            if width > 0 {
                line.push(
                    Style::Plain,
                    &format!("{GAP}{}", " ".repeat(width.saturating_sub(cell_width(text)))),
                );
                line.push(style, text);
            }
        }
        if self.place > 0 {
            line.push(Style::Plain, GAP);
            line.push(at, place);
        }
    }
}

fn took(row: &Row) -> String {
    row.took.map(time::duration).unwrap_or_default()
}

fn waited(row: &Row) -> String {
    row.wait.as_ref().map(|wait| time::duration(wait.nanos())).unwrap_or_default()
}

fn place(row: &Row) -> String {
    row.wait.as_ref().map(|wait| wait.place()).unwrap_or_default()
}

fn cell_width(text: &str) -> usize {
    Line::text(text).width()
}
