//! What lies beyond the sends that are played exactly.
//!
//! First a lighter play: accounts in the order in which they become ready, places of the hour in the order in which
//! they come free, nothing else. Then arithmetic: accounts take turns, and a place that was used comes free an hour
//! after, so the hour repeats itself.

use super::scene::{Scene, Waiting};
use crate::engine::hour::{WINDOW, WINDOW_SECONDS};
use crate::engine::tables::{CorpKey, Rank, SenderKey};
use crate::model::Time;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// The places of a company's hour, in the order in which they come free.
struct Places {
    free: VecDeque<(Time, u32)>,
    /// Places that what is not urgent may use.
    limit: u32,
    /// The least time between two sends, where the hour is smoothed.
    period: Duration,
    smooth_at: Time,
    /// The last sends, one more than there are places.
    sent: VecDeque<Time>,
}

impl Places {
    /// When the next send may go, at `ready` at the earliest.
    fn next_at(&self, ready: Time) -> Option<Time> {
        self.free.front().map(|(at, _)| ready.max(*at).max(self.smooth_at))
    }

    /// A send takes the first place at `at`, and gives it back an hour after its end.
    fn take(&mut self, at: Time, ends_at: Time) {
        if let Some((_, count)) = self.free.front_mut() {
            *count -= 1;
            if *count == 0 {
                self.free.pop_front();
            }
        }
        self.smooth_at = at + self.period;
        self.sent.push_back(at);
        if self.sent.len() > self.limit as usize + 1 {
            self.sent.pop_front();
        }
        let back_at = Time::from_millis((ends_at.as_millis() / 1000 + 1 + WINDOW_SECONDS) * 1000);
        match self.free.back_mut() {
            Some((last, count)) if *last >= back_at => *count += 1,
            Some(_) | None => self.free.push_back((back_at, 1)),
        }
    }
}

/// An account's remaining messages as a number, and from when on the next of them may go.
struct Line {
    left: usize,
    sent: usize,
    ready: Time,
    slot: Duration,
    corp: CorpKey,
    server: SenderKey,
}

/// Whose turn it is where several take turns and some have more left than others.
struct Rounds {
    /// How much each has left, in the order of their turns.
    turns: Vec<usize>,
    /// The same ascending, with the sum of all before it.
    left: Vec<(usize, usize)>,
}

/// So many are counted one by one to find a place in a round; where there are more it is estimated.
const COUNTED_MAX: usize = 500;

impl Rounds {
    /// From how much each has left, in the order of their turns.
    fn new(turns: Vec<usize>) -> Self {
        let mut left = turns.clone();
        left.sort_unstable();
        let mut sum = 0;
        let with_sums = left.into_iter().map(|one| {
            sum += one;
            (one, sum - one)
        });
        Self { left: with_sums.collect(), turns }
    }

    /// How many go before the one whose turn is the `turn`-th goes for the `number`-th time, both counted from zero.
    fn before(&self, turn: usize, number: usize) -> usize {
        let (before, until) = (self.until(number), self.until(number + 1));
        let ahead = if self.turns.len() <= COUNTED_MAX {
            self.turns[..turn].iter().filter(|left| **left > number).count()
        } else {
            turn * (until - before) / self.turns.len()
        };
        before + ahead
    }

    /// How many go before the end of the `round`-th round, counted from one.
    fn until(&self, round: usize) -> usize {
        let shorter = self.left.partition_point(|(left, _)| *left < round);
        let before = self.left.get(shorter).map_or_else(|| self.total(), |(_, before)| *before);
        before + (self.left.len() - shorter) * round
    }

    fn total(&self) -> usize {
        self.left.last().map_or(0, |(left, before)| left + before)
    }
}

impl Scene<'_> {
    /// Adds what is expected of all that was not played.
    pub(super) fn go_on(&mut self, light_max: usize) {
        if self.accounts.iter().all(|waiting| waiting.left() == 0) {
            return;
        }
        let mut lines: Vec<Line> = self.accounts.iter().map(|waiting| self.line(waiting)).collect();
        let mut places: Vec<Places> = (0..self.corps.len()).map(|index| self.places(CorpKey(index as u32))).collect();
        // The times of what is left of each account, in its order.
        let mut watched: Vec<Vec<Time>> = vec![Vec::new(); lines.len()];
        self.play_on(&mut lines, &mut places, light_max, &mut watched);
        self.calculate(&lines, &places, &mut watched);
        for (index, times) in watched.iter().enumerate() {
            self.note_watched(index, times);
        }
        for waiting in &mut self.accounts {
            // Nothing of it may go before its own time, which is not part of a line.
            if let Some((at, _)) = waiting.scheduled.clone().last().filter(|_| waiting.held < Time::MAX) {
                waiting.expected.at(*at);
            }
        }
    }

    fn line(&self, waiting: &Waiting<'_>) -> Line {
        let answer = if self.from_response { self.servers[waiting.server.index()].answer } else { Duration::ZERO };
        let busy = if waiting.in_flight > 0 { answer } else { Duration::ZERO };
        let earliest = waiting.head.map(|head| head.earliest);
        // Only what is scheduled may be left: then it goes from there on.
        let scheduled = waiting.scheduled.clone().next().map(|(at, _)| *at);
        let earliest = earliest.or(scheduled).unwrap_or_default();
        let waits_since = waiting.ready_since.unwrap_or_else(|| self.now.max(self.engine.settle_until));
        Line {
            left: waiting.left(),
            sent: 0,
            ready: waits_since.max(waiting.next_at + busy).max(waiting.held).max(earliest),
            slot: waiting.interval + answer,
            corp: waiting.corp,
            server: waiting.server,
        }
    }

    fn places(&self, corp: CorpKey) -> Places {
        let status = self.hours.status(corp, self.now);
        let (period, smooth_at) = self.hours.smoothing(corp);
        Places {
            free: self.hours.places(corp, self.now).into(),
            limit: status.limit - status.reserve,
            period,
            smooth_at,
            sent: VecDeque::new(),
        }
    }

    fn play_on(&mut self, lines: &mut [Line], places: &mut [Places], light_max: usize, watched: &mut [Vec<Time>]) {
        let mut server_at: Vec<Time> = vec![self.now; self.servers.len()];
        let ready = lines.iter().enumerate().filter(|(_, line)| line.left > 0);
        let mut heap: BinaryHeap<Reverse<(Time, usize)>> =
            ready.map(|(index, line)| Reverse((line.ready, index))).collect();
        for _ in 0..light_max {
            let Some(Reverse((ready, index))) = heap.pop() else { return };
            let line = &mut lines[index];
            let server = &self.servers[line.server.index()];
            let from = ready.max(self.now);
            let from = if server.contended { from.max(server_at[line.server.index()]) } else { from };
            // Without any place at all nobody can know.
            let Some(at) = places[line.corp.index()].next_at(from) else { continue };
            places[line.corp.index()].take(at, at + server.answer);
            if server.contended {
                server_at[line.server.index()] = from + server.answer / server.connections.max(1) as u32;
            }
            line.left -= 1;
            line.sent += 1;
            line.ready = at + line.slot;
            self.accounts[index].expected.at(at);
            if self.watches(index) {
                watched[index].push(at);
            }
            if line.left > 0 {
                heap.push(Reverse((line.ready, index)));
            }
        }
    }

    fn calculate(&mut self, lines: &[Line], places: &[Places], watched: &mut [Vec<Time>]) {
        // In a round those go first that were ready first.
        let mut order: Vec<usize> = (0..lines.len()).filter(|index| lines[*index].left > 0).collect();
        order.sort_unstable_by_key(|index| (lines[*index].ready, *index));
        let mut in_corp: Vec<Vec<usize>> = vec![Vec::new(); places.len()];
        let mut in_server: Vec<Vec<usize>> = vec![Vec::new(); self.servers.len()];
        let mut turns = vec![(0, 0); lines.len()];
        for index in order {
            let (corp, server) = (&mut in_corp[lines[index].corp.index()], &mut in_server[lines[index].server.index()]);
            turns[index] = (corp.len(), server.len());
            corp.push(lines[index].left);
            server.push(lines[index].left);
        }
        let by_corp: Vec<(Rounds, Cycle)> =
            in_corp.into_iter().map(Rounds::new).zip(places.iter().map(Cycle::new)).collect();
        let by_server: Vec<Rounds> = in_server.into_iter().map(Rounds::new).collect();
        let now = lines.iter().filter(|line| line.sent > 0).map(|line| line.ready - line.slot).max();
        let now = now.unwrap_or(self.now);
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.left > 0) {
            let server = &self.servers[line.server.index()];
            let (rounds, cycle) = &by_corp[line.corp.index()];
            let (turn, turn_at_server) = turns[index];
            let at = |number: usize| {
                let own = line.ready + line.slot.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
                let place = cycle.at(rounds.before(turn, number))?;
                if !server.contended {
                    return Some(own.max(place));
                }
                let before = by_server[line.server.index()].before(turn_at_server, number);
                let before = u32::try_from(before).unwrap_or(u32::MAX);
                let served = now + server.answer.saturating_mul(before) / server.connections.max(1) as u32;
                Some(own.max(place).max(served))
            };
            let waiting = &mut self.accounts[index];
            match (at(0), at(line.left - 1)) {
                (Some(first), Some(last)) => {
                    waiting.expected.at(first);
                    waiting.expected.at(last);
                }
                (None, _) | (_, None) => waiting.expected.unknown = true,
            }
            if self.watches(index) {
                watched[index].extend((0..line.left).map_while(at));
            }
        }
    }

    /// Gives an account's remaining messages, in their order, the times of its line.
    fn note_watched(&mut self, index: usize, times: &[Time]) {
        if times.is_empty() {
            return;
        }
        let waiting = &self.accounts[index];
        let mut rest: Vec<Rank> = waiting.rest.clone().copied().chain(waiting.joined.iter().copied()).collect();
        rest.sort_unstable();
        let queued = rest.into_iter().map(|rank| (Time::default(), rank.1));
        let order = queued.chain(waiting.scheduled.clone().copied());
        self.watched.extend(order.zip(times).map(|((earliest, seq), at)| (seq, earliest.max(*at))));
    }
}

/// The places of one hour, which come again and again.
struct Cycle {
    /// The number of places up to and with each moment.
    until: Vec<(usize, Time)>,
    limit: usize,
    /// In how long they come again.
    length: Duration,
}

impl Cycle {
    fn new(places: &Places) -> Self {
        let mut sum = 0;
        let until = places.free.iter().map(|(at, count)| {
            sum += *count as usize;
            (sum, *at)
        });
        // A place comes again an hour later, or when the accounts get round to it: that was seen if a whole hour was.
        let seen = places.sent.len() > places.limit as usize;
        let seen = places.sent.back().zip(places.sent.front()).filter(|_| seen);
        let length = seen.map_or(Duration::ZERO, |(last, first)| last.since(*first));
        Self { until: until.collect(), limit: places.limit as usize, length: length.max(WINDOW) }
    }

    /// When the `number`-th place from now comes free, counted from zero.
    fn at(&self, number: usize) -> Option<Time> {
        if self.limit == 0 {
            return None;
        }
        let (cycles, number) = (number / self.limit, number % self.limit);
        let index = self.until.partition_point(|(until, _)| *until <= number);
        let (_, at) = self.until.get(index)?;
        Some(*at + self.length.saturating_mul(u32::try_from(cycles).unwrap_or(u32::MAX)))
    }
}
