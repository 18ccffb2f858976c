//! Times in UTC, as access logs and `date` headers write them.

use std::cell::Cell;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::text::{Buffer, Short};

/// A civil date and time in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Utc {
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    nanos: u32,
    unix: i64,
}

const DAY: i64 = 86_400;

impl Utc {
    fn new(at: SystemTime) -> Self {
        let (unix, nanos) = match at.duration_since(UNIX_EPOCH) {
            Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
            Err(_) => (0, 0),
        };
        let (days, in_day) = (unix.div_euclid(DAY), u32::try_from(unix.rem_euclid(DAY)).unwrap_or(0));
        let (year, month, day) = civil(days);
        Self { year, month, day, hour: in_day / 3600, minute: in_day / 60 % 60, second: in_day % 60, nanos, unix }
    }
}

/// Year, month and day of a number of days since 1970-01-01 in the Gregorian calendar: years are counted from March, so that
/// the leap day is the last of its year, in eras of 400 years.
fn civil(days: i64) -> (i64, u32, u32) {
    const ERA: i64 = 146_097;
    let shifted = days.saturating_add(719_468);
    let (era, day_of_era) = (shifted.div_euclid(ERA), shifted.rem_euclid(ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, u32::try_from(month).unwrap_or(1), u32::try_from(day).unwrap_or(1))
}

thread_local! {
    /// A second and how it reads: lines of one second are many.
    static LAST: Cell<(u64, Short<20>)> = Cell::new((0, second(0)));
}

/// Appends `2026-11-22T17:35:03.012Z`.
pub(super) fn write_utc(at: SystemTime, out: &mut Buffer) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (mut last, mut text) = LAST.get();
    if last != since.as_secs() {
        (last, text) = (since.as_secs(), second(since.as_secs()));
        LAST.set((last, text));
    }
    out.put(&text);
    let mut fraction = Short::<5>::default();
    fraction.digits::<3>(since.subsec_millis());
    fraction.push(b'Z');
    out.put(&fraction);
}

/// `2026-11-22T17:35:03.`
fn second(unix: u64) -> Short<20> {
    let t = Utc::new(UNIX_EPOCH + Duration::from_secs(unix));
    let mut text = Short::default();
    date(&t, &mut text);
    text.push(b'T');
    time(&t, &mut text);
    text.push(b'.');
    text
}

/// Of a year until 9999.
fn date<const N: usize>(t: &Utc, text: &mut Short<N>) {
    text.digits::<4>(u32::try_from(t.year).unwrap_or(0));
    text.push(b'-');
    text.digits::<2>(t.month);
    text.push(b'-');
    text.digits::<2>(t.day);
}

fn time<const N: usize>(t: &Utc, text: &mut Short<N>) {
    text.digits::<2>(t.hour);
    text.push(b':');
    text.digits::<2>(t.minute);
    text.push(b':');
    text.digits::<2>(t.second);
}

/// Appends a time as a `strftime` format says, with Envoy's additions: `%f`, `%1f` to `%9f` (fraction of a second) and `%E3S`.
pub(super) fn write_formatted(at: SystemTime, format: Option<&str>, out: &mut Buffer) -> bool {
    let Some(format) = format else {
        write_utc(at, out);
        return true;
    };
    let t = Utc::new(at);
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push(before.as_bytes());
        rest = specifier(&t, after, out);
    }
    out.push(rest.as_bytes());
    true
}

/// Appends what one specifier stands for; returns what follows it. An unknown one stands for itself.
fn specifier<'a>(t: &Utc, text: &'a str, out: &mut Buffer) -> &'a str {
    if let Some(rest) = text.strip_prefix("E3S") {
        let _ = write!(out, "{:02}.{:03}", t.second, t.nanos / 1_000_000);
        return rest;
    }
    let mut chars = text.chars();
    let first = chars.next();
    let rest = chars.as_str();
    let _ = match first {
        Some('Y') => write!(out, "{:04}", t.year),
        Some('m') => write!(out, "{:02}", t.month),
        Some('d') => write!(out, "{:02}", t.day),
        Some('H') => write!(out, "{:02}", t.hour),
        Some('M') => write!(out, "{:02}", t.minute),
        Some('S') => write!(out, "{:02}", t.second),
        Some('F') => {
            let mut text = Short::<10>::default();
            date(t, &mut text);
            out.put(&text);
            Ok(())
        }
        Some('T') => {
            let mut text = Short::<8>::default();
            time(t, &mut text);
            out.put(&text);
            Ok(())
        }
        Some('s') => write!(out, "{}", t.unix),
        Some('z') => write!(out, "+0000"),
        Some('Z') => write!(out, "UTC"),
        Some('f') => write!(out, "{:09}", t.nanos),
        Some('%') => write!(out, "%"),
        Some(digit @ '1'..='9') if rest.starts_with('f') => {
            let digits = digit.to_digit(10).unwrap_or(9);
            let width = usize::try_from(digits).unwrap_or(9);
            let _ = write!(out, "{:0width$}", t.nanos / 10_u32.pow(9 - digits));
            return rest.get(1..).unwrap_or_default();
        }
        Some(other) => write!(out, "%{other}"),
        None => write!(out, "%"),
    };
    rest
}
