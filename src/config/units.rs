//! Durations, sizes and shares as people write them, both ways.

use std::time::Duration;

const KIB: u64 = 1024;
const SIZES: [(&str, u64); 4] = [("GiB", KIB * KIB * KIB), ("MiB", KIB * KIB), ("KiB", KIB), ("B", 1)];
const SPANS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads `"500ms"`, `"24h"`, `"1h 30m"`.
///
/// # Errors
/// What is wrong with it and what to write instead.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    if !trimmed.is_empty() && trimmed.chars().all(|c| c.is_ascii_digit()) {
        return Err(no_unit(trimmed));
    }
    // To humantime a capital M is a month; whoever writes it means minutes.
    if trimmed.contains('M') {
        return Err(format!("{text:?} has an unclear unit; write \"m\" for minutes, \"d\" for days"));
    }
    humantime::parse_duration(trimmed).map_err(|_| {
        format!("{text:?} is not a duration; write a number and a unit, such as \"500ms\", \"30s\", \"24h\"")
    })
}

/// The message for a duration that is a bare number.
pub(super) fn no_unit(number: &str) -> String {
    format!("{number} has no unit; write \"{number}s\" for seconds, or \"{number}ms\", \"{number}m\", \"{number}h\"")
}

/// The shortest exact form that [`duration`] reads again.
pub(super) fn show_duration(span: Duration) -> String {
    let nanos = span.as_nanos();
    for (unit, length) in SPANS {
        // One day is better known as 24 hours.
        let least = if unit == "d" { 2 } else { 1 };
        if nanos >= length * least && nanos.is_multiple_of(length) {
            return format!("{}{unit}", nanos / length);
        }
    }
    "0s".to_owned()
}

/// Reads `"256KiB"`, `"1MiB"`, `"2GiB"`, `"512B"` as bytes.
///
/// # Errors
/// What is wrong with it and what to write instead.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let digits = trimmed.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = trimmed[digits.len()..].trim();
    let sample = "write a whole number and a unit, such as \"256KiB\", \"1MiB\", \"2GiB\"";
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
        return Err(format!("{text:?} is not a size; {sample}"));
    }
    let Some((_, length)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        let letter = unit.chars().next().map(|c| c.to_ascii_uppercase());
        let meant = SIZES.iter().find(|(name, _)| name.chars().next() == letter);
        return Err(match meant {
            _ if unit.is_empty() => no_size_unit(digits),
            Some((name, _)) => format!("{unit:?} is not a unit of size here; write \"{digits}{name}\""),
            None => format!("{unit:?} is not a unit of size; {sample}"),
        });
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is too large"))?;
    number.checked_mul(*length).ok_or_else(|| format!("{text:?} is too large"))
}

/// The message for a size that is a bare number.
pub(super) fn no_size_unit(number: &str) -> String {
    format!("{number} has no unit; write \"{number}B\" for bytes, or \"{number}KiB\", \"{number}MiB\"")
}

/// The shortest exact form that [`size`] reads again.
pub(super) fn show_size(bytes: u64) -> String {
    for (unit, length) in SIZES {
        if bytes >= length && bytes.is_multiple_of(length) {
            return format!("{}{unit}", bytes / length);
        }
    }
    "0B".to_owned()
}

/// Reads `"2%"`.
///
/// # Errors
/// What is wrong with it and what to write instead.
pub(super) fn percent(text: &str) -> Result<u8, String> {
    let Some(number) = text.trim().strip_suffix('%') else {
        return Err(format!("{text:?} is not a share; write a whole number and a percent sign, such as \"2%\""));
    };
    number.trim().parse().map_err(|_| format!("{text:?} is not a share; write a whole percent, such as \"2%\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shows_what_people_write() {
        for text in ["500ms", "30s", "5m", "1h", "24h", "7d", "50ms", "0s", "1500ms", "90m"] {
            assert_eq!(show_duration(duration(text).expect(text)), text);
        }
        for text in ["256KiB", "1MiB", "2GiB", "100B", "0B"] {
            assert_eq!(show_size(size(text).expect(text)), text);
        }
    }

    #[test]
    fn refuses_with_what_to_write() {
        assert!(duration("30").is_err_and(|message| message.contains("\"30s\"")));
        assert!(duration("5M").is_err_and(|message| message.contains("minutes")));
        assert!(size("256").is_err_and(|message| message.contains("\"256KiB\"")));
        assert!(size("256kb").is_err_and(|message| message.contains("\"256KiB\"")));
        assert!(size("1.5MiB").is_err());
        assert!(size("99999999999GiB").is_err_and(|message| message.contains("too large")));
        assert!(percent("2").is_err() && percent("2.5%").is_err() && percent("-1%").is_err());
        assert_eq!(percent("2 %"), Ok(2));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,20}") {
            let _ = (duration(&text), size(&text), percent(&text));
        }

        #[test]
        fn every_duration_comes_back(nanos in 0..u64::MAX) {
            let span = Duration::from_nanos(nanos);
            prop_assert_eq!(duration(&show_duration(span)), Ok(span));
        }

        #[test]
        fn every_size_comes_back(bytes: u64) {
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
    }
}
