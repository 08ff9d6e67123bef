//! Tables of any columns: on the terminal, and as a document.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use comfy_table::{CellAlignment, Table, presets};

use super::report::machine;

#[derive(Debug, Default)]
pub(crate) struct Document {
    text: String,
}

impl Document {
    pub(crate) fn part(&mut self, name: &str) {
        eprintln!("{name} …");
        writeln!(self.text, "\n## {name}").unwrap();
    }

    pub(crate) fn say(&mut self, text: &str) {
        writeln!(self.text, "\n{}", text.trim()).unwrap();
    }

    /// The first column names a line; the others are numbers.
    pub(crate) fn table(&mut self, header: &[&str], lines: &[Vec<String>]) {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(header);
        for line in lines {
            table.add_row(line);
        }
        for column in 1..header.len() {
            table.column_mut(column).unwrap().set_cell_alignment(CellAlignment::Right);
        }
        writeln!(self.text, "\n{table}").unwrap();
    }

    pub(crate) fn print(&self) {
        println!("{}", self.text);
    }

    /// Writes a file of `docs`: what it is about, then the parts.
    pub(crate) fn write(&self, file: &str, head: &str) {
        // As of this run: the project may have moved since it was compiled.
        let project = env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_not_by_cargo| ".".to_owned());
        let text = format!("{head}\n{}\n{}", machine(), self.text);
        fs::write(Path::new(&project).join("docs").join(file), text).unwrap();
    }
}
