//! A list of messages as its file has it: CSV with a line of names, or one JSON object a line.

use super::json::{Members, unquote};
use std::fmt;
use std::path::Path;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How the file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Csv { delimiter: u8 },
    Jsonl,
}

impl Format {
    /// By the name of the file; everything that is not JSONL is CSV.
    pub(super) fn of(path: &Path, delimiter: u8) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if ["jsonl", "ndjson"].iter().any(|known| extension.eq_ignore_ascii_case(known)) {
            Self::Jsonl
        } else {
            Self::Csv { delimiter }
        }
    }
}

/// One message of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// As a spreadsheet counts: the line of names is 1. In JSONL the line.
    pub(super) number: u64,
    pub(super) cells: Cells,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cells {
    /// One text per column of the table.
    Texts(Vec<String>),
    Object(Members),
}

/// Why a row, or from row `number` on the whole file, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// `None` when it is about the file as a whole.
    pub(super) number: Option<u64>,
    pub(super) what: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "row {number}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// A list that was read, with the rows that could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// The names of a CSV's columns; empty for JSONL.
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Row>,
    pub(super) flaws: Vec<Flaw>,
}

impl Table {
    /// Reads a whole file.
    ///
    /// # Errors
    /// When it cannot be read at all. A flaw of one row is kept beside the rows.
    pub(super) fn read(bytes: &[u8], format: Format) -> Result<Self, Flaw> {
        if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
            return Err(whole("the file is UTF-16: save it as UTF-8 (in Excel \"CSV UTF-8\")"));
        }
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        match format {
            Format::Csv { delimiter } => read_csv(bytes, delimiter),
            Format::Jsonl => Ok(read_jsonl(bytes)),
        }
    }
}

fn whole(what: impl Into<String>) -> Flaw {
    Flaw { number: None, what: what.into() }
}

fn at(number: u64, what: impl Into<String>) -> Flaw {
    Flaw { number: Some(number), what: what.into() }
}

const NOT_UTF_8: &str = "not UTF-8: save the file as UTF-8 (in Excel \"CSV UTF-8\")";

fn read_csv(bytes: &[u8], delimiter: u8) -> Result<Table, Flaw> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(bytes);
    let mut record = csv::ByteRecord::new();
    let mut table = Table::default();
    let mut number = 0;
    while reader.read_byte_record(&mut record).map_err(|error| whole(error.to_string()))? {
        number += 1;
        let texts: Result<Vec<String>, _> =
            record.iter().map(|cell| std::str::from_utf8(cell).map(str::to_owned)).collect();
        let Ok(texts) = texts else {
            if number == 1 {
                return Err(at(1, NOT_UTF_8));
            }
            table.flaws.push(at(number, NOT_UTF_8));
            continue;
        };
        if number == 1 {
            table.columns = names(texts)?;
        } else if texts.len() != table.columns.len() && !texts.iter().all(String::is_empty) {
            let (found, wanted) = (texts.len(), table.columns.len());
            let what =
                format!("{found} columns where the first line has {wanted}: put a cell with a comma in it in quotes");
            table.flaws.push(at(number, what));
        } else if !texts.iter().all(String::is_empty) {
            table.rows.push(Row { number, cells: Cells::Texts(texts) });
        }
    }
    if table.columns.is_empty() {
        return Err(whole("the file is empty: its first line names the columns"));
    }
    if bytes.iter().filter(|byte| **byte == b'"').count() % 2 != 0 {
        // All that follows it would be one cell, and be sent as one text.
        let what = "a quote is opened and not closed in this row or before it: close it, and write a quote inside a \
                    cell twice";
        return Err(at(number, what));
    }
    Ok(table)
}

fn names(texts: Vec<String>) -> Result<Vec<String>, Flaw> {
    let names: Vec<String> = texts.into_iter().map(|name| name.trim().to_owned()).collect();
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err(at(1, format!("column {} has no name: the first line names every column", index + 1)));
        }
        if let Some(earlier) = names[..index].iter().find(|earlier| earlier.eq_ignore_ascii_case(name)) {
            return Err(at(1, format!("two columns are named {earlier:?}: case does not count")));
        }
    }
    Ok(names)
}

fn read_jsonl(bytes: &[u8]) -> Table {
    let mut table = Table::default();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index as u64 + 1;
        let Ok(text) = std::str::from_utf8(line) else {
            table.flaws.push(at(number, NOT_UTF_8));
            continue;
        };
        if text.trim().is_empty() {
            continue;
        }
        match Members::parse(text) {
            Ok(members) => table.rows.push(Row { number, cells: Cells::Object(members) }),
            Err(error) => {
                // The parser's words about types would quote the text.
                let what = if error.is_data() {
                    "not a JSON object: put the fields between { and }".to_owned()
                } else {
                    format!("not valid JSON: {error}")
                };
                table.flaws.push(at(number, what));
            }
        }
    }
    table
}

impl Row {
    /// The text of a column, or of a field of an object; what is no string comes as its JSON.
    pub(super) fn text(&self, columns: &[String], name: &str) -> Option<String> {
        match &self.cells {
            Cells::Texts(texts) => {
                let position = columns.iter().position(|column| column.eq_ignore_ascii_case(name))?;
                texts.get(position).cloned()
            }
            Cells::Object(members) => {
                let json = members.get(name)?;
                Some(unquote(json).unwrap_or_else(|| json.to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CSV: Format = Format::Csv { delimiter: b',' };

    fn texts(table: &Table) -> Vec<(u64, Vec<&str>)> {
        table
            .rows
            .iter()
            .map(|row| match &row.cells {
                Cells::Texts(texts) => (row.number, texts.iter().map(String::as_str).collect()),
                Cells::Object(_) => (row.number, Vec::new()),
            })
            .collect()
    }

    #[test]
    fn a_spreadsheet_is_read_as_it_is_meant() {
        let bytes = b"\xEF\xBB\xBFwxId,content\r\n1688850407900545,\"a, \"\"b\"\"\r\nc\"\r\n,\r\n2,\xE4\xBD\xA0\r\n";
        let table = Table::read(bytes, CSV).expect("a table");
        assert_eq!(table.columns, ["wxId", "content"]);
        assert_eq!(texts(&table), [(2, vec!["1688850407900545", "a, \"b\"\r\nc"]), (4, vec!["2", "你"])]);
        assert_eq!(table.flaws, []);
        let tabs = Table::read(b"a\tb\n1,2\t3\n", Format::Csv { delimiter: b'\t' }).expect("a table");
        assert_eq!(texts(&tabs), [(2, vec!["1,2", "3"])]);
    }

    #[test]
    fn a_bad_row_is_named_and_the_others_are_read() {
        let table = Table::read(b"a,b\n1,2\n\xFF,2\n1,2,3\n5,6\n", CSV).expect("a table");
        assert_eq!(table.rows.iter().map(|row| row.number).collect::<Vec<_>>(), [2, 5]);
        assert_eq!(table.flaws.iter().map(|flaw| flaw.number).collect::<Vec<_>>(), [Some(3), Some(4)]);
        assert!(table.flaws[0].to_string().starts_with("row 3: not UTF-8"), "{}", table.flaws[0]);
    }

    #[test]
    fn a_file_that_would_be_misread_is_refused() {
        for (bytes, words) in [
            (&b""[..], "empty"),
            (b"\xFF\xFEa\0", "UTF-16"),
            (b"a,a\n1,2\n", "two columns"),
            (b"a,\n1,2\n", "column 2 has no name"),
            (b"a,b\n1,\"2\n3,4\n5,6\n", "row 2: a quote is opened"),
        ] {
            let flaw = Table::read(bytes, CSV).expect_err(words);
            assert!(flaw.to_string().contains(words), "{flaw}");
        }
    }

    #[test]
    fn objects_keep_their_numbers() {
        let bytes = b"{\"wxId\":\"1\",\"id\":9007199254740993}\r\n\r\n[1]\n{\"a\":\n{\"b\":true}";
        let table = Table::read(bytes, Format::of(Path::new("x.JSONL"), b',')).expect("a table");
        let numbers: Vec<u64> = table.rows.iter().map(|row| row.number).collect();
        assert_eq!(numbers, [1, 5]);
        assert_eq!(table.rows[0].text(&[], "ID").as_deref(), Some("9007199254740993"));
        assert_eq!(table.rows[0].text(&[], "wxid").as_deref(), Some("1"));
        assert_eq!(table.flaws.iter().map(|flaw| flaw.number).collect::<Vec<_>>(), [Some(3), Some(4)]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Table::read(&bytes, CSV);
            let _ = Table::read(&bytes, Format::Jsonl);
        }

        #[test]
        fn what_was_written_is_read(cells in prop::collection::vec(prop::collection::vec(".*", 3), 1..8)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["a", "b", "c"]).expect("memory");
            for row in &cells {
                writer.write_record(row).expect("memory");
            }
            let bytes = writer.into_inner().expect("memory");
            let table = Table::read(&bytes, CSV).expect("a table");
            let wanted = cells.iter().filter(|row| !row.iter().all(String::is_empty));
            let wanted: Vec<Vec<&str>> = wanted.map(|row| row.iter().map(String::as_str).collect()).collect();
            let found: Vec<Vec<&str>> = texts(&table).into_iter().map(|(_, texts)| texts).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
