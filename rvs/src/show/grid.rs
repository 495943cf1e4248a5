//! Columns that line up, without blanks at the ends of lines.

/// At which side of its column a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A table of `N` columns.
pub(super) struct Grid<const N: usize> {
    titles: [&'static str; N],
    sides: [Side; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Grid<N> {
    pub(super) fn new(columns: [(&'static str, Side); N]) -> Grid<N> {
        Grid {
            titles: columns.map(|(title, _)| title),
            sides: columns.map(|(_, side)| side),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    /// Titles and rows.
    pub(super) fn text(self) -> String {
        let titles = self.titles.map(str::to_owned);
        let widths = self.widths(&titles);
        std::iter::once(&titles)
            .chain(&self.rows)
            .map(|row| self.line(row, &widths))
            .collect()
    }

    /// Rows without titles.
    pub(super) fn body(self) -> String {
        let widths = self.widths(&std::array::from_fn(|_| String::new()));
        self.rows
            .iter()
            .map(|row| self.line(row, &widths))
            .collect()
    }

    fn widths(&self, titles: &[String; N]) -> [usize; N] {
        let mut widths = titles.each_ref().map(|title| title.chars().count());
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }

    fn line(&self, row: &[String; N], widths: &[usize; N]) -> String {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .zip(self.sides)
            .map(|((cell, &width), side)| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            })
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    }
}
