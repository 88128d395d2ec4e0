//! Both limits, decided by governor on the engine's time.
//!
//! Governor keeps one number per key, a theoretical arrival time, and allows a cell when the clock has reached it.
//! Our stores show it a *virtual* one: the moment at which our rule is met. So governor decides, and its answer
//! carries the exact moment to ask again, for two rules that its own stores cannot express: spacing counted from the
//! answer, and an exact sliding hour that wastes nothing.

use super::hour::{Hour, Minutes, WINDOW};
use super::settings::{AccountLimits, CorpLimits};
use super::steady::SteadyClock;
use super::tables::{AccountKey, CorpKey};
use crate::model::Time;
use governor::clock::Reference;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

type Limiter<K, S> = RateLimiter<K, S, SteadyClock, NoOpMiddleware<Nanos>>;

/// Added to the spacing: the clocks of two hosts may run at slightly different rates.
pub(super) const GUARD: Duration = Duration::from_millis(1);

/// A limit that says no, and when to ask again (`None`: when a send under way has ended).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotBefore(pub(super) Option<Time>);

/// A quota that governor meets exactly when the clock has reached the arrival time it is shown.
fn exact_quota() -> Quota {
    Quota::with_period(Duration::from_nanos(1)).expect("one nanosecond is a period").allow_burst(NonZeroU32::MIN)
}

fn locked<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned lock means that a panic is already on its way out of the only thread that uses it.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The spacing between two sends of one account.
pub(super) struct Spacing {
    clock: SteadyClock,
    limiter: Limiter<AccountKey, Slots>,
    slots: Slots,
}

#[derive(Clone, Default)]
struct Slots(Arc<Mutex<Vec<Slot>>>);

#[derive(Clone, Copy)]
struct Slot {
    /// Since when the spacing counts: the last send, or the end of it. `None` before the first.
    since: Option<Time>,
    interval: Duration,
}

impl Slot {
    fn next_at(&self) -> Time {
        self.since.map_or(Time::default(), |since| since + self.interval + GUARD)
    }
}

impl StateStore for Slots {
    type Key = AccountKey;

    fn measure_and_replace<T, F, E>(&self, key: &AccountKey, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut slots = locked(&self.0);
        let slot = &mut slots[key.index()];
        let (allowed, arrival) = f(Some(Nanos::new(slot.next_at().as_nanos())))?;
        slot.since = Some(Time::from_nanos(arrival.as_u64()));
        Ok(allowed)
    }
}

impl Spacing {
    pub(super) fn new(clock: SteadyClock) -> Self {
        let slots = Slots::default();
        Self { limiter: RateLimiter::new(exact_quota(), slots.clone(), clock.clone()), slots, clock }
    }

    /// Adds the next account; keys are handed out in order.
    pub(super) fn add(&mut self, limits: AccountLimits) {
        locked(&self.slots.0).push(Slot { since: None, interval: limits.interval });
    }

    /// Takes the account's slot for a send that starts at `at`, or says when it has the next.
    pub(super) fn take(&self, account: AccountKey, at: Time) -> Result<(), NotBefore> {
        let now = self.clock.time();
        self.clock.set(at);
        let taken = self.limiter.check_key(&account);
        self.clock.set(now);
        taken.map_err(|until| NotBefore(Some(Time::from_nanos(until.earliest_possible().as_u64()))))
    }

    /// Counts the spacing anew from `at`, when a send ended. Never makes the next slot earlier.
    pub(super) fn restart(&mut self, account: AccountKey, at: Time) {
        let mut slots = locked(&self.slots.0);
        let slot = &mut slots[account.index()];
        slot.since = slot.since.max(Some(at));
    }

    /// Spaces the account's sends by `interval` from its last one on.
    pub(super) fn set_interval(&mut self, account: AccountKey, interval: Duration) {
        locked(&self.slots.0)[account.index()].interval = interval;
    }

    pub(super) fn next_at(&self, account: AccountKey) -> Time {
        locked(&self.slots.0)[account.index()].next_at()
    }

    pub(super) fn interval(&self, account: AccountKey) -> Duration {
        locked(&self.slots.0)[account.index()].interval
    }
}

/// The sliding hour of every company, and its smoothing where that is configured.
pub(super) struct Hours {
    clock: SteadyClock,
    limiter: Limiter<Permit, Rings>,
    rings: Rings,
    smoothing: Vec<Option<Smoothing>>,
}

/// A place in a company's hour. What is urgent may use the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Permit {
    pub(super) corp: CorpKey,
    pub(super) urgent: bool,
}

#[derive(Clone)]
struct Rings(Arc<Mutex<Vec<Ring>>>, SteadyClock);

#[derive(Clone)]
struct Ring {
    hour: Hour,
    limits: CorpLimits,
}

impl Ring {
    fn limit(&self, urgent: bool) -> u32 {
        if urgent { self.limits.per_hour } else { self.limits.per_hour - self.limits.reserve }
    }
}

impl StateStore for Rings {
    type Key = Permit;

    fn measure_and_replace<T, F, E>(&self, permit: &Permit, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let now = self.1.time();
        let mut rings = locked(&self.0);
        let ring = &mut rings[permit.corp.index()];
        let limit = ring.limit(permit.urgent);
        let free_at = ring.hour.free_at(limit, now).unwrap_or(Time::MAX);
        let (allowed, _) = f(Some(Nanos::new(free_at.as_nanos())))?;
        ring.hour.start();
        Ok(allowed)
    }
}

/// A plain governor quota that spreads a company's hour: `limit - burst + 1` periods fill the window.
struct Smoothing {
    limiter: Limiter<CorpKey, Arrival>,
    arrival: Arrival,
    period: Duration,
}

#[derive(Clone, Default)]
struct Arrival(Arc<Mutex<Option<u64>>>);

impl StateStore for Arrival {
    type Key = CorpKey;

    fn measure_and_replace<T, F, E>(&self, _: &CorpKey, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut arrival = locked(&self.0);
        let (allowed, next) = f(arrival.map(Nanos::new))?;
        *arrival = Some(next.as_u64());
        Ok(allowed)
    }
}

impl Smoothing {
    fn new(limits: &CorpLimits, clock: SteadyClock) -> Option<Self> {
        let burst = NonZeroU32::new(limits.burst?.min(limits.per_hour))?;
        // Rounded up, plus one nanosecond so that the window holds with both its ends.
        let window_nanos = u64::try_from(Duration::from_secs(3600).as_nanos()).unwrap_or(u64::MAX);
        let period = Duration::from_nanos(window_nanos.div_ceil(u64::from(limits.per_hour - burst.get() + 1)) + 1);
        let quota = Quota::with_period(period)?.allow_burst(burst);
        let arrival = Arrival::default();
        Some(Self { limiter: RateLimiter::new(quota, arrival.clone(), clock), arrival, period })
    }

    /// Counts a send of an earlier life.
    fn replay(&self, at: Time) {
        let mut arrival = locked(&self.arrival.0);
        let earlier = arrival.unwrap_or_default().max(at.as_nanos());
        *arrival = Some(earlier.saturating_add(u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX)));
    }
}

impl Hours {
    /// `clock` still shows zero: see [`SteadyClock`].
    pub(super) fn new(clock: SteadyClock) -> Self {
        let rings = Rings(Arc::default(), clock.clone());
        Self {
            limiter: RateLimiter::new(exact_quota(), rings.clone(), clock.clone()),
            rings,
            clock,
            smoothing: Vec::new(),
        }
    }

    /// Adds the next company; keys are handed out in order.
    pub(super) fn add(&mut self, limits: CorpLimits) {
        // A limiter counts from the first reading of its clock, which has to be zero for absolute times.
        let now = self.clock.time();
        self.clock.set(Time::default());
        self.smoothing.push(Smoothing::new(&limits, self.clock.clone()));
        self.clock.set(now);
        locked(&self.rings.0).push(Ring { hour: Hour::new(), limits });
    }

    /// Lets the company's hour have that many places from now on: those that are taken count on.
    pub(super) fn set_limits(&mut self, corp: CorpKey, limits: CorpLimits) {
        let now = self.clock.time();
        self.clock.set(Time::default());
        let smoothing = Smoothing::new(&limits, self.clock.clone());
        self.clock.set(now);
        if let (Some(old), Some(new)) = (&self.smoothing[corp.index()], &smoothing) {
            *locked(&new.arrival.0) = *locked(&old.arrival.0);
        }
        self.smoothing[corp.index()] = smoothing;
        locked(&self.rings.0)[corp.index()].limits = limits;
    }

    /// The hours of these companies as they are, under new keys in that order, to play with on another clock, which
    /// still shows zero.
    pub(super) fn copy_of(&self, corps: &[CorpKey], clock: SteadyClock) -> Self {
        let mut copy = Self::new(clock.clone());
        for corp in corps {
            let ring = locked(&self.rings.0)[corp.index()].clone();
            let smoothing = self.smoothing[corp.index()].as_ref();
            copy.smoothing.push(smoothing.and_then(|smoothing| {
                let same = Smoothing::new(&ring.limits, clock.clone())?;
                *locked(&same.arrival.0) = *locked(&smoothing.arrival.0);
                Some(same)
            }));
            locked(&copy.rings.0).push(ring);
        }
        copy
    }

    /// Takes a place in the company's hour, or says when there is one.
    pub(super) fn take(&self, permit: Permit) -> Result<(), NotBefore> {
        if let Some(smoothing) = &self.smoothing[permit.corp.index()] {
            // Asked first without taking, because a place in the smoothing cannot be given back.
            self.room(permit)?;
            smoothing
                .limiter
                .check_key(&permit.corp)
                .map_err(|until| NotBefore(Some(Time::from_nanos(until.earliest_possible().as_u64()))))?;
        }
        self.limiter.check_key(&permit).map_err(|until| {
            let at = until.earliest_possible().duration_since(Nanos::new(0)).as_u64();
            NotBefore((at < Time::MAX.as_nanos()).then(|| Time::from_nanos(at)))
        })
    }

    fn room(&self, permit: Permit) -> Result<(), NotBefore> {
        let now = self.clock.time();
        let mut rings = locked(&self.rings.0);
        let ring = &mut rings[permit.corp.index()];
        let limit = ring.limit(permit.urgent);
        match ring.hour.free_at(limit, now) {
            Some(at) if at <= now => Ok(()),
            free_at => Err(NotBefore(free_at)),
        }
    }

    /// Counts a send as under way that an earlier life of the process started.
    pub(super) fn start_past(&mut self, corp: CorpKey) {
        locked(&self.rings.0)[corp.index()].hour.start();
    }

    /// A send ended. `counts` is false only when provably nothing was written.
    pub(super) fn end(&mut self, corp: CorpKey, now: Time, counts: bool) {
        locked(&self.rings.0)[corp.index()].hour.end(now, counts);
    }

    /// Counts a send that this process did not see start: one of an earlier life, or of another company.
    pub(super) fn add_past(&mut self, corp: CorpKey, at: Time, sends: u32, now: Time) {
        if at + WINDOW < now {
            return;
        }
        locked(&self.rings.0)[corp.index()].hour.add(at, sends, now);
        if let Some(smoothing) = &self.smoothing[corp.index()] {
            for _ in 0..sends {
                smoothing.replay(at);
            }
        }
    }

    /// Sends that count now, the limit, and when there is a place for what is not urgent.
    pub(super) fn status(&self, corp: CorpKey, now: Time) -> HourStatus {
        let mut rings = locked(&self.rings.0);
        let ring = &mut rings[corp.index()];
        let unreserved = ring.limit(false);
        HourStatus {
            used: ring.hour.used(now),
            limit: ring.limits.per_hour,
            reserve: ring.limits.reserve,
            free_at: ring.hour.free_at(unreserved, now),
        }
    }
}

/// A company's hour as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HourStatus {
    pub(super) used: u32,
    pub(super) limit: u32,
    pub(super) reserve: u32,
    pub(super) free_at: Option<Time>,
}

/// A fresh count of an account's last hour.
pub(super) fn minutes() -> Minutes {
    Minutes::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORP: CorpKey = CorpKey(0);

    fn at(second: u64) -> Time {
        Time::from_millis(1_700_000_000_000 + second * 1000)
    }

    #[test]
    fn a_full_hour_uses_up_nothing_of_what_spreads_it() {
        let clock = SteadyClock::default();
        let mut hours = Hours::new(clock.clone());
        hours.add(CorpLimits { per_hour: 3, reserve: 0, burst: Some(2) });
        let take = |hours: &Hours, second| {
            clock.set(at(second));
            hours.take(Permit { corp: CORP, urgent: false }).map_err(|NotBefore(until)| until)
        };
        for second in [0, 0, 1801] {
            assert_eq!(take(&hours, second), Ok(()));
        }
        for _ in 0..3 {
            hours.end(CORP, at(3000), true);
        }
        // By the spreading one could go now, again and again until the hour has room.
        for second in 4000..4010 {
            assert_eq!(take(&hours, second), Err(Some(at(3000) + WINDOW)));
        }
        clock.set(at(3000) + WINDOW);
        assert!(hours.take(Permit { corp: CORP, urgent: false }).is_ok());
    }
}
