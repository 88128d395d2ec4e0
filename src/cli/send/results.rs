//! The results file: one row per message that has its final answer, written as answers arrive.
//!
//! Every record is one line, so that a line that a crash cut off can be told, and is cut away at the next start.

use crate::model::Time;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

const NAMES: [&str; 8] = ["row", "id", "outcome", "msgId", "message", "possiblyDuplicate", "publishedAt", "answeredAt"];
/// The word for success; every other outcome is the code of an error.
pub(super) const SENT: &str = "sent";

/// How a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// `sent`, or the code of the error.
    pub(super) word: String,
    pub(super) msg_id: Option<String>,
    pub(super) message: Option<String>,
    /// `None` where the answer does not say: that of a sent message has room for its `msgId` only.
    pub(super) possibly_duplicate: Option<bool>,
}

impl Outcome {
    /// Reads an answer of the bridge. `None` when it is none.
    pub(super) fn of_answer(answer: &Value) -> Option<Self> {
        let object = answer.as_object()?;
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        match object.get("error") {
            None => object.contains_key("msgId").then(|| Self {
                word: SENT.to_owned(),
                msg_id: text(answer, "msgId"),
                message: None,
                possibly_duplicate: None,
            }),
            Some(error) => Some(Self {
                word: text(error, "code")?,
                msg_id: None,
                message: text(error, "message"),
                possibly_duplicate: Some(error.get("possiblyDuplicate").and_then(Value::as_bool).unwrap_or(false)),
            }),
        }
    }

    pub(super) fn is_sent(&self) -> bool {
        self.word == SENT
    }
}

/// An open results file.
pub(super) struct Results {
    file: BufWriter<File>,
}

/// What a results file says already: the outcome of each row.
pub(super) type Known = BTreeMap<u64, String>;

impl Results {
    /// Begins an empty file.
    ///
    /// # Errors
    /// When there is one already, or none can be made.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut results = Self { file: BufWriter::new(OpenOptions::new().create_new(true).write(true).open(path)?) };
        results.file.write_all(line(&NAMES).as_bytes())?;
        results.flush()?;
        Ok(results)
    }

    /// Goes on with a file, behind its last whole line.
    ///
    /// # Errors
    /// When it cannot be read or is no results file.
    pub(super) fn reopen(path: &Path) -> io::Result<(Self, Known)> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
        bytes.truncate(whole);
        let known = read(&bytes)?;
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        let mut results = Self { file: BufWriter::new(file) };
        if whole == 0 {
            results.file.write_all(line(&NAMES).as_bytes())?;
        }
        Ok((results, known))
    }

    /// Adds a row. It is safe from a crash of this process after [`flush`](Self::flush).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn add(
        &mut self,
        row: u64,
        id: &str,
        outcome: &Outcome,
        published_at: Option<Time>,
        at: Time,
    ) -> io::Result<()> {
        let id = super::json::unquote(id).unwrap_or_else(|| id.to_owned());
        let fields = [
            row.to_string(),
            id,
            outcome.word.clone(),
            outcome.msg_id.clone().unwrap_or_default(),
            outcome.message.clone().unwrap_or_default(),
            outcome.possibly_duplicate.map(|is| is.to_string()).unwrap_or_default(),
            published_at.map(|at| at.to_string()).unwrap_or_default(),
            at.to_string(),
        ];
        self.file.write_all(line(&fields).as_bytes())
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Makes everything safe from a power cut.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.get_ref().sync_all()
    }
}

/// One record in one line: what would break it becomes a space.
fn line(fields: &[impl AsRef<str>]) -> String {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    let plain = fields.iter().map(|field| field.as_ref().replace(|c: char| c.is_control(), " "));
    // Memory takes everything, and what went in as text comes out as text.
    let _ = writer.write_record(plain);
    writer.into_inner().ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

fn read(bytes: &[u8]) -> io::Result<Known> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
    let mut known = Known::new();
    for (index, record) in reader.byte_records().enumerate() {
        let record = record.map_err(|error| invalid(error.to_string()))?;
        let field = |position: usize| record.get(position).and_then(|bytes| std::str::from_utf8(bytes).ok());
        if index == 0 {
            if !record.iter().eq(NAMES.iter().map(|name| name.as_bytes())) {
                return Err(invalid("its first line is not that of a results file".to_owned()));
            }
            continue;
        }
        let (Some(row), Some(word)) = (field(0).and_then(|row| row.parse().ok()), field(2)) else {
            return Err(invalid(format!("its line {} is not that of a results file", index + 1)));
        };
        known.insert(row, word.to_owned());
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: Time = Time::from_millis(1_700_000_000_123);

    fn outcome(word: &str, message: &str) -> Outcome {
        let message = (!message.is_empty()).then(|| message.to_owned());
        Outcome { word: word.to_owned(), msg_id: None, message, possibly_duplicate: Some(true) }
    }

    #[test]
    fn a_line_that_a_crash_cut_off_is_cut_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results.csv");
        let mut results = Results::create(&path).expect("a file");
        results.add(2, "\"a,b\"", &outcome("REFUSED", "no \"way\"\r\nat all"), Some(AT), AT).expect("room");
        results.sync().expect("room");
        let whole = std::fs::read_to_string(&path).expect("text");
        let times = "2023-11-14T22:13:20.123Z,2023-11-14T22:13:20.123Z";
        assert!(whole.ends_with(&format!("2,\"a,b\",REFUSED,,\"no \"\"way\"\"  at all\",true,{times}\n")), "{whole}");
        std::fs::write(&path, format!("{whole}3,x,sent,\"half")).expect("room");
        let (mut results, known) = Results::reopen(&path).expect("a file");
        assert_eq!(known, BTreeMap::from([(2, "REFUSED".to_owned())]));
        results.add(3, "9007199254740993", &outcome(SENT, ""), None, AT).expect("room");
        results.flush().expect("room");
        let (_, known) = Results::reopen(&path).expect("a file");
        assert_eq!(known, BTreeMap::from([(2, "REFUSED".to_owned()), (3, SENT.to_owned())]));
        assert!(Results::create(&path).is_err(), "it is there already");
    }

    #[test]
    fn another_file_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results.csv");
        for text in
            ["wxId,content\n1,2\n", "row,id,outcome,msgId,message,possiblyDuplicate,publishedAt,answeredAt\nx\n"]
        {
            std::fs::write(&path, text).expect("room");
            assert!(Results::reopen(&path).is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(&path).expect("text"), text, "untouched");
        }
    }

    #[test]
    fn answers_are_told_apart() {
        let read = |text: &str| Outcome::of_answer(&serde_json::from_str(text).expect("JSON"));
        let sent = read(r#"{"id":"1","msgId":"7B"}"#).expect("an answer");
        assert_eq!((sent.is_sent(), sent.msg_id.as_deref()), (true, Some("7B")));
        assert!(read(r#"{"id":"1","msgId":null}"#).expect("an answer").is_sent());
        let failed = read(r#"{"id":"1","error":{"code":"UNRESOLVED","message":"m","possiblyDuplicate":true}}"#);
        assert_eq!(failed, Some(outcome("UNRESOLVED", "m")));
        assert_eq!(read(r#"{"id":"1"}"#), None);
        assert_eq!(read("[]"), None);
    }

    proptest! {
        #[test]
        fn any_words_are_read_back(rows in prop::collection::btree_map(any::<u64>(), ("[A-Z_]{1,12}", ".*", ".*"), 0..8)) {
            let mut text = line(&NAMES);
            for (row, (word, id, message)) in &rows {
                text.push_str(&line(&[&row.to_string(), id, word, "", message, "", "", ""]));
            }
            let wanted: Known = rows.into_iter().map(|(row, (word, ..))| (row, word)).collect();
            prop_assert_eq!(read(text.as_bytes()).expect("ours"), wanted);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
