//! Which callbacks were made, and what became of each. Pure.

use super::Made;
use std::collections::BTreeMap;

/// How many callbacks are remembered one by one; older ones are only counted.
const ENTRIES_MAX: usize = 10_000;

/// Every callback of quntool's form. One that comes twice is entered twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallbackLedger {
    pub made: u64,
    /// Answered with 2xx.
    pub delivered: u64,
    /// Answered with anything else, and not posted again for it.
    pub refused: u64,
    /// Met 503 or nobody as often as it was to be tried.
    pub given_up: u64,
    /// Attempts beyond the first of each.
    pub retries: u64,
    /// By number, in the order in which they were made: the newest 10,000. None with
    /// [`LedgerMode::Off`](crate::cli::pretend::LedgerMode::Off) and `Light`.
    pub entries: BTreeMap<u64, CallbackEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackEntry {
    /// `type`
    pub kind: Box<str>,
    pub account: Box<str>,
    /// The callback's own id, the same for each copy.
    pub msg_id: Box<str>,
    pub send_msg_id: Option<Box<str>>,
    /// In order; empty while it waits.
    pub attempts: Vec<Delivery>,
}

/// What one attempt met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The status of the answer.
    Answered(u16),
    /// Nobody listened, or nobody answered in time.
    Unanswered,
}

impl Delivery {
    /// Whether the same callback is posted again for it.
    pub const fn is_tried_again(self) -> bool {
        match self {
            Self::Answered(status) => status == 503,
            Self::Unanswered => true,
        }
    }
}

impl CallbackLedger {
    /// Whether none is under way and none waits.
    pub const fn is_settled(&self) -> bool {
        self.delivered + self.refused + self.given_up == self.made
    }

    /// Enters a callback and returns its number.
    pub fn enter(&mut self, made: &Made, is_remembered: bool) -> u64 {
        let number = self.made;
        self.made += 1;
        if is_remembered {
            let Made { kind, account, msg_id, send_msg_id, body: _ } = made.clone();
            self.entries.insert(number, CallbackEntry { kind, account, msg_id, send_msg_id, attempts: Vec::new() });
            if self.entries.len() > ENTRIES_MAX {
                self.entries.pop_first();
            }
        }
        number
    }

    /// Enters what an attempt met. `is_last` when it is not tried again whatever that was.
    pub fn attempted(&mut self, number: u64, delivery: Delivery, is_first: bool, is_last: bool) {
        self.retries += u64::from(!is_first);
        match delivery {
            Delivery::Answered(200..=299) => self.delivered += 1,
            _ if !delivery.is_tried_again() => self.refused += 1,
            Delivery::Answered(_) | Delivery::Unanswered => self.given_up += u64::from(is_last),
        }
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.attempts.push(delivery);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn made() -> Made {
        let word = Box::<str>::from("x");
        Made { kind: word.clone(), account: word.clone(), msg_id: word, send_msg_id: None, body: Bytes::new() }
    }

    #[test]
    fn every_callback_ends_in_one_way() {
        let mut ledger = CallbackLedger::default();
        assert!(ledger.is_settled());
        for _ in 0..3 {
            ledger.enter(&made(), true);
        }
        ledger.attempted(0, Delivery::Unanswered, true, false);
        ledger.attempted(0, Delivery::Answered(200), false, true);
        ledger.attempted(1, Delivery::Answered(401), true, false);
        assert!(!ledger.is_settled());
        ledger.attempted(2, Delivery::Answered(503), true, false);
        ledger.attempted(2, Delivery::Answered(503), false, true);
        assert!(ledger.is_settled());
        assert_eq!((ledger.delivered, ledger.refused, ledger.given_up, ledger.retries), (1, 1, 1, 2));
        assert_eq!(ledger.entries[&0].attempts, [Delivery::Unanswered, Delivery::Answered(200)]);
    }

    #[test]
    fn old_ones_are_only_counted() {
        let mut ledger = CallbackLedger::default();
        for _ in 0..ENTRIES_MAX + 3 {
            ledger.enter(&made(), true);
        }
        assert_eq!((ledger.made, ledger.entries.len()), (ENTRIES_MAX as u64 + 3, ENTRIES_MAX));
        assert_eq!(ledger.entries.keys().next(), Some(&3));
        ledger.attempted(0, Delivery::Answered(200), true, true);
        assert_eq!(ledger.delivered, 1);
        assert_eq!(ledger.enter(&made(), false), ENTRIES_MAX as u64 + 3);
    }
}
