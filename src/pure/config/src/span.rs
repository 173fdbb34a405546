use std::{fmt, str::FromStr, time::Duration};

/// A length of time, written `30m`, `4h` or `5d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

/// Not a number followed by one of the units, or too long to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a length of time")]
pub struct InvalidSpan;

/// Longest first, so that the first exact one is the shortest way to write a span. In seconds.
const UNITS: [(&str, u64); 5] = [("w", 7 * 86_400), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl Span {
    /// No time at all: what turns a setting off.
    pub const ZERO: Self = Self(0);

    /// Of a duration known at compile time; parts of a second are left out.
    pub const fn of(duration: Duration) -> Self {
        Self(duration.as_secs())
    }

    /// The same as a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;

    /// Digits, at most one blank, a unit (s m h d w); `0` needs none.
    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let number: u64 = digits.parse().map_err(|_| InvalidSpan)?;
        if unit.is_empty() && number == 0 {
            return Ok(Self::ZERO);
        }
        let unit = unit.strip_prefix(' ').unwrap_or(unit);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(InvalidSpan)?;
        number.checked_mul(*factor).map(Self).ok_or(InvalidSpan)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor)) {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => f.write_str("0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, seconds, written) in [
            ("0", 0, "0"),
            ("0h", 0, "0"),
            ("90s", 90, "90s"),
            ("30m", 1_800, "30m"),
            ("30 m", 1_800, "30m"),
            ("24h", 86_400, "1d"),
            ("5d", 432_000, "5d"),
            ("14d", 1_209_600, "2w"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.duration(), Duration::from_secs(seconds), "{text}");
            assert_eq!(span.to_string(), written);
            assert_eq!(written.parse::<Span>().unwrap(), span);
        }
    }

    #[test]
    fn what_is_not_a_span_is_refused() {
        for text in [
            "",
            "5",
            "h",
            "-1h",
            "+1h",
            "1.5h",
            "5  d",
            "5d ",
            " 5d",
            "5D",
            "5min",
            "1h30m",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert_eq!(text.parse::<Span>(), Err(InvalidSpan), "{text:?}");
        }
    }
}
