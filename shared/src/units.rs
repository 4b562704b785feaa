//! Durations as people write them: `1500ms`, `5s`, `2min`, `2h`.
//!
//! A time in Linger is a `u64` count of microseconds, everywhere. This module turns it into text
//! and back, in one notation for the command line, the API and the page.

use thiserror::Error;

/// The suffixes that [`parse_duration`] accepts, smallest first, with their size in microseconds.
pub const SUFFIXES: [(&str, u64); 5] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("min", 60_000_000),
    ("h", 3_600_000_000),
];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// The number is missing or is not a decimal number.
    #[error("`{0}` is not a duration: write a number and a unit, such as 1500ms, 5s, 2min or 2h")]
    Malformed(String),
    /// The unit is missing or unknown.
    #[error("`{0}` has no unit that is known: write us, ms, s, min or h, such as 1500ms or 5s")]
    Unit(String),
    /// The value does not fit into 64 bits of microseconds.
    #[error("`{0}` is too long to be represented")]
    TooLong(String),
}

/// Reads a duration, in microseconds.
///
/// A decimal fraction is allowed (`1.5s`); what is finer than a microsecond is rounded. Zero needs
/// no unit.
///
/// # Errors
/// [`DurationError`] names the text and what is wrong with it.
pub fn parse_duration(text: &str) -> Result<u64, DurationError> {
    let trimmed = text.trim();
    if trimmed == "0" {
        return Ok(0);
    }
    let split = trimmed
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .ok_or_else(|| {
            if trimmed.is_empty() {
                DurationError::Malformed(text.to_owned())
            } else {
                DurationError::Unit(text.to_owned())
            }
        })?;
    let (number, suffix) = trimmed.split_at(split);
    let value: f64 = number
        .parse()
        .map_err(|_| DurationError::Malformed(text.to_owned()))?;
    let size = SUFFIXES
        .iter()
        .find(|(name, _)| *name == suffix.trim())
        .map(|(_, size)| *size)
        .ok_or_else(|| DurationError::Unit(text.to_owned()))?;
    let micros = (value * size as f64).round();
    if micros > 9.0e18 {
        return Err(DurationError::TooLong(text.to_owned()));
    }
    Ok(micros as u64)
}

/// Writes a duration so that [`parse_duration`] gives the same value back: the largest unit that
/// divides it.
pub fn format_duration(micros: u64) -> String {
    if micros == 0 {
        return "0s".to_owned();
    }
    let (suffix, size) = SUFFIXES
        .iter()
        .rev()
        .find(|(_, size)| micros.is_multiple_of(*size))
        .copied()
        .unwrap_or(("us", 1));
    format!("{}{suffix}", micros / size)
}

/// Writes a measured time for people: three significant places in the unit that suits its size,
/// with a space before the unit (`82 us`, `20.4 ms`, `5.003 s`, `12 min 30 s`).
pub fn human(micros: u64) -> String {
    match micros {
        0..=999 => format!("{micros} us"),
        1_000..=99_999 => format!("{:.1} ms", micros as f64 / 1e3),
        100_000..=999_999 => format!("{:.0} ms", micros as f64 / 1e3),
        1_000_000..=119_999_999 => format!("{:.3} s", micros as f64 / 1e6),
        120_000_000..=7_199_999_999 => {
            let seconds = micros / 1_000_000;
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
        _ => {
            let minutes = micros / 60_000_000;
            format!("{} h {} min", minutes / 60, minutes % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        for (text, micros) in [
            ("250us", 250),
            ("1500ms", 1_500_000),
            ("5s", 5_000_000),
            ("1.5s", 1_500_000),
            (" 2min ", 120_000_000),
            ("2h", 7_200_000_000),
            ("0s", 0),
            ("0", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(micros), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_named() {
        assert_eq!(
            parse_duration("5"),
            Err(DurationError::Unit("5".to_owned()))
        );
        assert_eq!(
            parse_duration("5d"),
            Err(DurationError::Unit("5d".to_owned()))
        );
        for text in ["", "s", "1.2.3s", "-1s"] {
            assert!(
                matches!(parse_duration(text), Err(DurationError::Malformed(_))),
                "{text}"
            );
        }
        assert!(matches!(
            parse_duration("99999999999999h"),
            Err(DurationError::TooLong(_))
        ));
    }

    #[test]
    fn a_written_duration_reads_back_the_same() {
        for micros in [
            0,
            1,
            999,
            1_000,
            1_500_000,
            60_000_000,
            7_200_000_000,
            61_000_001,
        ] {
            assert_eq!(parse_duration(&format_duration(micros)), Ok(micros));
        }
        assert_eq!(format_duration(1_500_000), "1500ms");
        assert_eq!(format_duration(7_200_000_000), "2h");
    }

    #[test]
    fn measured_times_are_short() {
        assert_eq!(human(82), "82 us");
        assert_eq!(human(20_432), "20.4 ms");
        assert_eq!(human(204_320), "204 ms");
        assert_eq!(human(5_003_210), "5.003 s");
        assert_eq!(human(750_000_000), "12 min 30 s");
    }
}
