//! What callbacks show of messages that left an account, against attempts of which nobody knows whether they worked.
//!
//! A message in doubt was sent if what was seen cannot be explained without it: every message that was seen in a
//! conversation came from one of the attempts at that conversation with that content, and the attempts of all other
//! messages are too few for it. One that was seen and belongs to an answer explains nothing else. Silence proves
//! nothing.
//!
//! # Invariants
//!
//! - An attempt stands here until it is proven that it had no effect, or which message in the chat is its own; one that
//!   nobody knows about stays for [`EVIDENCE_KEPT`], also when its message is over or settled: it may still explain
//!   what is seen.
//! - What is seen counts only when it came through the API, has an id of its own, and shows its content.

use super::sabotage::Sabotage;
use super::tables::{AccountKey, IdDigest, ShownKey, id_digest};
use crate::model::{Seq, Time};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// For how long attempts and the ids of answers are kept.
pub const EVIDENCE_KEPT: Duration = Duration::from_secs(3600);

const _: () = assert!(REACH.as_secs() + HEARD_WITHIN.as_secs() + SEEN_KEPT.as_secs() <= EVIDENCE_KEPT.as_secs());

/// What is seen at a moment was requested before it, by not more than this.
const REACH: Duration = Duration::from_secs(600);
/// For how long what was seen is kept. Every attempt that may explain it is kept for longer: one that was forgotten too
/// soon would leave it to another.
const SEEN_KEPT: Duration = Duration::from_secs(1800);
/// What was seen so much earlier or later than we heard of it proves nothing: it is very late, or a clock is wrong.
const HEARD_WITHIN: Duration = Duration::from_secs(1200);
/// How far the clock of the vendor's system may be behind.
const SKEW: Duration = Duration::from_secs(10);
/// Messages seen that are kept, at most: the oldest go first.
const SEEN_MAX: usize = 200_000;
/// More attempts or messages of one content than this prove nothing.
const GROUP_MAX: usize = 64;

/// What two messages have in common that cannot be told apart in a chat: account, conversation, content.
pub(super) type Look = (AccountKey, u64, ShownKey);

/// How an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is being made.
    Open,
    /// Nobody knows, or it worked and nobody knows under which id.
    Unclear,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    seq: Seq,
    number: u32,
    begun_at: Time,
    standing: Standing,
}

/// A message that was seen leaving an account.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    pub(super) account: AccountKey,
    pub(super) id: Box<str>,
    /// `None` where it can prove nothing.
    pub(super) look: Option<Look>,
    /// By the clock of the vendor's system, and by ours when we heard of it.
    pub(super) at: Time,
    pub(super) heard_at: Time,
    pub(super) error: i64,
    pub(super) text: Option<Box<str>>,
    /// Whether it is the message of an answer.
    pub(super) answered: bool,
}

impl Attempt {
    /// Whether it can be where this came from: asked generously, by our own clock.
    fn explains(&self, sight: &Sight) -> bool {
        self.begun_at <= sight.heard_at && sight.heard_at <= self.begun_at + EVIDENCE_KEPT
    }

    /// Whether it is likely where this came from.
    fn fits(&self, sight: &Sight) -> bool {
        self.explains(sight) && sight.at + SKEW >= self.begun_at && sight.at <= self.begun_at + REACH
    }
}

#[derive(Debug, Default)]
pub(super) struct Evidence {
    attempts: BTreeMap<Look, Vec<Attempt>>,
    attempts_forgetting: VecDeque<(Time, Look)>,
    seen: BTreeMap<IdDigest, Sight>,
    seen_forgetting: VecDeque<(Time, IdDigest)>,
    by_look: BTreeMap<Look, Vec<IdDigest>>,
    /// Whose message has an id, as far as answers and proofs tell.
    ids: BTreeMap<IdDigest, Seq>,
    ids_forgetting: VecDeque<(Time, IdDigest)>,
    #[cfg(test)]
    sabotage: Option<Sabotage>,
}

impl Evidence {
    #[cfg(test)]
    pub(super) fn sabotage(&mut self, sabotage: Option<Sabotage>) {
        self.sabotage = sabotage;
    }

    #[cfg(test)]
    fn sabotaged(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "asked like its counterpart in unit tests")]
    const fn sabotaged(&self, _: Sabotage) -> bool {
        false
    }

    pub(super) fn begin(&mut self, look: Look, seq: Seq, number: u32, begun_at: Time) {
        self.attempts.entry(look).or_default().push(Attempt { seq, number, begun_at, standing: Standing::Open });
        self.attempts_forgetting.push_back((begun_at, look));
    }

    /// An attempt ended; `None` when it can explain nothing that has no id of its own.
    pub(super) fn end(&mut self, look: Look, seq: Seq, number: u32, standing: Option<Standing>) {
        let Some(attempts) = self.attempts.get_mut(&look) else { return };
        let is_it = |attempt: &Attempt| attempt.seq == seq && attempt.number == number;
        match standing {
            Some(standing) => {
                attempts.iter_mut().filter(|attempt| is_it(attempt)).for_each(|attempt| attempt.standing = standing)
            }
            None => attempts.retain(|attempt| !is_it(attempt)),
        }
        if attempts.is_empty() {
            self.attempts.remove(&look);
        }
    }

    /// Takes note of something seen. False when it is known.
    pub(super) fn see(&mut self, mut sight: Sight) -> bool {
        let key = id_digest(sight.account, &sight.id);
        let apart = sight.heard_at.since(sight.at).max(sight.at.since(sight.heard_at));
        sight.look = sight.look.filter(|_| apart <= HEARD_WITHIN);
        if self.seen.contains_key(&key) {
            return false;
        }
        sight.answered = self.ids.contains_key(&key);
        if let Some(look) = sight.look {
            self.by_look.entry(look).or_default().push(key);
        }
        self.seen_forgetting.push_back((sight.heard_at, key));
        self.seen.insert(key, sight);
        if self.seen_forgetting.len() > SEEN_MAX
            && let Some((_, oldest)) = self.seen_forgetting.pop_front()
        {
            self.drop_seen(oldest);
        }
        true
    }

    /// The message has this id, by its answer or by a proof. Returns what was seen of it.
    pub(super) fn claim(
        &mut self,
        account: AccountKey,
        id: &str,
        seq: Seq,
        now: Time,
        by_answer: bool,
    ) -> Option<&Sight> {
        let key = id_digest(account, id);
        // The first one that it is said of keeps it.
        if self.ids.contains_key(&key) {
            return None;
        }
        self.ids.insert(key, seq);
        self.ids_forgetting.push_back((now, key));
        let sight = self.seen.get_mut(&key)?;
        sight.answered |= by_answer;
        Some(sight)
    }

    /// Whose message this is, as far as anybody said.
    pub(super) fn owner(&self, account: AccountKey, id: &str) -> Option<Seq> {
        self.ids.get(&id_digest(account, id)).copied()
    }

    /// Messages of this look whose fate is not clear.
    pub(super) fn unclear(&self, look: &Look) -> Vec<Seq> {
        let attempts = self.attempts.get(look).map_or(&[][..], Vec::as_slice);
        let mut seqs: Vec<Seq> = Vec::new();
        for attempt in attempts.iter().filter(|attempt| attempt.standing == Standing::Unclear) {
            if !seqs.contains(&attempt.seq) {
                seqs.push(attempt.seq);
            }
        }
        seqs
    }

    /// Whether something heard of then may still prove anything.
    pub(super) fn is_fresh(heard_at: Time, now: Time) -> bool {
        heard_at + SEEN_KEPT >= now
    }

    pub(super) fn looks(&self) -> Vec<Look> {
        self.attempts.keys().copied().collect()
    }

    /// Whether what was seen cannot be explained without this message: then what was seen of it, if that can be told.
    pub(super) fn proof(&self, look: &Look, seq: Seq) -> Option<Option<&Sight>> {
        let attempts = self.attempts.get(look)?;
        let seen: Vec<&Sight> = self
            .by_look
            .get(look)?
            .iter()
            .filter_map(|key| self.seen.get(key))
            .filter(|sight| !sight.answered || self.sabotaged(Sabotage::ClaimedTwice))
            .collect();
        if seen.is_empty() || seen.len() > GROUP_MAX || attempts.len() > GROUP_MAX {
            return None;
        }
        let own = |attempt: &&Attempt| attempt.seq == seq;
        let others = attempts.iter().filter(|attempt| attempt.seq != seq);
        if !attempts.iter().filter(own).any(|attempt| seen.iter().any(|sight| attempt.fits(sight))) {
            return None;
        }
        let is_alone = others.clone().next().is_none();
        let explained = pairs(&seen, &attempts.iter().collect::<Vec<_>>());
        if pairs(&seen, &others.collect::<Vec<_>>()) == explained && !self.sabotaged(Sabotage::TwinsIgnored) {
            return None;
        }
        // With others about it may be any of those seen.
        let fits = |sight: &&&Sight| attempts.iter().filter(own).any(|attempt| attempt.fits(sight));
        Some(
            seen.iter()
                .find(fits)
                .copied()
                .filter(|_| is_alone && seen.len() == 1 || self.sabotaged(Sabotage::TwinsIgnored)),
        )
    }

    /// Forgets what is too old to prove anything. Ids are kept for as long as the messages that have them.
    pub(super) fn forget(&mut self, now: Time, ids_kept: Duration) {
        while let Some((_, look)) = self.attempts_forgetting.pop_front_if(|(at, _)| *at + EVIDENCE_KEPT < now) {
            if let Some(attempts) = self.attempts.get_mut(&look) {
                attempts
                    .retain(|attempt| attempt.begun_at + EVIDENCE_KEPT >= now || attempt.standing == Standing::Open);
                if attempts.is_empty() {
                    self.attempts.remove(&look);
                }
            }
        }
        while let Some((_, key)) = self.seen_forgetting.pop_front_if(|(at, _)| *at + SEEN_KEPT < now) {
            self.drop_seen(key);
        }
        let kept = ids_kept.max(EVIDENCE_KEPT);
        while let Some((_, key)) = self.ids_forgetting.pop_front_if(|(at, _)| *at + kept < now) {
            self.ids.remove(&key);
        }
    }

    fn drop_seen(&mut self, key: IdDigest) {
        let Some(look) = self.seen.remove(&key).and_then(|sight| sight.look) else { return };
        if let Some(keys) = self.by_look.get_mut(&look) {
            keys.retain(|one| *one != key);
            if keys.is_empty() {
                self.by_look.remove(&look);
            }
        }
    }
}

/// How many of those seen can be explained at once, each by an attempt of its own (augmenting paths).
fn pairs(seen: &[&Sight], attempts: &[&Attempt]) -> usize {
    fn explain(
        sight: usize,
        seen: &[&Sight],
        attempts: &[&Attempt],
        taken: &mut [Option<usize>],
        looked: &mut [bool],
    ) -> bool {
        for (index, attempt) in attempts.iter().enumerate() {
            if looked[index] || !attempt.explains(seen[sight]) {
                continue;
            }
            looked[index] = true;
            if taken[index].is_none_or(|other| explain(other, seen, attempts, taken, looked)) {
                taken[index] = Some(sight);
                return true;
            }
        }
        false
    }
    let mut taken = vec![None; attempts.len()];
    (0..seen.len())
        .filter(|sight| explain(*sight, seen, attempts, &mut taken, &mut vec![false; attempts.len()]))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Look = (AccountKey(0), 1, ShownKey::MIN);

    fn at(seconds: u64) -> Time {
        Time::from_millis(1_700_000_000_000) + Duration::from_secs(seconds)
    }

    fn sight(id: &str, seconds: u64) -> Sight {
        let (account, look) = (LOOK.0, Some(LOOK));
        let (at, heard_at) = (at(seconds), at(seconds + 1));
        Sight { account, id: id.into(), look, at, heard_at, error: 0, text: None, answered: false }
    }

    /// Attempts of messages, each in doubt, that began at these seconds.
    fn evidence(attempts: &[(u64, u64)]) -> Evidence {
        let mut evidence = Evidence::default();
        for (number, (seq, seconds)) in attempts.iter().enumerate() {
            evidence.begin(LOOK, Seq(*seq), number as u32, at(*seconds));
            evidence.end(LOOK, Seq(*seq), number as u32, Some(Standing::Unclear));
        }
        evidence
    }

    fn proven(evidence: &Evidence, seq: u64) -> Option<Option<String>> {
        evidence.proof(&LOOK, Seq(seq)).map(|sight| sight.map(|sight| sight.id.to_string()))
    }

    #[test]
    fn one_doubt_and_one_message_seen_are_each_other() {
        let mut evidence = evidence(&[(1, 100)]);
        assert_eq!(proven(&evidence, 1), None);
        assert!(evidence.see(sight("x", 102)) && !evidence.see(sight("X", 103)));
        assert_eq!(proven(&evidence, 1), Some(Some("x".to_owned())));
        assert_eq!(proven(&evidence, 2), None);
    }

    #[test]
    fn of_twins_none_is_proven_before_all_are() {
        let mut evidence = evidence(&[(1, 100), (2, 101)]);
        evidence.see(sight("x", 102));
        assert_eq!((proven(&evidence, 1), proven(&evidence, 2)), (None, None));
        evidence.see(sight("y", 103));
        // Which is which nobody knows.
        assert_eq!((proven(&evidence, 1), proven(&evidence, 2)), (Some(None), Some(None)));
    }

    #[test]
    fn a_message_that_was_requested_twice_may_be_both() {
        let mut evidence = evidence(&[(1, 100), (1, 101), (2, 101)]);
        evidence.see(sight("x", 102));
        assert_eq!((proven(&evidence, 1), proven(&evidence, 2)), (None, None));
        evidence.see(sight("y", 102));
        assert_eq!((proven(&evidence, 1), proven(&evidence, 2)), (Some(None), None));
        evidence.see(sight("z", 102));
        assert_eq!((proven(&evidence, 1), proven(&evidence, 2)), (Some(None), Some(None)));
    }

    #[test]
    fn what_was_seen_is_named_only_where_it_can_be_nothing_else() {
        let mut alone = evidence(&[(1, 100)]);
        alone.see(sight("x", 102));
        alone.see(sight("y", 103));
        assert_eq!(proven(&alone, 1), Some(None));
        // Another one that began too late to be it is still another one that looks the same.
        let mut early = evidence(&[(1, 100), (2, 5000)]);
        early.see(sight("x", 102));
        assert_eq!((proven(&early, 1), proven(&early, 2)), (Some(None), None));
    }

    /// Comparing all with all takes its time, and of so many nobody can tell one from another.
    #[test]
    fn a_large_group_proves_nothing() {
        let max = GROUP_MAX as u64;
        for (attempts, seen) in [(max, max), (max, max + 1), (max + 1, 1), (max + 1, max + 1)] {
            let made: Vec<(u64, u64)> = (0..attempts).map(|_| (1, 100)).collect();
            let mut evidence = evidence(&made);
            (0..seen).for_each(|number| assert!(evidence.see(sight(&number.to_string(), 102))));
            assert_eq!(proven(&evidence, 1).is_some(), attempts.max(seen) == max, "{attempts} {seen}");
        }
    }

    #[test]
    fn what_an_answer_claims_proves_nothing_else() {
        let mut evidence = evidence(&[(1, 100)]);
        evidence.see(sight("x", 102));
        assert!(evidence.claim(LOOK.0, "X", Seq(7), at(103), true).is_some());
        assert_eq!(proven(&evidence, 1), None);
        // Also when the answer comes first, and for whoever claims it later.
        assert!(evidence.claim(LOOK.0, "y", Seq(8), at(103), true).is_none());
        evidence.see(sight("Y", 104));
        assert!(evidence.claim(LOOK.0, "y", Seq(9), at(103), true).is_none());
        assert_eq!((proven(&evidence, 1), evidence.owner(LOOK.0, "Y")), (None, Some(Seq(8))));
    }

    #[test]
    fn the_same_id_of_another_account_is_another_message() {
        let mut evidence = evidence(&[(1, 100)]);
        let other = AccountKey(LOOK.0.0 + 1);
        assert!(evidence.see(Sight { account: other, look: None, ..sight("x", 101) }));
        assert!(evidence.claim(other, "x", Seq(7), at(101), true).is_some());
        assert!(evidence.see(sight("x", 102)), "it was not seen of this account");
        assert_eq!((evidence.owner(other, "X"), evidence.owner(LOOK.0, "X")), (Some(Seq(7)), None));
        assert_eq!(proven(&evidence, 1), Some(Some("x".to_owned())));
    }

    #[test]
    fn an_attempt_that_is_being_made_may_be_it_too() {
        let mut evidence = evidence(&[(1, 100)]);
        evidence.begin(LOOK, Seq(2), 1, at(101));
        evidence.see(sight("x", 102));
        assert_eq!(proven(&evidence, 1), None);
        // It was refused: now only the other is left.
        evidence.end(LOOK, Seq(2), 1, None);
        assert_eq!(proven(&evidence, 1), Some(Some("x".to_owned())));
    }

    #[test]
    fn what_was_seen_before_the_request_or_long_after_it_is_something_else() {
        for seconds in [50, 89, 710, 5000] {
            let mut evidence = evidence(&[(1, 100)]);
            evidence.see(sight("x", seconds));
            assert_eq!(proven(&evidence, 1), None, "{seconds}");
        }
        for seconds in [99, 100, 699] {
            let mut evidence = evidence(&[(1, 100)]);
            evidence.see(sight("x", seconds));
            assert!(proven(&evidence, 1).is_some(), "{seconds}");
        }
    }

    #[test]
    fn what_is_heard_of_much_later_or_by_a_wrong_clock_proves_nothing() {
        for seconds in [0, 1500, 4000] {
            let mut evidence = evidence(&[(1, 100)]);
            evidence.see(Sight { heard_at: at(1400 + seconds), ..sight("x", 110) });
            assert_eq!(proven(&evidence, 1), None, "{seconds}");
        }
        let mut evidence = evidence(&[(1, 100)]);
        evidence.see(Sight { heard_at: at(1200), ..sight("x", 110) });
        assert!(proven(&evidence, 1).is_some());
    }

    #[test]
    fn everything_is_forgotten_in_the_end() {
        let mut evidence = evidence(&[(1, 100), (2, 200)]);
        evidence.see(sight("x", 102));
        evidence.claim(LOOK.0, "z", Seq(1), at(100), true);
        evidence.forget(at(100 + 3600 + 50), Duration::ZERO);
        assert_eq!((evidence.unclear(&LOOK), evidence.ids.len(), evidence.seen.len()), (vec![Seq(2)], 0, 0));
        evidence.forget(at(20_000), Duration::ZERO);
        assert!(evidence.attempts.is_empty() && evidence.by_look.is_empty());
    }

    const INSTANT: Duration = Duration::from_nanos(1);

    /// The edges of what an attempt can be behind, by our clock and by the vendor's.
    #[test]
    fn a_sight_fits_an_attempt_between_its_begin_and_its_reach() {
        let begun_at = at(10_000);
        let attempt = Attempt { seq: Seq(1), number: 1, begun_at, standing: Standing::Unclear };
        let seen = |at: Time, heard_at: Time| Sight { at, heard_at, ..sight("x", 0) };
        let heard = |heard_at: Time| attempt.explains(&seen(begun_at, heard_at));
        assert!(heard(begun_at) && heard(begun_at + EVIDENCE_KEPT));
        assert!(!heard(begun_at - INSTANT) && !heard(begun_at + EVIDENCE_KEPT + INSTANT));
        let fits = |at: Time| attempt.fits(&seen(at, begun_at + REACH));
        assert!(fits(begun_at - SKEW) && fits(begun_at + REACH));
        assert!(!fits(begun_at - SKEW - INSTANT) && !fits(begun_at + REACH + INSTANT));
        // By one clock alone it does not fit.
        assert!(!attempt.fits(&seen(begun_at, begun_at - INSTANT)));
        assert!(Evidence::is_fresh(begun_at, begun_at + SEEN_KEPT));
        assert!(!Evidence::is_fresh(begun_at, begun_at + SEEN_KEPT + INSTANT));
    }

    #[test]
    fn everything_is_kept_until_its_time_is_over_and_not_longer() {
        let mut evidence = evidence(&[(1, 0)]);
        assert!(evidence.see(Sight { heard_at: at(0), ..sight("x", 0) }));
        assert!(evidence.claim(LOOK.0, "y", Seq(2), at(0), true).is_none());
        let kept = |evidence: &Evidence| (evidence.looks().len(), evidence.seen.len(), evidence.owner(LOOK.0, "y"));
        evidence.forget(at(0) + SEEN_KEPT, Duration::ZERO);
        assert_eq!(kept(&evidence), (1, 1, Some(Seq(2))));
        evidence.forget(at(0) + SEEN_KEPT + INSTANT, Duration::ZERO);
        assert_eq!(kept(&evidence), (1, 0, Some(Seq(2))));
        evidence.forget(at(0) + EVIDENCE_KEPT, Duration::ZERO);
        assert_eq!(kept(&evidence), (1, 0, Some(Seq(2))));
        evidence.forget(at(0) + EVIDENCE_KEPT + INSTANT, Duration::ZERO);
        assert_eq!(kept(&evidence), (0, 0, None));
        // Ids live as long as the messages that have them.
        assert!(evidence.claim(LOOK.0, "z", Seq(3), at(0), true).is_none());
        evidence.forget(at(0) + 2 * EVIDENCE_KEPT, 2 * EVIDENCE_KEPT);
        assert_eq!(evidence.owner(LOOK.0, "z"), Some(Seq(3)));
        evidence.forget(at(0) + 2 * EVIDENCE_KEPT + INSTANT, 2 * EVIDENCE_KEPT);
        assert_eq!(evidence.owner(LOOK.0, "z"), None);
    }
}
