//! Rows of text in aligned columns, for people and for `awk`: two blanks between columns, none at the
//! end of a line, and no empty cell.

/// Rows under a heading.
pub struct Columns {
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// Without rows yet.
    pub fn new(heading: &[&str]) -> Columns {
        Columns { rows: vec![heading.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    /// Adds a row; an empty cell is shown as a dash, so that columns can be counted.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = |cell: String| if cell.is_empty() { "-".to_owned() } else { cell };
        self.rows.push(cells.into_iter().map(shown).collect());
    }
}

impl std::fmt::Display for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:width$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Columns;

    #[test]
    fn cells_line_up_and_are_never_empty() {
        let mut columns = Columns::new(&["TOPIC", "LAG"]);
        columns.row(["a-long-name".to_owned(), "7".to_owned()]);
        columns.row(["é".to_owned(), String::new()]);
        assert_eq!(columns.to_string(), "TOPIC        LAG\na-long-name  7\né            -\n");
    }
}
