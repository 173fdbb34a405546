use std::{fmt, str::FromStr};

/// A number of bytes, written `5 GiB`, `500 MB` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

/// Not a number followed by one of the units, or too large to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a size")]
pub struct InvalidSize;

/// Largest first within each family, so that the first exact one is the shortest way to write a size.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl Size {
    /// A size known at compile time or already counted.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = InvalidSize;

    /// Digits, at most one blank, a unit (binary KiB MiB GiB TiB, decimal kB MB GB TB, B or nothing).
    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let number: u64 = digits.parse().map_err(|_| InvalidSize)?;
        if unit.is_empty() {
            return Ok(Self(number));
        }
        let unit = unit.strip_prefix(' ').unwrap_or(unit);
        let (_, factor) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or(InvalidSize)?;
        number.checked_mul(*factor).map(Self).ok_or(InvalidSize)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        match exact {
            Some((name, factor)) => write!(f, "{} {name}", self.0 / factor),
            None => write!(f, "{} B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, written) in [
            ("0", 0, "0 B"),
            ("1", 1, "1 B"),
            ("1536", 1536, "1536 B"),
            ("5 GiB", 5 << 30, "5 GiB"),
            ("5GiB", 5 << 30, "5 GiB"),
            ("2048 mib", 2 << 30, "2 GiB"),
            ("500 MB", 500_000_000, "500 MB"),
            ("1 kB", 1000, "1 kB"),
            ("16777215 TiB", 16_777_215 << 40, "16777215 TiB"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.bytes(), bytes, "{text}");
            assert_eq!(size.to_string(), written);
            assert_eq!(written.parse::<Size>().unwrap(), size);
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in
            ["", " 5", "5 ", "5  GiB", "-1", "+1", "5.5 GiB", "GiB", "5 G", "5 GiB ", "16777216 TiB", "18446744073709551616", "5_000"]
        {
            assert_eq!(text.parse::<Size>(), Err(InvalidSize), "{text:?}");
        }
    }
}
