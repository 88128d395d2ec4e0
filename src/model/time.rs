use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// From here on some moments that can be written are beyond what the parser holds.
const LAST_DAYS: jiff::civil::Date = jiff::civil::date(9999, 12, 30);

/// A moment, in nanoseconds since the Unix epoch.
///
/// It is wall time at the start of the process plus monotonic time since, so it never goes backwards within a
/// process. Only `clock.rs` makes one from a clock; everybody else is handed one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The largest representable moment, which stands for "never".
    pub const MAX: Self = Self(u64::MAX);

    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the epoch, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Parses RFC 3339 with any offset. `None` when the text is no such moment. One before the epoch is the epoch,
    /// which is long past either way, and one beyond the year 2554 is [`Time::MAX`].
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let Ok(timestamp) = text.parse::<jiff::Timestamp>() else {
            // People take the last day for "never".
            let pieces = jiff::fmt::temporal::Pieces::parse(text).ok()?;
            let is_last = pieces.date() >= LAST_DAYS && pieces.time().is_some() && pieces.offset().is_some();
            return is_last.then_some(Self::MAX);
        };
        let nanos = timestamp.as_nanosecond().clamp(0, u64::MAX.into());
        u64::try_from(nanos).ok().map(Self)
    }
}

/// RFC 3339 in UTC with milliseconds, the form of every time on a topic.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(timestamp) => write!(f, "{timestamp:.3}"),
            Err(_) => f.write_str("never"),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 moment"))
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Time")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "date-time",
            "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
            "description": "RFC 3339, UTC, with milliseconds",
        })
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_milliseconds_and_reads_offsets() {
        let time = Time::from_millis(1_700_000_000_123);
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Time::parse_rfc3339("2023-11-15T06:13:20.123+08:00"), Some(time));
        assert_eq!(Time::parse_rfc3339("yesterday"), None);
        assert_eq!(Time::parse_rfc3339("1950-01-01T00:00:00Z"), Some(Time::default()));
        for never in ["2600-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999-08:00"] {
            assert_eq!(Time::parse_rfc3339(never), Some(Time::MAX), "{never}");
        }
        for bad in ["9999-12-31", "9999-12-31T23:59:59", "9999-12-32T00:00:00Z", "9999-12-31T25:00:00Z"] {
            assert_eq!(Time::parse_rfc3339(bad), None, "{bad}");
        }
    }
}
