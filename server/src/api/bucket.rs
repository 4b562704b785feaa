//! Token buckets: how often somebody may do something.
//!
//! A bucket holds as many tokens as may be spent at once and fills at a steady rate. [`Buckets`]
//! keeps one for each key (an address, a run) and forgets those that are full again, so that what it
//! holds is bounded by how many were busy lately. Time is given from outside.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often something may be done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// How many times in a row, from 1.
    pub burst: u32,
    /// How many times a second in the long run, more than 0.
    pub per_second: f64,
}

/// What one key has left.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    const fn full(rate: Rate, now: Instant) -> Self {
        Self {
            tokens: rate.burst as f64,
            at: now,
        }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let gone = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + gone * rate.per_second).min(f64::from(rate.burst));
        self.at = self.at.max(now);
    }

    /// How long until there is a whole token; zero where there is one.
    fn wait(&self, rate: Rate) -> Duration {
        Duration::from_secs_f64((1.0 - self.tokens).max(0.0) / rate.per_second)
    }
}

/// A bucket for each key.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    rate: Rate,
    held: Mutex<Held<K>>,
}

#[derive(Debug)]
struct Held<K> {
    buckets: HashMap<K, Bucket>,
    /// Full buckets are looked for when there are this many.
    sweep_at: usize,
}

/// How many buckets are kept before the first look for full ones.
const SWEEP: usize = 256;

impl<K: Eq + Hash> Buckets<K> {
    /// Full buckets for everybody.
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            held: Mutex::new(Held {
                buckets: HashMap::new(),
                sweep_at: SWEEP,
            }),
        }
    }

    /// Spends a token.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub(super) fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        self.with(key, now, |bucket, rate| {
            let wait = bucket.wait(rate);
            if wait.is_zero() {
                bucket.tokens -= 1.0;
                return Ok(());
            }
            Err(wait)
        })
    }

    /// Whether there is a token, without spending it.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub(super) fn look(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut bucket) = held.buckets.get(key).copied() else {
            return Ok(());
        };
        bucket.fill(self.rate, now);
        match bucket.wait(self.rate) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    fn with<T>(&self, key: K, now: Instant, act: impl FnOnce(&mut Bucket, Rate) -> T) -> T {
        let rate = self.rate;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.buckets.len() >= held.sweep_at {
            held.buckets.retain(|_, bucket| {
                bucket.fill(rate, now);
                bucket.tokens < f64::from(rate.burst)
            });
            held.sweep_at = (held.buckets.len() * 2).max(SWEEP);
        }
        let bucket = held
            .buckets
            .entry(key)
            .or_insert_with(|| Bucket::full(rate, now));
        bucket.fill(rate, now);
        act(bucket, rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        per_second: 0.5,
    };

    #[test]
    fn a_burst_passes_and_then_the_steady_rate() {
        let buckets = Buckets::new(RATE);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(buckets.take("a", start), Ok(()));
        }
        assert_eq!(buckets.take("a", start), Err(Duration::from_secs(2)));
        let later = start + Duration::from_secs(1);
        assert_eq!(buckets.take("a", later), Err(Duration::from_secs(1)));
        let later = start + Duration::from_secs(2);
        assert_eq!(buckets.look(&"a", later), Ok(()));
        assert_eq!(buckets.take("a", later), Ok(()));
        assert!(buckets.take("a", later).is_err());
        assert!(buckets.look(&"a", later).is_err());
    }

    #[test]
    fn one_spends_nothing_of_another() {
        let buckets = Buckets::new(RATE);
        let now = Instant::now();
        while buckets.take(1, now).is_ok() {}
        assert_eq!(buckets.take(2, now), Ok(()));
        assert_eq!(buckets.look(&3, now), Ok(()));
    }

    #[test]
    fn a_long_pause_fills_no_further_than_the_burst() {
        let buckets = Buckets::new(RATE);
        let start = Instant::now();
        buckets.take("a", start).unwrap();
        let later = start + Duration::from_secs(3_600);
        let passed = (0..10).filter(|_| buckets.take("a", later).is_ok()).count();
        assert_eq!(passed, 3);
    }

    #[test]
    fn buckets_that_are_full_again_are_forgotten() {
        let buckets = Buckets::new(RATE);
        let start = Instant::now();
        for visitor in 0..10_000_u64 {
            let now = start + Duration::from_secs(visitor);
            buckets.take(visitor, now).unwrap();
            assert!(buckets.held.lock().unwrap().buckets.len() <= SWEEP);
        }
    }
}
