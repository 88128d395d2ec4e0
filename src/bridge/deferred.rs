//! Records that wait for a commit which writes to their pages anyway.
//!
//! That a publish was acknowledged is worth no commit of its own: it goes with the next one that ends a message, whose
//! pages it shares. Beside the beginning of a message it would only make the commit larger, so those go past it. What
//! waits is lost with a crash, and its publish is made once more. So nothing waits where a reply says what is so:
//! "drained" is not taken back.

use crate::model::{Action, Record, Time};
use std::time::Duration;

/// How long a record waits at most.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// What waits, in its order.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    records: Vec<Record>,
    until: Option<Time>,
}

impl Deferred {
    /// By when something has to be committed, whatever comes.
    pub(crate) fn until(&self) -> Option<Time> {
        self.until
    }

    /// Takes the records of a turn and gives what is to be committed before its `actions`; `None` where nothing has to
    /// be, and `commits_anyway` is not so. What is given has the order in which it came, but for what waits on.
    pub(crate) fn take(
        &mut self,
        records: Vec<Record>,
        actions: &[Action],
        now: Time,
        commits_anyway: bool,
    ) -> Option<Vec<Record>> {
        let is_overdue = self.until.is_some_and(|until| until <= now);
        let settles = is_overdue || actions.iter().any(|action| matches!(action, Action::Reply(_)));
        let waits_on = !settles && records.iter().all(|record| record.can_wait() || record.may_overtake());
        let has_to = records.iter().any(|record| !record.can_wait());
        self.records.extend(records);
        let must_commit = commits_anyway || has_to || (settles && !self.records.is_empty());
        let due = must_commit.then(|| {
            if waits_on {
                self.records.extract_if(.., |record| !record.can_wait()).collect()
            } else {
                std::mem::take(&mut self.records)
            }
        });
        if self.records.is_empty() {
            self.until = None;
        } else if self.until.is_none() {
            self.until = Some(now + WAIT_MAX);
        }
        due
    }

    /// All that waits, at the end.
    pub(super) fn take_all(&mut self) -> Vec<Record> {
        self.until = None;
        std::mem::take(&mut self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Account, CommandOrigin, Corp, Reply, Seq, Verdict};

    const START: Time = Time::from_millis(1_700_000_000_000);

    fn closing(seq: u64) -> Record {
        Record::Answered { seq: Seq(seq), known_from: None }
    }

    fn beginning(seq: u64) -> Record {
        let (account, corp) = (Account::new("a"), Corp::new("c"));
        Record::Attempted { seq: Seq(seq), attempt: 1, at: START, account, corp, possibly_duplicate: false }
    }

    fn end(seq: u64) -> Record {
        Record::Ended { seq: Seq(seq), attempt: 1, at: START, verdict: Verdict::Confirmed { msg_id: None } }
    }

    /// A turn without actions.
    fn take(deferred: &mut Deferred, records: Vec<Record>, now: Time) -> Option<Vec<Record>> {
        deferred.take(records, &[], now, false)
    }

    #[test]
    fn a_closing_waits_past_the_beginning_of_a_message_and_goes_with_an_end_in_its_order() {
        let mut deferred = Deferred::default();
        assert_eq!(take(&mut deferred, vec![closing(1)], START), None);
        let until = Some(START + WAIT_MAX);
        assert_eq!(deferred.until(), until);
        let soon = START + WAIT_MAX / 2;
        assert_eq!(take(&mut deferred, vec![closing(2), beginning(3)], soon), Some(vec![beginning(3)]));
        // Neither a commit that is made for another reason takes it, nor is it put off by what came after it.
        assert_eq!(deferred.take(Vec::new(), &[], soon, true), Some(Vec::new()));
        assert_eq!(deferred.until(), until);
        let all = vec![closing(1), closing(2), beginning(4), end(3)];
        assert_eq!(take(&mut deferred, vec![beginning(4), end(3)], soon), Some(all));
        assert_eq!((deferred.until(), deferred.take_all()), (None, Vec::new()));
    }

    #[test]
    fn a_closing_is_written_in_time_although_messages_only_begin() {
        let mut deferred = Deferred::default();
        assert_eq!(take(&mut deferred, vec![closing(1)], START), None);
        let late = START + WAIT_MAX;
        assert_eq!(take(&mut deferred, vec![beginning(2)], late), Some(vec![closing(1), beginning(2)]));
        assert_eq!(take(&mut deferred, vec![closing(2)], late), None);
        assert_eq!(deferred.until(), Some(late + WAIT_MAX));
        assert_eq!(take(&mut deferred, Vec::new(), late + WAIT_MAX), Some(vec![closing(2)]));
        assert_eq!(deferred.until(), None);
    }

    #[test]
    fn nothing_waits_past_a_reply() {
        let origin = CommandOrigin { name: Box::from("drain"), reply_to: None, transaction: None, by: None };
        let reply = [Action::Reply(Reply { origin, result: Ok(serde_json::Value::Null) })];
        let mut deferred = Deferred::default();
        assert_eq!(deferred.take(Vec::new(), &reply, START, false), None);
        assert_eq!(take(&mut deferred, vec![closing(1)], START), None);
        assert_eq!(deferred.take(vec![beginning(2)], &reply, START, false), Some(vec![closing(1), beginning(2)]));
        assert_eq!(deferred.until(), None);
    }
}
