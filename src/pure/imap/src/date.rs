//! Dates by the civil calendar, without a clock or a time zone table.

use crate::sequence::number;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// A day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(pub i32);

impl Date {
    /// Reads `date-text`: `1-Feb-1994`, one or two digits for the day (RFC 9051 9).
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = text.split(|b| *b == b'-');
        let (day, month, year) = (fields.next()?, fields.next()?, fields.next()?);
        if fields.next().is_some() || !matches!(day.len(), 1..=2) || year.len() != 4 {
            return None;
        }
        civil(number(year)?, month, number(day)?)
    }

    /// The second at which the day begins in UTC.
    pub fn start(self) -> i64 {
        i64::from(self.0) * DAY
    }
}

/// An instant as the client gave it (RFC 9051 9 date-time).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime {
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
}

impl DateTime {
    /// Reads ` 1-Feb-1994 10:11:12 +0130`, without its quotes.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != 26 || text.get(11) != Some(&b' ') || text.get(20) != Some(&b' ') {
            return None;
        }
        let at = |range: std::ops::Range<usize>| text.get(range);
        let day = at(0..2)?.strip_prefix(b" ").map_or(at(0..2)?, |one| one);
        let date = civil_parts(day, at(2..11)?)?;
        let (hour, minute, second) = (number(at(12..14)?)?, number(at(15..17)?)?, number(at(18..20)?)?);
        if at(14..15)? != b":" || at(17..18)? != b":" || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (zone_hour, zone_minute) = (number(at(22..24)?)?, number(at(24..26)?)?);
        let sign: i64 = match at(21..22)? {
            b"+" => 1,
            b"-" => -1,
            _ => return None,
        };
        if zone_hour > 23 || zone_minute > 59 {
            return None;
        }
        let local = date.start() + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
        Some(Self { seconds: local - sign * (i64::from(zone_hour) * 3600 + i64::from(zone_minute) * 60) })
    }

    /// As INTERNALDATE writes it, in UTC and without quotes. Years outside 0..=9999 are cut to that range.
    pub fn text(self) -> String {
        let seconds = self.seconds.clamp(-62_167_219_200, 253_402_300_799);
        let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let (year, month, day) = from_days(days);
        let month = usize::try_from(month).ok().and_then(|m| MONTHS.get(m.checked_sub(1)?)).unwrap_or(&"Jan");
        format!("{day:2}-{month}-{year:04} {:02}:{:02}:{:02} +0000", rest / 3600, rest / 60 % 60, rest % 60)
    }
}

/// `-Feb-1994` after a day.
fn civil_parts(day: &[u8], rest: &[u8]) -> Option<Date> {
    let rest = rest.strip_prefix(b"-")?;
    let (month, year) = rest.split_at_checked(3)?;
    civil(number(year.strip_prefix(b"-").filter(|y| y.len() == 4)?)?, month, number(day)?)
}

fn civil(year: u32, month: &[u8], day: u32) -> Option<Date> {
    let month = MONTHS.iter().position(|name| month.eq_ignore_ascii_case(name.as_bytes()))?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        1 if leap => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    if day == 0 || day > last {
        return None;
    }
    let days = to_days(i64::from(year), i64::try_from(month).ok()? + 1, i64::from(day));
    i32::try_from(days).ok().map(Date)
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar. Years begin in March so that a leap day is the last.
fn to_days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_times_read_and_written() {
        for (text, seconds) in [
            (" 1-Jan-1970 00:00:00 +0000", 0),
            ("17-Jul-1996 02:44:25 -0700", 837_596_665),
            ("29-Feb-2024 23:59:60 +0000", 1_709_251_200),
            ("31-Dec-1969 23:59:59 +0000", -1),
        ] {
            assert_eq!(DateTime::parse(text.as_bytes()), Some(DateTime { seconds }), "{text}");
        }
        assert_eq!(DateTime { seconds: 837_596_665 }.text(), "17-Jul-1996 09:44:25 +0000");
        assert_eq!(DateTime { seconds: 0 }.text(), " 1-Jan-1970 00:00:00 +0000");
        assert_eq!(DateTime { seconds: i64::MAX }.text(), "31-Dec-9999 23:59:59 +0000");
        assert_eq!(DateTime { seconds: i64::MIN }.text(), " 1-Jan-0000 00:00:00 +0000");
        for bad in
            ["", "1-Jan-1970 00:00:00 +0000", "30-Feb-2024 00:00:00 +0000", "01-Jan-1970 24:00:00 +0000", "01-Jan-1970 00:00:00 *0000"]
        {
            assert_eq!(DateTime::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn days_read() {
        assert_eq!(Date::parse(b"1-Feb-1994"), Some(Date(8797)));
        assert_eq!(Date::parse(b"01-feb-1994"), Some(Date(8797)));
        for bad in ["29-Feb-2023", "0-Jan-2000", "1-Foo-2000", "1-Jan-00", "1-Jan-2000-", "001-Jan-2000", "-1-Jan-2000"] {
            assert_eq!(Date::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn every_day_survives_the_round_trip() {
        for day in (-719_528..2_932_896).step_by(37) {
            let (y, m, d) = from_days(day);
            assert_eq!(to_days(y, m, d), day);
        }
    }
}
