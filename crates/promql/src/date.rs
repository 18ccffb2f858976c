//! The calendar: what day a time is, in UTC.

const DAY: i64 = 86_400;

/// A time in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    /// From 1 on.
    pub(crate) day_of_year: i64,
    /// Sunday is 0.
    pub(crate) weekday: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

impl Date {
    /// Of seconds since 1970. Times that no calendar reaches are its ends.
    pub(crate) fn of(seconds: i64) -> Self {
        let seconds = seconds.clamp(-1_000_000_000_000_000, 1_000_000_000_000_000);
        let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        // Years that begin in March, in cycles of 400 years: the leap day is the last one.
        let shifted = days + 719_468;
        let cycle = shifted.div_euclid(146_097);
        let in_cycle = shifted.rem_euclid(146_097);
        let year_of_cycle = (in_cycle - in_cycle / 1_460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
        let in_year = in_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        let month_from_march = (5 * in_year + 2) / 153;
        let day = in_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_cycle + cycle * 400 + i64::from(month <= 2);
        let leap = i64::from(is_leap(year));
        let day_of_year = if month > 2 { in_year + 60 + leap } else { in_year - 305 };
        Self {
            year,
            month,
            day,
            day_of_year,
            weekday: (days + 4).rem_euclid(7),
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }

    pub(crate) fn days_in_month(&self) -> i64 {
        match self.month {
            2 => 28 + i64::from(is_leap(self.year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }
}

/// Of milliseconds, without their fraction.
pub(crate) fn rfc3339(milliseconds: i64) -> String {
    let date = Date::of(milliseconds.div_euclid(1000));
    let Date { year, month, day, hour, minute, second, .. } = date;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_136_239_445_000), "2006-01-02T22:04:05Z");
        assert_eq!(rfc3339(1_456_790_399_000), "2016-02-29T23:59:59Z");
        assert_eq!(rfc3339(-1000), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn days_follow_each_other() {
        let mut before = Date::of(-400 * 365 * DAY);
        for day in -400 * 365 + 1..400 * 365 {
            let date = Date::of(day * DAY);
            let (last, new_year) = (before.day == before.days_in_month(), before.month == 12);
            let (year, month, of_month) = (before.year, before.month, before.day);
            let expected = match (last, new_year) {
                (true, true) => (year + 1, 1, 1),
                (true, false) => (year, month + 1, 1),
                _ => (year, month, of_month + 1),
            };
            assert_eq!((date.year, date.month, date.day), expected);
            assert_eq!(date.weekday, (before.weekday + 1) % 7);
            let day_of_year = if date.month == 1 && date.day == 1 { 1 } else { before.day_of_year + 1 };
            assert_eq!(date.day_of_year, day_of_year);
            before = date;
        }
    }
}
