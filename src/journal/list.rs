//! The answer to `message/list`: messages that meet a selection, newest first, one page at a time.
//!
//! First those that are still in the table `message`, then the history, each from its end. A page that was moved to the
//! history while somebody turns pages may be seen twice; nothing is left out.

use super::ReadError;
use super::codec;
use super::query::{HISTORY, MESSAGE, Reader, Row, Rows};
use crate::model::{Account, MessageId, Page, Selection, State};
use std::collections::BTreeSet;

/// Rows that one question looks at: a reader that takes long keeps the log from shrinking, and others waiting.
const LOOKS_MAX: u32 = 50_000;

/// What the rows of one page may take on a topic, roughly: below the largest packet of the bridge's connection.
const PAGE_BYTES_MAX: usize = 512 * 1024;
/// Of each, beside its texts.
const ROW_BYTES: usize = 500;

/// Where in [`MESSAGE`] and [`HISTORY`] the conversation is, and the row's place in its table.
const CONVERSATION: usize = 19;
const PLACE: usize = 20;

/// Which messages are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) selection: &'a Selection,
    /// The accounts of the selection's company.
    pub(super) members: &'a BTreeSet<Account>,
    /// Any, where there is none.
    pub(super) states: &'a [State],
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) rows: Vec<Row>,
    /// False when the page is not full because the question has looked at as many rows as it may.
    pub(super) complete: bool,
    pub(super) next: Option<String>,
}

/// Where a page begins: before this row of one of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Message(i64),
    History(i64),
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let (table, number) = text.split_at_checked(1)?;
        let number = number.parse().ok().filter(|number| *number > 0)?;
        match table {
            "m" => Some(Self::Message(number)),
            "h" => Some(Self::History(number)),
            _ => None,
        }
    }

    fn show(self) -> String {
        match self {
            Self::Message(before) => format!("m{before}"),
            Self::History(before) => format!("h{before}"),
        }
    }
}

/// How far a page has come.
struct Turn {
    listed: Listed,
    limit: usize,
    looks: u32,
    bytes: usize,
}

impl Turn {
    fn is_over(&self) -> bool {
        self.listed.rows.len() >= self.limit || self.looks >= LOOKS_MAX || self.bytes >= PAGE_BYTES_MAX
    }
}

impl Reader {
    /// One page. `None` when `page.after` is none that a page before could have given.
    pub(super) fn list(&self, wanted: Wanted<'_>, page: &Page) -> Result<Option<Listed>, ReadError> {
        let Some(place) = page.after.as_deref().map_or(Some(Place::Message(i64::MAX)), Place::parse) else {
            return Ok(None);
        };
        let failed = |error| ReadError { what: "messages", error };
        let mut turn = Turn { listed: Listed::default(), limit: page.limit.max(1), looks: 0, bytes: 0 };
        let mut place = Some(place);
        if let Some(Place::Message(before)) = place {
            place = self.look(wanted, Place::Message(before), &mut turn).map_err(failed)?;
            // Where the first table ends, the second begins.
            place = place.or(Some(Place::History(i64::MAX)));
        }
        if let Some(Place::History(before)) = place
            && !turn.is_over()
        {
            place = self.look(wanted, Place::History(before), &mut turn).map_err(failed)?;
        }
        let Turn { mut listed, limit, bytes, .. } = turn;
        listed.complete = place.is_none() || listed.rows.len() >= limit || bytes >= PAGE_BYTES_MAX;
        listed.next = place.map(Place::show);
        Ok(Some(listed))
    }

    /// Looks through one table. Returns where it stopped, or `None` at the end.
    fn look(&self, wanted: Wanted<'_>, place: Place, turn: &mut Turn) -> codec::Result<Option<Place>> {
        let (select, key, before) = match place {
            Place::Message(before) => (MESSAGE, "m.seq", before),
            Place::History(before) => (HISTORY, "m.n", before),
        };
        let sql = format!("{select} WHERE {key} < ?1 ORDER BY {key} DESC LIMIT ?2");
        let mut statement = self.connection().prepare_cached(&sql)?;
        let mut rows_of = Rows::of(self.connection());
        let mut rows = statement.query((before, LOOKS_MAX))?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(PLACE)?;
            turn.looks += 1;
            if meets(row, wanted)? {
                let mut found = rows_of.row(row)?;
                if !found.state.is_final() && !wanted.states.is_empty() {
                    found.attempts = rows_of.attempts(found.seq)?;
                    found.derive_state();
                }
                if may_be_in(found.state, wanted.states) {
                    turn.bytes += ROW_BYTES + found.fault.as_ref().map_or(0, |fault| fault.message.len());
                    turn.listed.rows.push(found);
                }
            }
            if turn.is_over() {
                return Ok(Some(match place {
                    Place::Message(_) => Place::Message(number),
                    Place::History(_) => Place::History(number),
                }));
            }
        }
        Ok(None)
    }
}

/// Whether a row meets the selection and may be in one of the states, as far as it can tell by itself.
fn meets(row: &rusqlite::Row<'_>, wanted: Wanted<'_>) -> codec::Result<bool> {
    let Wanted { selection, members, states } = wanted;
    let text = |index: usize| row.get_ref(index)?.as_str_or_null().map_err(rusqlite::Error::from);
    if let Some(id) = &selection.id
        && text(1)?.map(MessageId::from_json).as_ref() != Some(id)
    {
        return Ok(false);
    }
    let account = text(2)?.unwrap_or_default();
    if selection.account.as_ref().is_some_and(|wanted| wanted.as_str() != account)
        || (selection.corp.is_some() && !members.contains(&Account::new(account)))
    {
        return Ok(false);
    }
    if let Some(tag) = &selection.tag
        && text(4)? != Some(&**tag)
    {
        return Ok(false);
    }
    if let Some(conversation) = &selection.conversation
        && text(CONVERSATION)? != Some(&**conversation)
    {
        return Ok(false);
    }
    let state = codec::state(row, 6)?;
    Ok(states.is_empty() || states.contains(&state) || (!state.is_final() && states.iter().any(|one| !one.is_final())))
}

/// Whether a message in this state, as the journal sees it, may be wanted: one in doubt may wait to be sent again.
fn may_be_in(state: State, states: &[State]) -> bool {
    states.is_empty() || states.contains(&state) || (state == State::InDoubt && states.contains(&State::Queued))
}
