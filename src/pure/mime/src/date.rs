//! Dates of header fields (RFC 5322 3.3, obsolete forms of 4.3).

use crate::cursor::Cursor;

const MONTHS: [&[u8]; 12] = [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];

/// Seconds since 1970-01-01 UTC of an unfolded date-time, and how many seconds east of UTC its clock was; none if it cannot be read. The day of
/// the week is not compared.
pub fn parse(value: &[u8]) -> Option<(i64, i32)> {
    let mut cursor = Cursor::new(value);
    cursor.skip_cfws();
    let day_name = cursor.take_while(|b| b.is_ascii_alphabetic());
    cursor.skip_cfws();
    if !day_name.is_empty() {
        cursor.eat(b',');
    }
    let day = number(&mut cursor, 1, 2)?;
    cursor.skip_cfws();
    let month = cursor.take_while(|b| b.is_ascii_alphabetic());
    // Full names are no RFC 5322 and unmistakable.
    let short = month.get(..3)?;
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(short))?;
    cursor.skip_cfws();
    let digits = cursor.take_while(|b| b.is_ascii_digit());
    let year = year(digits)?;
    let hour = number(&mut cursor, 1, 2)?;
    cursor.skip_cfws();
    if !cursor.eat(b':') {
        return None;
    }
    let minute = number(&mut cursor, 1, 2)?;
    cursor.skip_cfws();
    let second = if cursor.eat(b':') { number(&mut cursor, 1, 2)? } else { 0 };
    cursor.skip_cfws();
    let zone = zone(&mut cursor)?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days(year, i64::try_from(month).ok()? + 1, day)?;
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second - zone, i32::try_from(zone).ok()?))
}

fn number(cursor: &mut Cursor<'_>, min: usize, max: usize) -> Option<i64> {
    cursor.skip_cfws();
    let digits = cursor.take_while(|b| b.is_ascii_digit());
    if digits.len() < min || digits.len() > max { None } else { decimal(digits) }
}

fn decimal(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// RFC 5322 4.3: two digits are 1950 to 2049, three count from 1900.
fn year(digits: &[u8]) -> Option<i64> {
    let value = decimal(digits)?;
    match digits.len() {
        2 if value < 50 => Some(value + 2000),
        2 | 3 => Some(value + 1900),
        4 => Some(value),
        _ => None,
    }
}

/// Seconds east of UTC. A missing zone, the military ones and unknown ones count as `-0000` (RFC 5322 4.3).
fn zone(cursor: &mut Cursor<'_>) -> Option<i64> {
    let sign = match cursor.peek() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => {
            let name = cursor.take_while(|b| b.is_ascii_alphabetic());
            let hours = match name.to_ascii_uppercase().as_slice() {
                b"EDT" => -4,
                b"EST" | b"CDT" => -5,
                b"CST" | b"MDT" => -6,
                b"MST" | b"PDT" => -7,
                b"PST" => -8,
                _ => 0,
            };
            return Some(hours * 3_600);
        }
    };
    cursor.advance(1);
    let digits = cursor.take_while(|b| b.is_ascii_digit());
    let value = decimal(digits).filter(|_| digits.len() == 4)?;
    let (hours, minutes) = (value / 100, value % 100);
    (minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar. Years begin in March, so that a leap day is the last of one.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=last).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (given, expected) in [
            ("Thu, 1 Jan 1970 00:00:00 +0000", 0),
            ("Fri, 21 Nov 1997 09:55:06 -0600", 880_127_706),
            ("21 Nov 97 09:55:06 GMT", 880_106_106),
            ("Thu,\t13 (x(y))\tFeb 1969 23:32 -0330 (Newfoundland Time)", -27_723_480),
            ("Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", 880_127_706),
            ("Thu, 1 Jan 2026 00:00:00 +0000", 1_767_225_600),
            ("29 Feb 2024 12:00:00 EST", 1_709_226_000),
            ("31 Dec 2016 23:59:60 UT", 1_483_228_800),
            ("1 Jan 126 00:00:00 Z", 1_767_225_600),
            ("1 January 2026 00:00", 1_767_225_600),
        ] {
            assert_eq!(parse(given.as_bytes()).map(|(seconds, _)| seconds), Some(expected), "{given}");
        }
    }

    #[test]
    fn zones() {
        for (given, expected) in [("+0530", 19_800), ("-0330", -12_600), ("PDT", -25_200), ("GMT", 0), ("", 0)] {
            let (seconds, zone) = parse(format!("Fri, 21 Nov 1997 23:55 {given}").as_bytes()).unwrap();
            assert_eq!((seconds + i64::from(zone), zone), (880_156_500, expected), "{given}");
        }
    }

    #[test]
    fn no_dates() {
        for given in [
            "",
            "yesterday",
            "30 Feb 2024 00:00:00 +0000",
            "29 Feb 2023 00:00:00 +0000",
            "0 Jan 2026 00:00:00 +0000",
            "1 Foo 2026 00:00:00 +0000",
            "1 Jan 2026 24:00:00 +0000",
            "1 Jan 2026 00:60 +0000",
            "1 Jan 99999 00:00:00 +0000",
            "1 Jan 2026 00:00:00 +1",
            "1 Jan 2026 00:00:00 +0060",
            "99999999999999999999 Jan 2026 00:00:00 +0000",
            "1 Jan 2026",
        ] {
            assert_eq!(parse(given.as_bytes()), None, "{given}");
        }
    }
}
