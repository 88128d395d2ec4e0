//! The judgement is worth nothing if it cannot fail: each promise is broken here once.

use super::*;
use crate::cli::pretend::{AccountEntry, CorpEntry, MessageEntry};

struct Case {
    published: BTreeMap<Box<str>, Published>,
    answers: BTreeMap<Box<str>, Vec<Answer>>,
    ledger: Ledger,
}

fn sent(msg_id: &str) -> Answer {
    Answer::Sent { msg_id: Some(Box::from(msg_id)) }
}

fn not_sent(code: &str) -> Answer {
    Answer::NotSent { code: Box::from(code) }
}

impl Case {
    /// Four messages, one of each outcome, and nothing wrong.
    fn good() -> Self {
        let mut case = Self { published: BTreeMap::new(), answers: BTreeMap::new(), ledger: Ledger::default() };
        case.add("a", 2, 1, vec![sent("1"), sent("1")]);
        case.add("b", 1, 1, vec![Answer::Unresolved]);
        case.add("c", 1, 0, vec![Answer::Unresolved]);
        case.add("d", 1, 0, vec![not_sent("REFUSED")]);
        case.published.insert(Box::from("e"), Published { token: None, times: 1 });
        case.answers.insert(Box::from("e"), vec![not_sent("INVALID_FIELD")]);
        case.set_gap(500);
        case.set_hour("north-star", 50_000);
        case.set_hour(SMALL_CORP, 40);
        case
    }

    fn add(&mut self, id: &str, times: usize, effects: u32, answers: Vec<Answer>) {
        let token = format!("token of {id}").into_boxed_str();
        self.ledger.messages.insert(token.clone(), MessageEntry { arrivals: 1, effects });
        self.published.insert(Box::from(id), Published { token: Some(token), times });
        self.answers.insert(Box::from(id), answers);
    }

    fn set_gap(&mut self, millis: u64) {
        let entry: &mut AccountEntry = self.ledger.accounts.entry(Box::from("anna")).or_default();
        entry.smallest_gap = Some(Duration::from_millis(millis));
    }

    fn set_hour(&mut self, corp: &str, seen: u64) {
        let entry: &mut CorpEntry = self.ledger.corps.entry(Box::from(corp)).or_default();
        entry.largest_window = seen;
    }

    fn set_effects(&mut self, id: &str, effects: u32) {
        let token = format!("token of {id}");
        self.ledger.messages.get_mut(&*token).expect("added before").effects = effects;
    }

    fn judge(&self) -> Findings {
        judge(&Evidence {
            published: &self.published,
            answers: &self.answers,
            ledger: &self.ledger,
            account_interval: Duration::from_millis(500),
            corp_per_hour: 50_000,
            small_corp_per_hour: 40,
        })
    }
}

/// What is broken when `change` was made to a case in which nothing is.
fn broken_by(change: impl FnOnce(&mut Case)) -> Vec<Broken> {
    let mut case = Case::good();
    change(&mut case);
    case.judge().broken
}

#[test]
fn when_nothing_is_wrong_all_figures_are_given() {
    let findings = Case::good().judge();
    assert_eq!(findings.broken, []);
    assert_eq!((findings.published, findings.repeats), (5, 1));
    assert_eq!((findings.sent, findings.in_doubt, findings.in_doubt_arrived), (1, 2, 1));
    assert_eq!((findings.not_sent_total(), findings.not_sent["REFUSED"]), (2, 1));
    assert_eq!((findings.lost, findings.doubled), (0, 0));
    assert_eq!(findings.smallest_gap, Some(Duration::from_millis(500)));
    assert_eq!(findings.hours[SMALL_CORP], (40, 40));
}

#[test]
fn a_missing_answer_is_a_loss() {
    let lost = |id: &str| vec![Broken::Lost { ids: vec![Box::from(id)] }];
    assert_eq!(broken_by(|case| drop(case.answers.remove("d"))), lost("d"));
    assert_eq!(broken_by(|case| drop(case.answers.remove("e"))), lost("e"));
    // The repeat is due an answer too.
    assert_eq!(broken_by(|case| drop(case.answers.get_mut("a").expect("there").pop())), lost("a"));
}

#[test]
fn a_second_arrival_is_a_double_whatever_was_answered() {
    for id in ["a", "b"] {
        let token = format!("token of {id}").into_boxed_str();
        assert_eq!(broken_by(|case| case.set_effects(id, 2)), [Broken::Doubled { tokens: vec![token] }]);
    }
}

#[test]
fn limits_are_judged_to_the_last_one() {
    let gap = Duration::from_millis(499);
    assert_eq!(broken_by(|case| case.set_gap(499)), [Broken::TooSoon { account: Box::from("anna"), gap }]);
    let small = Broken::TooMany { corp: Box::from(SMALL_CORP), seen: 41, limit: 40 };
    assert_eq!(broken_by(|case| case.set_hour(SMALL_CORP, 41)), [small]);
    let large = Broken::TooMany { corp: Box::from("north-star"), seen: 50_001, limit: 50_000 };
    assert_eq!(broken_by(|case| case.set_hour("north-star", 50_001)), [large]);
}

#[test]
fn an_answer_must_be_what_happened() {
    let untrue = |id: &str, said, effects| vec![Broken::Untrue { id: Box::from(id), said, effects }];
    assert_eq!(broken_by(|case| case.set_effects("a", 0)), untrue("a", sent("1"), 0));
    assert_eq!(broken_by(|case| case.set_effects("d", 1)), untrue("d", not_sent("REFUSED"), 1));
}

#[test]
fn answers_to_one_message_must_agree() {
    let contradiction = vec![Broken::Contradiction { id: Box::from("a") }];
    let answer = |answers| broken_by(|case| drop(case.answers.insert(Box::from("a"), answers)));
    assert_eq!(answer(vec![sent("1"), sent("2")]), contradiction);
    assert_eq!(answer(vec![not_sent("REFUSED"), sent("1")]), contradiction);
    // A doubt that was cleared later is none.
    assert_eq!(answer(vec![Answer::Unresolved, sent("1")]), []);
}

#[test]
fn nothing_may_come_from_nowhere() {
    let invented = |what: &str| vec![Broken::Invented { what: Box::from(what) }];
    let answered = broken_by(|case| drop(case.answers.insert(Box::from("x"), vec![sent("9")])));
    assert_eq!(answered, invented("x"));
    let entry = MessageEntry { arrivals: 1, effects: 1 };
    let arrived = broken_by(|case| {
        case.ledger.messages.insert(Box::from("x"), entry);
    });
    assert_eq!(arrived, invented("x"));
}

#[test]
fn answers_are_read_as_publishers_read_them() {
    let read = |payload: &str| read_answer(payload.as_bytes());
    assert_eq!(read(r#"{"id":"a","msgId":"1"}"#), Some((Some(Box::from("a")), sent("1"))));
    assert_eq!(
        read(r#"{"id":"a","error":{"code":"UNRESOLVED","message":""}}"#),
        Some((Some(Box::from("a")), Answer::Unresolved))
    );
    let invalid = not_sent("INVALID_JSON");
    assert_eq!(read(r#"{"id":null,"error":{"code":"INVALID_JSON","message":""}}"#), Some((None, invalid)));
    for nonsense in ["", "{}", r#"{"id":"a"}"#, r#"{"id":7,"msgId":"1"}"#, r#"{"id":"a","error":{}}"#] {
        assert_eq!(read(nonsense), None, "{nonsense}");
    }
}
