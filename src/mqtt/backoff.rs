use std::time::Duration;

/// How long to wait before the next attempt: doubles from the minimum to the maximum.
///
/// A connection that lasted longer than the wait before it starts it over. Being accepted alone does not: a broker
/// that accepts and closes at once would be asked ten times a second.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    last: Duration,
}

impl Backoff {
    /// `min` is at least a millisecond, and `max` at least `min`; what is less is raised.
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        let min = min.max(Duration::from_millis(1));
        Self { min, max: max.max(min), last: Duration::ZERO }
    }

    /// The longest wait due now, when the last connection lasted that long; `None` when there was none.
    pub(super) fn next(&mut self, lasted: Option<Duration>) -> Duration {
        let proven = lasted.is_some_and(|lasted| lasted > self.last);
        self.last = if proven { self.min } else { (self.last * 2).clamp(self.min, self.max) };
        self.last
    }

    /// The maximum, when the other side must be left alone.
    pub(super) fn longest(&mut self) -> Duration {
        self.last = self.max;
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn doubles_up_to_the_maximum() {
        let mut backoff = Backoff::new(ms(100), ms(1000));
        let waits: Vec<_> = (0..6).map(|_| backoff.next(None)).collect();
        assert_eq!(waits, [ms(100), ms(200), ms(400), ms(800), ms(1000), ms(1000)]);
    }

    #[test]
    fn starts_over_after_a_connection_that_outlasted_the_wait() {
        let mut backoff = Backoff::new(ms(100), ms(1000));
        assert_eq!(backoff.next(None), ms(100));
        assert_eq!(backoff.next(Some(ms(50))), ms(200), "closed at once");
        assert_eq!(backoff.next(Some(ms(5000))), ms(100));
        assert_eq!(backoff.longest(), ms(1000));
        assert_eq!(backoff.next(Some(ms(900))), ms(1000), "taken over again");
    }

    #[test]
    fn senseless_bounds_are_raised() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert_eq!(backoff.next(None), ms(1));
        assert_eq!(backoff.next(None), ms(1));
    }
}
