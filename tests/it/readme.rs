//! The README in two languages: both say the same, and both say what the program does.

use sendbridge::intake::command::{COMMON, fields_of};
use sendbridge::model::{ALARMS, AccountState, Code, Command, EVENTS, HoldReason};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ENGLISH: &str = "README.md";
const CHINESE: &str = "README.zh-CN.md";

/// Where commands go when nothing is configured.
const REQUESTS: &str = "sendbridge/request/";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    let path = root().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A page taken apart into what must be the same in every language.
struct Page {
    name: &'static str,
    text: String,
    /// The level of each heading, in order.
    headings: Vec<usize>,
    /// Each block of code with its fences, in order.
    blocks: Vec<String>,
    /// The rows of each table, in order, head and rule included.
    tables: Vec<Vec<String>>,
    /// Everything else and all of these but the blocks, as one line: what is in backticks may be broken over two.
    prose: String,
}

impl Page {
    fn read(name: &'static str) -> Self {
        let text = read(name);
        let (mut headings, mut blocks, mut tables, mut prose) = (Vec::new(), Vec::new(), Vec::new(), String::new());
        let mut open: Option<String> = None;
        let mut is_in_table = false;
        for line in text.lines() {
            let is_fence = line.starts_with("```");
            if let Some(block) = &mut open {
                block.push('\n');
                block.push_str(line);
                if is_fence {
                    blocks.extend(open.take());
                }
                continue;
            }
            if is_fence {
                open = Some(line.to_owned());
                is_in_table = false;
                continue;
            }
            let level = line.bytes().take_while(|byte| *byte == b'#').count();
            if level > 0 && line[level..].starts_with(' ') {
                headings.push(level);
            }
            if line.starts_with('|') {
                if !is_in_table {
                    tables.push(Vec::new());
                }
                tables.last_mut().expect("a table").push(line.to_owned());
            }
            is_in_table = line.starts_with('|');
            prose.push_str(line);
            prose.push(' ');
        }
        assert!(open.is_none(), "{name}: a block of code does not end");
        Self { name, text, headings, blocks, tables, prose }
    }

    fn both() -> [Self; 2] {
        [Self::read(ENGLISH), Self::read(CHINESE)]
    }

    /// What stands in backticks outside of blocks: names that are the same in every language.
    fn names(&self) -> BTreeSet<&str> {
        let parts: Vec<&str> = self.prose.split('`').collect();
        assert!(parts.len() % 2 == 1, "{}: a backtick has no partner", self.name);
        parts.into_iter().skip(1).step_by(2).collect()
    }

    /// Where links lead, in order, those to the page in the other language apart.
    fn links(&self) -> Vec<&str> {
        let targets = self.prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        targets.filter(|target| ![ENGLISH, CHINESE].contains(target)).collect()
    }

    /// The rows that begin with `name` in backticks, and with nothing else in their first cell.
    fn rows_of(&self, name: &str) -> Vec<&str> {
        let start = format!("| `{name}` |");
        self.tables.iter().flatten().map(String::as_str).filter(|row| row.starts_with(&start)).collect()
    }
}

#[test]
fn both_pages_have_the_same_shape() {
    let [english, chinese] = Page::both();
    assert_eq!(english.headings, chinese.headings, "the levels of the headings");
    assert_eq!(english.blocks.len(), chinese.blocks.len(), "blocks of code");
    for (ours, theirs) in english.blocks.iter().zip(&chinese.blocks) {
        assert_eq!(ours, theirs, "a block of code");
    }
    let rows = |page: &Page| page.tables.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(rows(&english), rows(&chinese), "the rows of each table");
    assert_eq!(english.links(), chinese.links(), "the links");
    assert!(english.headings.len() > 10 && english.blocks.len() > 10 && english.tables.len() > 5, "nothing was read");
}

#[test]
fn both_pages_name_the_same_things() {
    let [english, chinese] = Page::both();
    let (ours, theirs) = (english.names(), chinese.names());
    let missing: Vec<_> = ours.difference(&theirs).collect();
    assert!(missing.is_empty(), "{CHINESE} does not name {missing:#?}");
    let missing: Vec<_> = theirs.difference(&ours).collect();
    assert!(missing.is_empty(), "{ENGLISH} does not name {missing:#?}");
}

#[test]
fn each_page_links_the_other_at_its_top_and_links_lead_somewhere() {
    for (page, other) in Page::both().iter().zip([CHINESE, ENGLISH]) {
        let top: Vec<&str> = page.text.lines().take(5).collect();
        let is_linked = top.iter().any(|line| line.contains(&format!("]({other})")));
        assert!(is_linked, "{} does not begin with a link to {other}", page.name);
        for target in page.links() {
            assert!(root().join(Path::new(target)).exists(), "{} links {target}, which is not there", page.name);
        }
    }
}

#[test]
fn every_word_that_an_operator_meets_is_explained_on_both_pages() {
    let states = [AccountState::Idle, AccountState::Sending, AccountState::Waiting, AccountState::Held]
        .map(|state| serde_json::to_value(state).expect("a word").as_str().expect("a word").to_owned());
    for page in Page::both() {
        let names = page.names();
        let words = ALARMS
            .into_iter()
            .chain(EVENTS)
            .chain(Command::NAMES)
            .chain(HoldReason::WORDS)
            .chain(Code::ALL.map(Code::as_str));
        let missing: Vec<&str> =
            words.chain(states.iter().map(String::as_str)).filter(|word| !names.contains(word)).collect();
        assert!(missing.is_empty(), "{} does not name {missing:#?}", page.name);
    }
}

#[test]
fn every_command_has_a_row_with_all_its_fields() {
    for page in Page::both() {
        for command in Command::NAMES {
            let rows = page.rows_of(command);
            assert_eq!(rows.len(), 1, "{}: rows of the command {command}", page.name);
            for field in fields_of(command) {
                let (name, row) = (field.name, rows[0]);
                assert!(row.contains(&format!("`{name}`")), "{}: {command} takes {name}, its row does not", page.name);
            }
        }
        for field in COMMON {
            assert_eq!(page.rows_of(field.name).len(), 1, "{}: rows of the field {}", page.name, field.name);
        }
    }
}

#[test]
fn the_commands_that_are_shown_take_the_fields_that_they_are_given() {
    let page = Page::read(ENGLISH);
    let mut shown = 0;
    for line in page.blocks.iter().flat_map(|block| block.lines()) {
        let (Some((_, rest)), Some((_, payload))) = (line.split_once(REQUESTS), line.split_once(" -m '")) else {
            continue;
        };
        let command = rest.split(' ').next().unwrap_or_default();
        assert!(Command::NAMES.contains(&command), "there is no command {command}: {line}");
        let payload = payload.strip_suffix('\'').unwrap_or_else(|| panic!("the payload does not end: {line}"));
        let payload: serde_json::Value =
            serde_json::from_str(payload).unwrap_or_else(|error| panic!("{error}: {line}"));
        for name in payload.as_object().unwrap_or_else(|| panic!("no object: {line}")).keys() {
            let is_known = fields_of(command).iter().chain(&COMMON).any(|field| field.name == name);
            assert!(is_known, "{command} does not take {name}: {line}");
        }
        shown += 1;
    }
    assert!(shown > 10, "the commands were not found");
}

/// Every key of the configuration that explains itself, with its table: also those that are commented out.
fn configuration_keys() -> BTreeSet<(String, String)> {
    let (mut keys, mut table) = (BTreeSet::new(), String::new());
    for line in read("config/sendbridge.toml").lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if line.starts_with('[') && line.ends_with(']') {
            table = line.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && !key.is_empty()
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            keys.insert((table.clone(), key.to_owned()));
        }
    }
    assert!(keys.len() > 50, "the configuration was not read: {keys:?}");
    keys
}

/// Whether a text has this word, and not only as a part of another one.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
}

#[test]
fn a_key_of_the_configuration_that_one_page_names_is_on_the_other_too() {
    let [english, chinese] = Page::both();
    let mut named = 0;
    for (table, key) in configuration_keys() {
        // A key of one word is also an everyday word: it counts only with its table before it.
        let forms =
            if key.contains('_') { vec![format!("{table}.{key}"), key] } else { vec![format!("{table}.{key}")] };
        for form in forms {
            let is_in = [&english, &chinese].map(|page| has_word(&page.text, &form));
            assert_eq!(is_in[0], is_in[1], "{form}: in {ENGLISH} {}, in {CHINESE} {}", is_in[0], is_in[1]);
            named += usize::from(is_in[0]);
        }
    }
    assert!(named > 20, "no key was found");
}
