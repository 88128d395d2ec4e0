//! Applies records to the tables, one statement each where that can be, inside the writer's transaction.
//!
//! A record that finds another state than it speaks of is a [`UnknownCause::Contradiction`]: the engine and the disk
//! disagree about what happened, and going on would make it worse.

use super::codec::{self, FaultColumns, MessageColumns, VerdictColumns, signed, time_in};
use super::{UnknownCause, reports};
use crate::model::{
    Account, Block, CommandOrigin, Corp, Fingerprint, Hold, HoldId, LimitChange, LimitOverride, Message, MessageId,
    Options, Origin, Outcome, Record, Refusal, ReplyTo, Retry, Selection, Seq, Time, Verdict,
};
use rusqlite::{CachedStatement, Connection, ToSql, ffi, params};
use std::collections::BTreeMap;

type Result<T> = std::result::Result<T, UnknownCause>;

/// Which rows the attempts that have not ended yet are, so that their ends need not look for them. Those of an earlier
/// life are not in it.
pub(super) type OpenAttempts = BTreeMap<(Seq, u32), i64>;

/// Applies the records of one transaction.
pub(super) struct Append<'a> {
    connection: &'a Connection,
    /// What was run so far: looking a statement up by its text costs about as much as running it.
    prepared: Vec<(&'static str, CachedStatement<'a>)>,
    open: &'a mut OpenAttempts,
    /// Answers that were closed and are not written yet, with what is written of late ones: neighbours take one
    /// statement.
    answered: BTreeMap<Seq, Option<Time>>,
    /// The message whose attempt ended last: it is there.
    ended_last: Option<Seq>,
}

impl<'a> Append<'a> {
    pub(super) fn new(connection: &'a Connection, open: &'a mut OpenAttempts) -> Self {
        Self { connection, prepared: Vec::new(), open, answered: BTreeMap::new(), ended_last: None }
    }

    /// Writes what was only noted. To be called behind the last record.
    pub(super) fn end(&mut self) -> Result<()> {
        self.write_answered()
    }

    /// Applies one record.
    pub(super) fn apply(&mut self, record: &Record) -> Result<()> {
        let connection = self.connection;
        match record {
            Record::Accepted(message) => self.accepted(message),
            Record::Attempted { seq, attempt, at, account, corp, possibly_duplicate } => self.attempted(
                (*seq, *attempt),
                params![
                    signed("Attempted", seq.0)?,
                    attempt,
                    account.as_str(),
                    corp.as_str(),
                    possibly_duplicate,
                    time_in(*at)
                ],
            ),
            Record::Ended { seq, attempt, at, verdict } => self.ended(*seq, *attempt, *at, verdict),
            Record::Finished { seq, outcome } => self.finished(*seq, outcome),
            Record::Readdressed { seq, reply_to, again } => self.readdressed(*seq, reply_to.as_ref(), *again),
            Record::Answered { seq, known_from } => {
                self.answered.insert(*seq, *known_from);
                Ok(())
            }
            Record::Refused { number, at, refusal } => self.refused(*number, *at, refusal),
            Record::RefusalAnswered { number } => self.refusal_answered(*number),
            Record::Held(hold) => self.held(hold),
            Record::Released { hold, at, by } => self.released(*hold, *at, by.as_deref()),
            Record::Blocked(block) => self.blocked(block),
            Record::Unblocked { block, at, by } => self.unblocked(*block, *at, by.as_deref()),
            Record::LimitSet(set) => self.limit_set(set),
            Record::Located { account, corp, sender, at } => {
                const SQL: &str = "INSERT OR REPLACE INTO account (account, corp, sender, at) VALUES (?1, ?2, ?3, ?4)";
                self.run(SQL, params![account.as_str(), corp.as_str(), sender.as_str(), time_in(*at)])?;
                Ok(())
            }
            Record::Commanded { at, origin, fingerprint, reply } => self.commanded(*at, origin, fingerprint, reply),
            Record::Reported { number, at, callback } => reports::reported(connection, *number, *at, callback),
            Record::EventPublished { number } => reports::published(connection, *number),
            Record::Receipt { seq, receipt } => reports::receipt(connection, *seq, receipt),
            Record::Proven { seq, at, msg_id } => reports::proven(connection, *seq, *at, msg_id.as_deref()),
            Record::Presence { account, at, online } => reports::presence(connection, account, *at, *online),
            Record::CooledDown { account, at, until, times } => {
                reports::cooled_down(connection, account, *at, *until, *times)
            }
            // Only replayed: it is there already.
            Record::EventOpen { number } => Err(UnknownCause::Contradiction { record: "EventOpen", number: *number }),
            // Only replayed: it is made from attempts that are on disk already.
            Record::Spent { .. } => Err(UnknownCause::Contradiction { record: "Spent", number: 0 }),
        }
    }

    fn run(&mut self, sql: &'static str, values: &[&dyn ToSql]) -> Result<usize> {
        let known = self.prepared.iter().position(|(text, _)| std::ptr::eq(*text, sql));
        let place = match known {
            Some(place) => place,
            None => {
                self.prepared.push((sql, self.connection.prepare_cached(sql)?));
                self.prepared.len() - 1
            }
        };
        Ok(self.prepared[place].1.execute(values)?)
    }

    /// Runs what must change exactly one row.
    fn run_one(&mut self, record: &'static str, number: u64, sql: &'static str, values: &[&dyn ToSql]) -> Result<()> {
        if self.run(sql, values)? == 1 { Ok(()) } else { Err(UnknownCause::Contradiction { record, number }) }
    }

    fn accepted(&mut self, message: &Message) -> Result<()> {
        const SQL: &str = "INSERT INTO message (seq, received_at, expires_at, not_before, priority, on_doubt,
            id, kind, account, conversation, suffix, reply_topic, reply_correlation, weak, tag,
            asked_priority, asked_not_before, asked_lifetime, asked_until, asked_on_doubt, fingerprint, body_bytes,
            shown)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)";
        const BODY_SQL: &str = "INSERT INTO body (seq, body) VALUES (?1, ?2)";
        let seq = signed("Accepted", message.seq.0)?;
        let request = &message.request;
        let columns = MessageColumns::of(message);
        if request.options == Options::default() && request.origin == Origin::default() && message.not_before.is_none()
        {
            self.accepted_plain(seq, message, &columns)?;
            self.run(BODY_SQL, params![seq, &*request.body])?;
            return self.inherited(seq, message, &columns);
        }
        let (reply_topic, reply_correlation) = codec::reply_columns(request.origin.reply_to.as_ref());
        self.run(
            SQL,
            params![
                seq,
                columns.received_at,
                columns.expires_at,
                columns.not_before,
                message.priority,
                columns.on_doubt,
                request.id.as_json(),
                &*request.kind,
                request.account.as_str(),
                &*request.conversation,
                request.origin.suffix.as_deref(),
                reply_topic,
                reply_correlation,
                request.origin.weak,
                request.options.tag.as_deref(),
                request.options.priority,
                columns.asked_not_before,
                columns.asked_lifetime,
                columns.asked_until,
                columns.asked_on_doubt,
                &request.fingerprint[..],
                message.body_bytes,
                request.shown
            ],
        )?;
        // The body has a table of its own, so that a replay does not read it and erasing it frees whole pages.
        self.run(BODY_SQL, params![seq, &*request.body])?;
        self.inherited(seq, message, &columns)
    }

    /// A message without anything that it may have, as most are: each column that is named costs time.
    fn accepted_plain(&mut self, seq: i64, message: &Message, columns: &MessageColumns) -> Result<()> {
        const SQL: &str = "INSERT INTO message (seq, received_at, expires_at, priority, on_doubt, id, kind, account,
            conversation, weak, fingerprint, body_bytes, shown)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, ?10, ?11, ?12)";
        let request = &message.request;
        self.run(
            SQL,
            params![
                seq,
                columns.received_at,
                columns.expires_at,
                message.priority,
                columns.on_doubt,
                request.id.as_json(),
                &*request.kind,
                request.account.as_str(),
                &*request.conversation,
                &request.fingerprint[..],
                message.body_bytes,
                request.shown
            ],
        )?;
        Ok(())
    }

    /// What a message has from an earlier life.
    fn inherited(&mut self, seq: i64, message: &Message, columns: &MessageColumns) -> Result<()> {
        const RETRY_SQL: &str =
            "INSERT INTO retry (n, at, of, possibly_duplicate, in_doubt) VALUES (?1, ?2, ?3, ?4, ?5)";
        let Some(Retry { of, possibly_duplicate, in_doubt }) = message.retry else { return Ok(()) };
        let of = signed("Accepted", of.0)?;
        self.run(RETRY_SQL, params![seq, columns.received_at, of, possibly_duplicate, in_doubt])?;
        Ok(())
    }

    fn attempted(&mut self, attempt: (Seq, u32), values: &[&dyn ToSql]) -> Result<()> {
        const SQL: &str = "INSERT OR FAIL INTO attempt (seq, attempt, account, corp, possibly_duplicate, started_at)
            SELECT ?1, ?2, ?3, ?4, ?5, ?6 FROM message WHERE seq = ?1";
        self.run_one("Attempted", attempt.0.0, SQL, values)?;
        self.open.insert(attempt, self.connection.last_insert_rowid());
        Ok(())
    }

    fn ended(&mut self, seq: Seq, attempt: u32, at: Time, verdict: &Verdict) -> Result<()> {
        const SQL: &str =
            "UPDATE OR FAIL attempt SET ended_at = ?3, class = ?4, why = ?5, detail = ?6, http = ?7, code = ?8,
            msg = ?9, msg_id = ?10, retry_after = ?11 WHERE n = ?12 AND seq = ?1 AND attempt = ?2 AND ended_at IS NULL";
        const EARLIER_SQL: &str =
            "UPDATE OR FAIL attempt SET ended_at = ?3, class = ?4, why = ?5, detail = ?6, http = ?7, code = ?8,
            msg = ?9, msg_id = ?10, retry_after = ?11
            WHERE ?12 IS NULL AND seq = ?1 AND attempt = ?2 AND ended_at IS NULL";
        const CONFIRMED_SQL: &str = "UPDATE OR FAIL attempt SET ended_at = ?3, class = ?4, msg_id = ?5
            WHERE n = ?6 AND seq = ?1 AND attempt = ?2 AND ended_at IS NULL";
        let columns = VerdictColumns::of(verdict);
        let n = self.open.remove(&(seq, attempt));
        self.ended_last = Some(seq);
        if let (Some(n), Verdict::Confirmed { .. }) = (n, verdict) {
            let number = signed("Ended", seq.0)?;
            let values = params![number, attempt, time_in(at), columns.class, columns.msg_id, n];
            return self.run_one("Ended", seq.0, CONFIRMED_SQL, values);
        }
        self.run_one(
            "Ended",
            seq.0,
            if n.is_some() { SQL } else { EARLIER_SQL },
            params![
                signed("Ended", seq.0)?,
                attempt,
                time_in(at),
                columns.class,
                columns.why,
                columns.detail,
                columns.http,
                columns.code,
                columns.msg,
                columns.msg_id,
                columns.retry_after,
                n
            ],
        )
    }

    /// A second outcome replaces the first and is to be answered again: a late proof settles what was unresolved.
    fn finished(&mut self, seq: Seq, outcome: &Outcome) -> Result<()> {
        // The first one has a statement of its own: REPLACE and IGNORE make SQLite copy each page before it touches it.
        const FIRST_SQL: &str = "INSERT OR FAIL INTO outcome (seq, answered, state, at, msg_id, attempts,
            possibly_duplicate, fault_code, fault_message, fault_field, sender_http, sender_code, sender_msg)
            SELECT ?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 FROM message WHERE seq = ?1";
        const NEXT_SQL: &str = "INSERT OR REPLACE INTO outcome (seq, answered, state, at, msg_id, attempts,
            possibly_duplicate, fault_code, fault_message, fault_field, sender_http, sender_code, sender_msg)
            SELECT ?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 FROM message WHERE seq = ?1";
        // A message stays until its attempts have ended, so the one whose attempt has just ended is there.
        const ENDED_SQL: &str = "INSERT OR FAIL INTO outcome
            (seq, answered, state, at, msg_id, attempts, possibly_duplicate) VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6)";
        self.settle_answered(seq)?;
        let fault = FaultColumns::of(outcome.fault.as_ref());
        let number = signed("Finished", seq.0)?;
        let (state, at) = (outcome.state.as_str(), time_in(outcome.at));
        let msg_id = outcome.msg_id.as_deref();
        let values: &[&dyn ToSql] = params![
            number,
            state,
            at,
            msg_id,
            outcome.attempts,
            outcome.possibly_duplicate,
            fault.code,
            fault.message,
            fault.field,
            fault.sender_http,
            fault.sender_code,
            fault.sender_msg
        ];
        let is_plain = self.ended_last == Some(seq) && outcome.fault.is_none();
        let (first_sql, first_values) = if is_plain { (ENDED_SQL, &values[..6]) } else { (FIRST_SQL, values) };
        match self.run_one("Finished", seq.0, first_sql, first_values) {
            Err(UnknownCause::Database(error)) if is_taken(&error) => self.run_one("Finished", seq.0, NEXT_SQL, values),
            done => done,
        }
    }

    fn readdressed(&mut self, seq: Seq, reply_to: Option<&ReplyTo>, again: bool) -> Result<()> {
        const SQL: &str = "UPDATE message SET reply_topic = ?2, reply_correlation = ?3 WHERE seq = ?1";
        let (topic, correlation) = codec::reply_columns(reply_to);
        self.run_one("Readdressed", seq.0, SQL, params![signed("Readdressed", seq.0)?, topic, correlation])?;
        if again { self.reopened(seq, "Readdressed") } else { Ok(()) }
    }

    fn reopened(&mut self, seq: Seq, record: &'static str) -> Result<()> {
        const SQL: &str = "UPDATE OR FAIL outcome SET answered = 0 WHERE seq = ?1";
        self.settle_answered(seq)?;
        self.run_one(record, seq.0, SQL, params![signed(record, seq.0)?])
    }

    /// What was closed before is written before what opens it again.
    fn settle_answered(&mut self, seq: Seq) -> Result<()> {
        if self.answered.contains_key(&seq) { self.write_answered() } else { Ok(()) }
    }

    /// Closes the answers that were noted, neighbours together.
    fn write_answered(&mut self) -> Result<()> {
        const SQL: &str = "UPDATE OR FAIL outcome SET answered = 1, known_from = coalesce(?3, known_from)
            WHERE seq BETWEEN ?1 AND ?2";
        let answered: Vec<(Seq, Option<Time>)> = std::mem::take(&mut self.answered).into_iter().collect();
        for run in answered.chunk_by(|one, next| one.0.0 + 1 == next.0.0 && one.1 == next.1) {
            let (Some((first, known_from)), Some((last, _))) = (run.first(), run.last()) else { continue };
            let (first_seq, last_seq) = (signed("Answered", first.0)?, signed("Answered", last.0)?);
            let values = params![first_seq, last_seq, known_from.map(time_in)];
            if self.run(SQL, values)? != run.len() {
                return Err(UnknownCause::Contradiction { record: "Answered", number: first.0 });
            }
        }
        Ok(())
    }

    fn refused(&mut self, number: u64, at: Time, refusal: &Refusal) -> Result<()> {
        const SQL: &str = "INSERT INTO refusal (number, at, id, account, suffix, reply_topic, reply_correlation, weak,
            fault_code, fault_message, fault_field, sender_http, sender_code, sender_msg)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        let (reply_topic, reply_correlation) = codec::reply_columns(refusal.origin.reply_to.as_ref());
        let fault = FaultColumns::of(Some(&refusal.fault));
        self.run(
            SQL,
            params![
                signed("Refused", number)?,
                time_in(at),
                refusal.id.as_ref().map(|id| id.as_json()),
                refusal.account.as_ref().map(|account| account.as_str()),
                refusal.origin.suffix.as_deref(),
                reply_topic,
                reply_correlation,
                refusal.origin.weak,
                fault.code,
                fault.message,
                fault.field,
                fault.sender_http,
                fault.sender_code,
                fault.sender_msg
            ],
        )?;
        Ok(())
    }

    /// A refusal is kept for its answer alone, so that a flood of bad requests leaves nothing behind.
    fn refusal_answered(&mut self, number: u64) -> Result<()> {
        const SQL: &str = "DELETE FROM refusal WHERE number = ?1";
        self.run_one("RefusalAnswered", number, SQL, params![signed("RefusalAnswered", number)?])
    }

    /// A hold that is there already has another end.
    fn held(&mut self, hold: &Hold) -> Result<()> {
        const SQL: &str = "INSERT INTO hold (id, scope, subject, conversation, reason, by, since, until)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO UPDATE SET until = excluded.until";
        let (scope, subject, conversation) = codec::scope_columns(&hold.scope);
        self.run(
            SQL,
            params![
                signed("Held", hold.id.0)?,
                scope,
                subject,
                conversation,
                &*hold.reason,
                hold.by.as_deref(),
                time_in(hold.since),
                hold.until.map(time_in)
            ],
        )?;
        Ok(())
    }

    fn released(&mut self, hold: HoldId, at: Time, by: Option<&str>) -> Result<()> {
        const SQL: &str = "UPDATE hold SET released_at = ?2, released_by = ?3 WHERE id = ?1 AND released_at IS NULL";
        self.run_one("Released", hold.0, SQL, params![signed("Released", hold.0)?, time_in(at), by])
    }

    /// A block that is there already has another end.
    fn blocked(&mut self, block: &Block) -> Result<()> {
        const SQL: &str = "INSERT INTO block
            (id, message_id, account, conversation, corp, tag, reason, by, since, until)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO UPDATE SET until = excluded.until";
        let Selection { id, account, conversation, corp, tag } = &block.selection;
        self.run(
            SQL,
            params![
                signed("Blocked", block.id.0)?,
                id.as_ref().map(MessageId::as_json),
                account.as_ref().map(Account::as_str),
                conversation.as_deref(),
                corp.as_ref().map(Corp::as_str),
                tag.as_deref(),
                block.reason.as_deref(),
                block.by.as_deref(),
                time_in(block.since),
                time_in(block.until)
            ],
        )?;
        Ok(())
    }

    fn unblocked(&mut self, block: HoldId, at: Time, by: Option<&str>) -> Result<()> {
        const SQL: &str = "UPDATE block SET released_at = ?2, released_by = ?3 WHERE id = ?1 AND released_at IS NULL";
        self.run_one("Unblocked", block.0, SQL, params![signed("Unblocked", block.0)?, time_in(at), by])
    }

    /// One row for each limit that is not as configured.
    fn limit_set(&mut self, set: &LimitOverride) -> Result<()> {
        const SQL: &str = "INSERT OR REPLACE INTO limit_override (scope, subject, interval, per_hour, by, since, until)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        const END_SQL: &str = "DELETE FROM limit_override WHERE scope = ?1 AND subject = ?2";
        let (scope, subject) = codec::limit_columns(&set.scope);
        let (interval, per_hour) = match set.change {
            LimitChange::Interval(interval) => (Some(codec::span_in(interval)), None),
            LimitChange::PerHour(per_hour) => (None, Some(per_hour)),
            LimitChange::Configured => {
                self.run(END_SQL, params![scope, subject])?;
                return Ok(());
            }
        };
        let (since, until) = (time_in(set.since), set.until.map(time_in));
        self.run(SQL, params![scope, subject, interval, per_hour, set.by.as_deref(), since, until])?;
        Ok(())
    }

    fn commanded(&mut self, at: Time, origin: &CommandOrigin, fingerprint: &Fingerprint, reply: &str) -> Result<()> {
        const SQL: &str = "INSERT INTO command
            (at, name, reply_topic, reply_correlation, transaction_json, by, reply, fingerprint)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let (reply_topic, reply_correlation) = codec::reply_columns(origin.reply_to.as_ref());
        self.run(
            SQL,
            params![
                time_in(at),
                &*origin.name,
                reply_topic,
                reply_correlation,
                origin.transaction.as_deref(),
                origin.by.as_deref(),
                reply,
                &fingerprint[..]
            ],
        )?;
        Ok(())
    }
}

/// Whether a row with that key is there already.
fn is_taken(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_CONSTRAINT_PRIMARYKEY)
}
