//! Callbacks and what follows from them: their events until the broker has them, receipts, proofs, and how accounts
//! stand.

use super::codec::{self, Names, signed, time_in};
use super::{Settings, UnknownCause};
use crate::model::{
    Account, CALLBACK_WINDOW, CALLBACKS_KNOWN_MAX, Callback, Receipt, Record, ReportedEvent, SenderName, Seq, Time,
};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use std::sync::Arc;
use std::time::Duration;

type Result<T> = std::result::Result<T, UnknownCause>;

/// For how long a callback is kept.
pub(super) fn window(settings: &Settings) -> Duration {
    settings.dedup_window.max(CALLBACK_WINDOW)
}

fn run_one(connection: &Connection, record: &'static str, number: u64, sql: &str, values: &[&dyn ToSql]) -> Result<()> {
    let changed = connection.prepare_cached(sql)?.execute(values)?;
    if changed == 1 { Ok(()) } else { Err(UnknownCause::Contradiction { record, number }) }
}

pub(super) fn reported(connection: &Connection, number: u64, at: Time, callback: &Callback) -> Result<()> {
    const SQL: &str = "INSERT INTO callback (at, key, sender, signals) VALUES (?1, ?2, ?3, ?4)";
    const EVENT_SQL: &str = "INSERT INTO event (number, word, payload) VALUES (?1, ?2, ?3)";
    // What is made of names, numbers and JSON can be written as JSON.
    let signals = serde_json::to_string(&callback.signals).unwrap_or_else(|_| "[]".to_owned());
    let sender = callback.sender.as_ref().map(SenderName::as_str);
    connection.prepare_cached(SQL)?.execute(params![time_in(at), &callback.key[..], sender, signals])?;
    for (number, event) in (number..).zip(&callback.events) {
        let payload = serde_json::to_string(event).unwrap_or_default();
        let number = signed("Reported", number)?;
        connection.prepare_cached(EVENT_SQL)?.execute(params![number, event.event, payload])?;
    }
    Ok(())
}

/// An event is kept for its publication alone: it may hold personal data.
pub(super) fn published(connection: &Connection, number: u64) -> Result<()> {
    const SQL: &str = "DELETE FROM event WHERE number = ?1";
    run_one(connection, "EventPublished", number, SQL, params![signed("EventPublished", number)?])
}

pub(super) fn receipt(connection: &Connection, seq: Seq, receipt: &Receipt) -> Result<()> {
    const SQL: &str = "UPDATE outcome SET state = ?2, receipt_at = ?3, receipt_error = ?4, receipt_text = ?5
        WHERE seq = ?1";
    let Receipt { state, at, error, text } = receipt;
    let values = params![signed("Receipt", seq.0)?, state.as_str(), time_in(*at), error, text.as_deref()];
    run_one(connection, "Receipt", seq.0, SQL, values)
}

pub(super) fn proven(connection: &Connection, seq: Seq, at: Time, msg_id: Option<&str>) -> Result<()> {
    const SQL: &str = "INSERT OR REPLACE INTO proof (n, at, msg_id) VALUES (?1, ?2, ?3)";
    run_one(connection, "Proven", seq.0, SQL, params![signed("Proven", seq.0)?, time_in(at), msg_id])
}

pub(super) fn presence(connection: &Connection, account: &Account, at: Time, online: bool) -> Result<()> {
    const SQL: &str = "INSERT OR REPLACE INTO presence (account, at, online) VALUES (?1, ?2, ?3)";
    run_one(connection, "Presence", 0, SQL, params![account.as_str(), time_in(at), online])
}

pub(super) fn cooled_down(connection: &Connection, account: &Account, at: Time, until: Time, times: u32) -> Result<()> {
    const SQL: &str = "INSERT OR REPLACE INTO cool_down (account, at, until, times) VALUES (?1, ?2, ?3, ?4)";
    run_one(connection, "CooledDown", 0, SQL, params![account.as_str(), time_in(at), time_in(until), times])
}

/// Events by their numbers, in the order asked for.
pub(super) fn load(connection: &Connection, numbers: &[u64]) -> codec::Result<Vec<ReportedEvent>> {
    const SQL: &str = "SELECT word, payload FROM event WHERE number = ?1";
    let mut events = Vec::with_capacity(numbers.len());
    if numbers.is_empty() {
        return Ok(events);
    }
    let mut statement = connection.prepare_cached(SQL)?;
    for &number in numbers {
        let Ok(key) = i64::try_from(number) else { continue };
        let event = statement.query_row([key], |row| {
            let (word, payload) = (codec::text(row, 0)?, Bytes::from(row.get::<_, String>(1)?));
            Ok(ReportedEvent { number, word, payload })
        });
        events.extend(event.optional()?);
    }
    Ok(events)
}

/// How accounts stand at their senders.
pub(super) fn replay_accounts(
    connection: &Connection,
    names: &mut Names,
    sink: &mut impl FnMut(Record),
) -> codec::Result<()> {
    const PRESENCE_SQL: &str = "SELECT account, at, online FROM presence WHERE NOT online ORDER BY account";
    const COOL_DOWN_SQL: &str = "SELECT account, at, until, times FROM cool_down WHERE times > 0 ORDER BY account";
    let mut statement = connection.prepare(PRESENCE_SQL)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let account = names.account(row, 0)?;
        sink(Record::Presence { account, at: codec::time_out(row.get(1)?), online: row.get(2)? });
    }
    let mut statement = connection.prepare(COOL_DOWN_SQL)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (account, at, until) = (names.account(row, 0)?, codec::time_out(row.get(1)?), codec::time_out(row.get(2)?));
        sink(Record::CooledDown { account, at, until, times: row.get(3)? });
    }
    Ok(())
}

/// Callbacks that are still known, and events that are still open.
pub(super) fn replay(
    connection: &Connection,
    now: Time,
    settings: &Settings,
    sink: &mut impl FnMut(Record),
) -> codec::Result<()> {
    const SQL: &str = "SELECT at, key, sender, signals FROM
        (SELECT n, at, key, sender, signals FROM callback WHERE at >= ?1 ORDER BY n DESC LIMIT ?2) ORDER BY n";
    let mut statement = connection.prepare(SQL)?;
    let most = i64::try_from(CALLBACKS_KNOWN_MAX).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![time_in(now - window(settings)), most])?;
    while let Some(row) = rows.next()? {
        let written: String = row.get(3)?;
        let Ok(signals) = serde_json::from_str(&written) else { return codec::bad(3, "signals", written) };
        let callback = Callback {
            sender: codec::maybe_text(row, 2)?.map(|name| SenderName::new(&name)),
            key: row.get(1)?,
            events: Vec::new(),
            signals,
        };
        sink(Record::Reported { number: 0, at: codec::time_out(row.get(0)?), callback: Arc::new(callback) });
    }
    let mut statement = connection.prepare("SELECT number FROM event ORDER BY number")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        sink(Record::EventOpen { number: codec::unsigned(row.get(0)?) });
    }
    Ok(())
}
