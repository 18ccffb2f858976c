//! Moments and lengths of time as people write them on the command line.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// A length of time: `90s`, `5m`, `1h30m`, `2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Length(pub(crate) Duration);

/// Longer than anything that is kept.
const LONGEST: u64 = 3660 * 86_400;

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no length of time such as 90s, 5m, 1h30m or 2d");
        let mut total = 0_u64;
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, after) = rest.split_at(end);
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let mut letters = after.chars();
            let seconds = match letters.next() {
                Some('s') => 1,
                Some('m') => 60,
                Some('h') => 3600,
                Some('d') => 86_400,
                _ => return Err(wrong()),
            };
            total = number.checked_mul(seconds).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
            rest = letters.as_str();
        }
        if total == 0 || total > LONGEST {
            return Err(wrong());
        }
        Ok(Self(Duration::from_secs(total)))
    }
}

/// A moment: a time of RFC 3339, seconds since 1970, or how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Moment {
    /// Seconds since 1970.
    At(f64),
    /// So long ago.
    Ago(Length),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(seconds) = text.parse::<f64>().ok().filter(|s| (0.0..1e12).contains(s)) {
            return Ok(Self::At(seconds));
        }
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self::At(time.as_duration().as_secs_f64()));
        }
        text.parse().map(Self::Ago).map_err(|_| {
            format!("{text:?} is no time such as 2026-01-31T12:00:00Z, 1769860800 (seconds since 1970) or 10m (ten minutes ago)")
        })
    }
}

impl Moment {
    /// Seconds since 1970.
    pub(crate) fn seconds(self) -> f64 {
        match self {
            Self::At(seconds) => seconds,
            Self::Ago(length) => now() - length.0.as_secs_f64(),
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A time for people and programs alike: RFC 3339 in UTC, with so many digits after the second.
pub(crate) fn written(micros: i64, digits: u8) -> String {
    let Ok(time) = Timestamp::from_microsecond(micros) else { return "-".to_owned() };
    DateTimePrinter::new().precision(Some(digits)).timestamp_to_string(&time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read() {
        let seconds = |text: &str| text.parse::<Length>().map(|length| length.0.as_secs()).ok();
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("2d"), Some(172_800));
        for wrong in ["", "5", "m", "-5m", "1.5h", "0s", "5x", "99999999999999999999s", "9999999d", "5m 3s"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn moments_are_read() {
        assert_eq!("2026-01-31T12:00:00.5Z".parse(), Ok(Moment::At(1_769_860_800.5)));
        assert_eq!("2026-01-31T13:00:00+01:00".parse(), Ok(Moment::At(1_769_860_800.0)));
        assert_eq!("1769860800".parse(), Ok(Moment::At(1_769_860_800.0)));
        assert_eq!("10m".parse(), Ok(Moment::Ago(Length(Duration::from_secs(600)))));
        assert!("soon".parse::<Moment>().is_err());
        assert!("NaN".parse::<Moment>().is_err());
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(written(1_769_860_800_123_456, 3), "2026-01-31T12:00:00.123Z");
        assert_eq!(written(1_769_860_800_123_456, 0), "2026-01-31T12:00:00Z");
        assert_eq!(written(i64::MAX, 0), "-");
    }
}
