//! Every message of a list, checked by the bridge's own parser before the first one leaves.

use super::compose::Recipe;
use super::json::{Members, quote};
use super::table::{Flaw, Row};
use crate::intake::{PacketMeta, Settings, parse_request};
use crate::model::{Input, MessageId, Time};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One message that would be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) row: u64,
    /// As JSON text.
    pub(super) id: String,
    pub(super) account: String,
    pub(super) not_before: Option<Time>,
    pub(super) priority: u8,
    pub(super) payload: Bytes,
}

impl Item {
    /// Equal for ids that are one to the bridge: it answers with the spelling that it met first.
    pub(super) fn key(&self) -> String {
        MessageId::from_json(&self.id).key().into_owned()
    }
}

/// What the bridge takes when nobody names a priority.
const DEFAULT_PRIORITY: u8 = 4;

/// Composes and checks every row.
pub(super) struct Planner<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) intake: &'a Settings,
    pub(super) suffix: &'a str,
    /// Without its folder: ids are made of it.
    pub(super) file_name: &'a str,
}

impl Planner<'_> {
    /// The messages that would be taken, and what is wrong with the others.
    pub(super) fn plan(&self, rows: &[Row]) -> (Vec<Item>, Vec<Flaw>) {
        let mut items = Vec::with_capacity(rows.len());
        let mut flaws = Vec::new();
        // How often the same content came before: two equal rows are two messages.
        let mut seen: BTreeMap<[u8; 32], u64> = BTreeMap::new();
        let mut ids: BTreeMap<String, u64> = BTreeMap::new();
        for row in rows {
            let item = self.compose(row, &mut seen).and_then(|members| self.check(row.number, &members));
            let item = item.and_then(|item| match ids.get(&item.key()) {
                // Answers name the id alone.
                Some(earlier) => Err(format!("id {} is the id of row {earlier} too: give each its own", item.id)),
                None => Ok(item),
            });
            match item {
                Ok(item) => {
                    ids.insert(item.key(), item.row);
                    items.push(item);
                }
                Err(what) => flaws.push(Flaw { number: Some(row.number), what }),
            }
        }
        (items, flaws)
    }

    fn compose(&self, row: &Row, seen: &mut BTreeMap<[u8; 32], u64>) -> Result<Members, String> {
        let mut members = self.recipe.compose(Some(row)).map_err(|error| error.to_string())?;
        if members.get("id").is_none() {
            let content: [u8; 32] = Sha256::digest(members.to_string()).into();
            let occurrence = seen.entry(content).or_default();
            *occurrence += 1;
            members.set("id", quote(&derived_id(self.file_name, &content, *occurrence)));
        }
        Ok(members)
    }

    /// Checks a message as the bridge would.
    ///
    /// # Errors
    /// The bridge's refusal, in its words.
    pub(super) fn check(&self, row: u64, members: &Members) -> Result<Item, String> {
        let payload = Bytes::from(members.to_string());
        let meta = PacketMeta { qos: 1, ..PacketMeta::default() };
        let parsed = parse_request(self.intake, Some(self.suffix), meta, &payload);
        if let Input::Refused { refusal, .. } = &parsed {
            return Err(refusal.fault.to_string());
        }
        let Input::Request { request, .. } = parsed else { unreachable!("a request or a refusal: {parsed:?}") };
        Ok(Item {
            row,
            id: request.id.as_json().to_owned(),
            account: request.account.as_str().to_owned(),
            not_before: request.options.not_before,
            priority: request.options.priority.unwrap_or(DEFAULT_PRIORITY),
            payload,
        })
    }
}

/// The same for the same content in a file of the same name, and another one for its next occurrence in it. Not the
/// row's number, so that a row that is put in before does not make new messages of all that follow.
fn derived_id(file_name: &str, content: &[u8; 32], occurrence: u64) -> String {
    let mut digest = Sha256::new();
    digest.update((file_name.len() as u64).to_le_bytes());
    digest.update(file_name);
    digest.update(content);
    digest.update(occurrence.to_le_bytes());
    hex(&digest.finalize()[..16])
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
