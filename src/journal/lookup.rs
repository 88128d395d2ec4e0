//! Answers to the engine's questions: what the journal knows of messages, as it is shown.

use super::list::{Listed, Wanted};
use super::query::{Attempt, Reader, Row};
use crate::model::{
    AttemptReport, AttemptWord, Code, ErrorReport, Fault, Findings, Found, Lookup, MessageReport, MessagesReport,
    Question, ReceiptReport, Verdict,
};

impl Reader {
    /// Answers a question. A file that cannot be read is an answer too.
    pub fn answer(&self, lookup: &Lookup) -> Found {
        let unreadable = |_| Fault::new(Code::Internal, "the journal could not be read; ask again");
        let result = match &lookup.question {
            Question::Get { id, account, known } => {
                self.find(id, account.as_ref(), known).map_err(unreadable).map(|found| {
                    let messages = found.rows.iter().map(|row| describe(row, true)).collect();
                    Findings::Reports(MessagesReport { messages, complete: found.complete, next: None })
                })
            }
            Question::List { selection, members, states, page } => {
                let listed = self.list(Wanted { selection, members, states }, page).map_err(unreadable);
                listed.and_then(|listed| listed.map(show_list).ok_or_else(unknown_place))
            }
            Question::Retry { id, account, known } => self
                .find_kept(id, account.as_ref(), known)
                .map_err(unreadable)
                .map(|(kept, gone)| Findings::Kept { kept, gone }),
        };
        Found { number: lookup.number, result }
    }
}

fn show_list(listed: Listed) -> Findings {
    let messages = listed.rows.iter().map(|row| describe(row, false)).collect();
    Findings::Reports(MessagesReport { messages, complete: listed.complete, next: listed.next })
}

fn unknown_place() -> Fault {
    let message = "after is not the next of a page before: send exactly that, or leave it out for the first page";
    Fault::of_field(Code::InvalidField, "after", message)
}

fn describe(row: &Row, with_history: bool) -> MessageReport {
    let attempts = u32::try_from(row.attempts.len()).unwrap_or(u32::MAX);
    MessageReport {
        seq: row.seq.0,
        id: row.id.to_value(),
        account: row.account.clone(),
        kind: row.kind.to_string(),
        tag: row.tag.as_deref().map(str::to_owned),
        received_at: row.received_at,
        state: row.state,
        attempts: attempts.max(row.attempts_made),
        possibly_duplicate: row.possibly_duplicate,
        retry_of: row.retry_of.map(|of| of.0),
        priority: None,
        expires_at: None,
        position: None,
        reason: None,
        hold: None,
        paused: None,
        until: None,
        expected_at: None,
        finished_at: row.finished_at,
        answered: row.finished_at.map(|_| row.answered),
        msg_id: row.msg_id.as_deref().map(str::to_owned),
        error: row
            .fault
            .as_ref()
            .map(|fault| ErrorReport { code: fault.code.as_str().to_owned(), message: fault.message.to_string() }),
        receipt: row.receipt.as_ref().map(|receipt| ReceiptReport {
            at: receipt.at,
            code: receipt.error,
            message: receipt.text.as_deref().map(str::to_owned),
        }),
        history: with_history.then(|| row.attempts.iter().map(describe_attempt).collect()),
    }
}

fn describe_attempt(attempt: &Attempt) -> AttemptReport {
    let (ended_at, result, why) = match &attempt.end {
        None => (None, AttemptWord::Open, None),
        Some((at, verdict)) => {
            let (result, why) = match verdict {
                Verdict::Confirmed { .. } => (AttemptWord::Confirmed, None),
                Verdict::Refused { .. } => (AttemptWord::Refused, None),
                Verdict::NotSent { why, .. } => (AttemptWord::NotSent, Some(why.as_str())),
                Verdict::Unknown { why, .. } => (AttemptWord::Unknown, Some(why.as_str())),
            };
            (Some(*at), result, why)
        }
    };
    AttemptReport {
        attempt: attempt.attempt,
        corp: attempt.corp.clone(),
        possibly_duplicate: attempt.possibly_duplicate,
        started_at: attempt.started_at,
        ended_at,
        result,
        why: why.map(str::to_owned),
    }
}
