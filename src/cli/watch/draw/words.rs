//! Figures and times as a person reads them, in few columns.

use crate::model::Time;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;

/// What did not arrive.
pub(super) const NOTHING: &str = "–";

/// `49,120`; from ten million on `12.3M`.
pub(super) fn count(figure: u64) -> String {
    for (unit, name) in [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M")] {
        if figure >= 10_000_000 && figure >= unit {
            return format!("{}.{}{name}", figure / unit, figure % unit / (unit / 10));
        }
    }
    let digits = figure.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `512 MiB`.
pub(super) fn bytes(figure: u64) -> String {
    for (unit, name) in [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if figure >= unit {
            return format!("{}.{} {name}", figure / unit, figure % unit * 10 / unit);
        }
    }
    format!("{figure} B")
}

/// `4s`, `3m12s`, `2h05m`, `3d04h`: at most six columns up to three years.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, seconds / 3_600, seconds / 60) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes:02}m"),
        (1..=999, _, _) => format!("{days}d{hours:02}h"),
        _ => format!("{days}d"),
    }
}

/// How long it is until then: `now` when it is.
pub(super) fn until(at: Option<Time>, now: Time) -> String {
    match at {
        None => NOTHING.to_owned(),
        Some(at) if at <= now => "now".to_owned(),
        // Rounded up: what takes half a second is not over.
        Some(at) => span(at.since(now) + Duration::from_nanos(999_999_999)),
    }
}

/// `14:02:11`.
pub(super) fn clock(at: Option<Time>, zone: &TimeZone) -> String {
    let moment = at.and_then(|at| Timestamp::from_nanosecond(i128::from(at.as_nanos())).ok());
    moment.map_or(NOTHING.to_owned(), |moment| moment.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string())
}

/// `0.4`, `12.3`, `1,234`: per second, or milliseconds.
pub(super) fn decimal(figure: f64) -> String {
    if !figure.is_finite() || figure < 0.0 {
        return NOTHING.to_owned();
    }
    if figure < 99.95 {
        return format!("{figure:.1}");
    }
    // A figure of this size has no fraction worth a column.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "finite, positive, and clamped")]
    let whole = figure.round().min(1e15) as u64;
    count(whole)
}

/// `[####----==]`: what is used of a limit, and the reserve at its end. `width` with the brackets.
pub(super) fn gauge(used: u64, limit: u64, reserve: u64, width: usize) -> String {
    let room = width.saturating_sub(2);
    let share = |part: u64| -> usize {
        if limit == 0 {
            return 0;
        }
        let columns = u128::from(part.min(limit)) * room as u128 / u128::from(limit);
        usize::try_from(columns).unwrap_or(room)
    };
    let filled = share(used).max(usize::from(used > 0 && room > 0));
    // Full only when it is.
    let filled = if used < limit { filled.min(room.saturating_sub(1)) } else { filled };
    let kept = share(reserve).max(usize::from(reserve > 0 && room > 0)).min(room - filled);
    format!("[{}{}{}]", "#".repeat(filled), "-".repeat(room - filled - kept), "=".repeat(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let counts = [0, 999, 1_000, 49_120, 9_999_999, 12_345_678, 2_000_000_000].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "49,120", "9,999,999", "12.3M", "2.0G"]);
        assert_eq!(count(u64::MAX), "18446744.0T");
        assert_eq!([0, 2_048, 1_572_864].map(bytes), ["0 B", "2.0 KiB", "1.5 MiB"]);
        let decimals = [0.0, 0.44, 99.9, 100.2, 12_345.6, f64::NAN, f64::INFINITY, -1.0].map(decimal);
        assert_eq!(decimals, ["0.0", "0.4", "99.9", "100", "12,346", "–", "–", "–"]);
    }

    #[test]
    fn times_are_short() {
        let spans = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 90_000_000].map(|s| span(Duration::from_secs(s)));
        assert_eq!(spans, ["0s", "59s", "1m00s", "59m59s", "1h00m", "23h59m", "1d00h", "1041d"]);
        let now = Time::from_millis(1_700_000_000_000);
        assert_eq!(until(None, now), "–");
        assert_eq!(until(Some(now), now), "now");
        assert_eq!(until(Some(now + Duration::from_millis(1)), now), "1s");
        assert_eq!(clock(Some(now), &TimeZone::UTC), "22:13:20");
        assert_eq!(clock(Some(Time::MAX), &TimeZone::UTC).len(), 8);
    }

    #[test]
    fn a_gauge_shows_the_reserve_and_is_full_only_at_the_limit() {
        assert_eq!(gauge(0, 100, 20, 12), "[--------==]");
        assert_eq!(gauge(1, 100, 20, 12), "[#-------==]");
        assert_eq!(gauge(50, 100, 1, 12), "[#####----=]");
        assert_eq!(gauge(99, 100, 20, 12), "[#########=]");
        assert_eq!(gauge(100, 100, 20, 12), "[##########]");
        assert_eq!(gauge(u64::MAX, 100, u64::MAX, 12), "[##########]");
        assert_eq!(gauge(5, 0, 0, 12), "[#---------]");
        for width in 0..4 {
            assert_eq!(gauge(1, 2, 1, width).len(), width.max(2));
        }
    }
}
