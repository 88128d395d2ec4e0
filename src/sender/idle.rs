//! The connections that carry no exchange.
//!
//! Whether the server has closed one is seen when it is taken. Between that and the request the server may close it
//! still, and then nobody knows what became of the request: so each is used again for a time only that is well within
//! the server's own.

use super::connection::Line;
use crate::clock::Clock;
use crate::model::Time;
use hyper::HeaderMap;
use hyper::http::HeaderName;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// What a server says may be used again for so long at most: what stands between may forget a connection sooner than
/// the server does, and tells nobody.
const ANNOUNCED_MAX: Duration = Duration::from_secs(10);

/// For how long to use a connection again whose server keeps it for so long: half of the `timeout` in `Keep-Alive`
/// (RFC 2068, 19.7.1.1; Node.js and Apache send it), in whole seconds there. `None` where the server says nothing, or
/// nothing that can be read.
pub(super) fn announced(headers: &HeaderMap) -> Option<Duration> {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    let values = headers.get_all(KEEP_ALIVE).into_iter().filter_map(|value| value.to_str().ok());
    let mut parameters = values.flat_map(|value| value.split(',')).filter_map(|parameter| parameter.split_once('='));
    let (_, seconds) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    let kept = Duration::from_secs(seconds.trim().parse().ok()?);
    Some((kept / 2).min(ANNOUNCED_MAX))
}

/// The idle connections to one server.
pub(super) struct Idle {
    lines: Mutex<Lines<Box<Line>>>,
    max: usize,
    /// How long one may be used again whose server does not say how long it keeps it.
    reuse: Duration,
    clock: Clock,
}

/// One that rests.
struct Resting<L> {
    since: Time,
    /// How long it may be used again.
    reuse: Duration,
    line: L,
}

impl<L> Resting<L> {
    fn is_over(&self, now: Time) -> bool {
        now.since(self.since) >= self.reuse
    }
}

struct Lines<L> {
    /// The one that has rested longest first.
    waiting: VecDeque<Resting<L>>,
    /// Whether a task closes those whose time is over.
    is_swept: bool,
}

impl<L> Lines<L> {
    const fn new() -> Self {
        Self { waiting: VecDeque::new(), is_swept: false }
    }

    fn next(&mut self, now: Time) -> Option<L> {
        loop {
            let oldest = self.waiting.front()?;
            let soon_too_old = now.since(oldest.since) >= oldest.reuse / 2;
            let next = if soon_too_old { self.waiting.pop_front() } else { self.waiting.pop_back() };
            // One whose time is over is closed by this.
            if let Some(next) = next.filter(|next| !next.is_over(now)) {
                return Some(next.line);
            }
        }
    }

    /// Closes those whose time is over, and says when to come again.
    fn sweep(&mut self, now: Time) -> Option<Time> {
        self.waiting.retain(|resting| !resting.is_over(now));
        self.waiting.iter().map(|resting| resting.since + resting.reuse).min()
    }
}

impl Idle {
    pub(super) fn new(max: usize, reuse: Duration) -> Self {
        Self { lines: Mutex::new(Lines::new()), max, reuse, clock: Clock::start() }
    }

    fn lines(&self) -> MutexGuard<'_, Lines<Box<Line>>> {
        // Nothing done inside the lock can panic half way.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that the server has not closed: the one that was used last, so that no more are kept than are needed; but
    /// first whichever would soon be too old, so that what many requests at once need is there for the next many.
    pub(super) async fn take(&self) -> Option<Box<Line>> {
        loop {
            let mut line = self.lines().next(self.clock.now())?;
            if line.is_usable().await {
                return Some(line);
            }
        }
    }

    /// Keeps a connection whose exchange is over, unless it ends with that, for half the time that the server
    /// [`announced`], or for the usual one.
    pub(super) async fn put(self: &Arc<Self>, mut line: Box<Line>, announced: Option<Duration>) {
        let reuse = announced.unwrap_or(self.reuse);
        if reuse.is_zero() || !line.is_usable().await {
            return;
        }
        let since = self.clock.now();
        let mut lines = self.lines();
        if lines.waiting.len() >= self.max {
            return;
        }
        lines.waiting.push_back(Resting { since, reuse, line });
        if !std::mem::replace(&mut lines.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self), self.clock, since + reuse));
        }
    }
}

/// Closes connections whose time is over, until there are none.
async fn sweep(idle: Weak<Idle>, clock: Clock, first: Time) {
    let mut next = first;
    loop {
        clock.sleep_until(Some(next)).await;
        let Some(idle) = idle.upgrade() else { return };
        let mut lines = idle.lines();
        match lines.sweep(clock.now()) {
            Some(at) => next = at,
            None => {
                lines.is_swept = false;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::http::HeaderValue;

    const REUSE: Duration = Duration::from_millis(50);

    fn at(millis: u64) -> Time {
        Time::from_millis(1_700_000_000_000 + millis)
    }

    fn resting<L>(since: u64, line: L) -> Resting<L> {
        Resting { since: at(since), reuse: REUSE, line }
    }

    #[test]
    fn the_last_used_goes_first_and_before_it_what_would_soon_be_too_old() {
        let mut lines = Lines::new();
        lines.waiting.extend([resting(0, 'a'), resting(10, 'b'), resting(20, 'c'), resting(24, 'd')]);
        assert_eq!(lines.next(at(24)), Some('d'));
        assert_eq!(lines.next(at(25)), Some('a'), "half of its time is over");
        assert_eq!(lines.next(at(34)), Some('c'));
        assert_eq!(lines.next(at(60)), None, "all of its time is over");
        assert!(lines.waiting.is_empty());
    }

    #[test]
    fn what_many_at_once_need_is_there_for_the_next_many() {
        // Three at once every 30 ms, of which two come back and one is used again and again meanwhile.
        let mut lines = Lines::new();
        lines.waiting.extend([resting(0, 'a'), resting(0, 'b'), resting(0, 'c')]);
        let mut opened = 0;
        for now in (1..1000).step_by(5) {
            let wanted = if now % 30 == 1 { 3 } else { 1 };
            let used: Vec<_> = (0..wanted).map(|_| lines.next(at(now))).collect();
            opened += used.iter().filter(|line| line.is_none()).count();
            lines.waiting.extend(used.into_iter().map(|line| resting(now + 1, line.unwrap_or('n'))));
        }
        assert_eq!((opened, lines.waiting.len()), (0, 3));
    }

    #[test]
    fn each_is_used_again_for_its_own_time() {
        let long = |since, line| Resting { reuse: REUSE * 100, ..resting(since, line) };
        let mut lines = Lines::new();
        lines.waiting.extend([long(0, 'a'), resting(1, 'b'), long(2, 'c'), resting(3, 'd')]);
        assert_eq!(lines.next(at(60)), Some('c'), "d is over");
        assert_eq!(lines.next(at(60)), Some('a'), "b is over");
        assert_eq!(lines.next(at(60)), None);

        lines.waiting.extend([long(0, 'a'), resting(1, 'b'), resting(20, 'c')]);
        assert_eq!(lines.sweep(at(50)), Some(at(51)));
        assert_eq!(lines.sweep(at(51)), Some(at(70)));
        assert_eq!(lines.sweep(at(70)), Some(at(5000)));
        assert_eq!(lines.sweep(at(5000)), None);
        assert!(lines.waiting.is_empty());
    }

    #[test]
    fn half_of_what_a_server_announces_is_used() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("Keep-Alive", HeaderValue::from_static(value));
            }
            announced(&headers)
        };
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(read(&["timeout=5"]), millis(2500));
        assert_eq!(read(&["timeout=5, max=100"]), millis(2500));
        assert_eq!(read(&["max=100 , Timeout = 1"]), millis(500));
        assert_eq!(read(&["max=100", "timeout=20"]), millis(10_000));
        assert_eq!(read(&["timeout=86400"]), millis(10_000));
        assert_eq!(read(&["timeout=0"]), millis(0), "it is not used again");
        for unreadable in
            ["", "timeout", "timeout=", "timeout=-1", "timeout=1.5", "timeout=99999999999999999999", "max=9"]
        {
            assert_eq!(read(&[unreadable]), None, "{unreadable}");
        }
        assert_eq!(read(&[]), None);
    }
}
