//! Names and seeds of new runs.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970.
fn unix_micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
}

/// Milliseconds since 1970, as headers and listings tell a run's start.
pub(super) fn unix_millis() -> u64 {
    unix_micros() / 1_000
}

/// A seed that differs from run to run; it is recorded, not secret.
pub(super) fn fresh_seed() -> u64 {
    // SplitMix64's mixing step spreads the clock's low bits over the whole word.
    let mut z = unix_micros().wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // JavaScript's numbers hold 53 bits.
    (z ^ (z >> 31)) >> 11
}

/// The experiment's id, and a number that grows with time and is not taken: microseconds, so that
/// processes that record into one folder do not meet.
pub(super) fn fresh_id(experiment: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut number = unix_micros();
    loop {
        let id = format!("{experiment}-{}", base36(number));
        if !taken(&id) {
            return id;
        }
        number += 1;
    }
}

fn base36(mut number: u64) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut digits = Vec::new();
    while number > 0 || digits.is_empty() {
        digits.push(DIGITS[(number % 36) as usize]);
        number /= 36;
    }
    digits.reverse();
    String::from_utf8_lossy(&digits).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_differ_even_within_a_microsecond() {
        let mut taken = HashSet::new();
        for _ in 0..100 {
            let id = fresh_id("tcp-lifecycle", |id| taken.contains(id));
            assert!(taken.insert(id));
        }
    }
}
