//! Idle limits along a path of kept connections, and when a request meets a connection that is
//! being closed: RFC 9112, section 9.5.
//!
//! ```text
//! asks (pool)                     answers (keep)
//!   |<-------- response ------------|   begins to count `keep`
//!   | begins to count `pool`        |
//!   |                     .-- FIN --|   `keep` is over
//!   |-- request --.      :          |
//!   |             `-----:---------->|   nobody reads it any more
//!   |<-----------------'            |
//! ```

/// One connection of the path. All times are in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// For how long the side that asks takes an idle connection again.
    pub pool_us: u64,
    /// After which idle time the side that answers closes it.
    pub keep_us: u64,
    /// One way to the side that answers.
    pub there_us: u64,
    /// One way back.
    pub back_us: u64,
}

impl Leg {
    /// The idle times after which a request meets the FIN: longer than the first, shorter than the
    /// second; none where the order is safe.
    ///
    /// Both count from the response: the side that answers from when it has sent it, the side that
    /// asks from when it has come. A request that leaves a round trip before the limit is over still
    /// arrives in time; one that leaves when the limit is over for the asking side finds the FIN
    /// there already.
    pub fn window_us(&self) -> Option<(u64, u64)> {
        let opens = self.keep_us.saturating_sub(self.there_us + self.back_us);
        let closes = self.keep_us.min(self.pool_us);
        (opens < closes).then_some((opens, closes))
    }

    /// The same limits in the safe order: who asks lets go first, early enough for a request that is
    /// on its way, with as much again to spare.
    #[must_use]
    pub fn safe(self) -> Self {
        let pool_us = self.pool_us.min(self.keep_us);
        let spare_us = 2 * (self.there_us + self.back_us);
        Self {
            pool_us,
            keep_us: self.pool_us.max(self.keep_us).max(pool_us + spare_us),
            ..self
        }
    }

    /// The same limits the other way round.
    #[must_use]
    pub fn exchanged(self) -> Self {
        Self {
            pool_us: self.keep_us,
            keep_us: self.pool_us,
            ..self
        }
    }
}

/// A client, a proxy and a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// Between client and proxy.
    pub front: Leg,
    /// Between proxy and backend.
    pub back: Leg,
}

/// On which of a chain's connections a request meets a FIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Between client and proxy.
    Front,
    /// Between proxy and backend.
    Back,
}

/// When a request of the client fails. All times are in microseconds since the client had its last
/// response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// On which connection.
    pub place: Place,
    /// The shortest idle time of the client after which it fails.
    pub opens_us: u64,
    /// The longest.
    pub closes_us: u64,
    /// When the client is told, whenever within the window it has asked: the FIN, or the proxy's
    /// answer to it, takes as long as the response did from whose sending the limit counts.
    pub told_us: u64,
}

impl Chain {
    /// The first window that a growing idle time of the client comes to; none in a safe order.
    pub fn window(&self) -> Option<Window> {
        let front = self.front.window_us().map(|(opens_us, closes_us)| Window {
            place: Place::Front,
            opens_us,
            closes_us,
            told_us: self.front.keep_us,
        });
        // The proxy's connection has been idle for as long as the client, and the way to and fro;
        // for as long again where the client must open a connection of its own first.
        let longer_us = self.front.there_us + self.front.back_us;
        let kept_us = self.front.pool_us.min(self.front.keep_us);
        let back = |longer_us: u64, from_us: u64, until_us: u64| {
            let (opens, closes) = self.back.window_us()?;
            Some(Window {
                place: Place::Back,
                opens_us: opens.saturating_sub(longer_us).max(from_us),
                closes_us: closes.saturating_sub(longer_us).min(until_us),
                told_us: self.back.keep_us,
            })
        };
        let windows = [
            front,
            back(longer_us, 0, kept_us),
            back(2 * longer_us, kept_us, u64::MAX),
        ];
        windows
            .into_iter()
            .flatten()
            .filter(|window| window.opens_us < window.closes_us)
            .min_by_key(|window| window.opens_us)
    }

    /// Both connections in the safe order.
    #[must_use]
    pub fn safe(self) -> Self {
        Self {
            front: self.front.safe(),
            back: self.back.safe(),
        }
    }
}

impl Window {
    /// Idle times across the window: `steps` of them within, evenly spaced so that each edge lies
    /// half-way between two, and two on either side; in microseconds.
    pub fn sweep_us(&self, steps: u64) -> Vec<u64> {
        let width = self.closes_us - self.opens_us;
        let twice = 2 * steps.max(1);
        // Odd multiples of half a step, from three halves before the window on.
        (0..steps.max(1) + 4)
            .filter_map(|n| {
                let halves = 2 * n + 1;
                (self.opens_us + halves * width / twice).checked_sub(4 * width / twice)
            })
            .collect()
    }
}

/// Where the edges of a window lie by tries of an idle time that failed or did not: half-way between
/// the shortest that failed and the next shorter one that did not, and the same at the longest.
pub fn edges_us(tries: &[(u64, bool)]) -> Option<(u64, u64)> {
    let of = |wanted: bool| {
        tries
            .iter()
            .filter(move |(_, failed)| *failed == wanted)
            .map(|(idle_us, _)| *idle_us)
    };
    let (shortest, longest) = (of(true).min()?, of(true).max()?);
    let before = of(false).filter(|idle| *idle < shortest).max()?;
    let after = of(false).filter(|idle| *idle > longest).min()?;
    Some((before.midpoint(shortest), longest.midpoint(after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn leg(pool_us: u64, keep_us: u64, way_us: u64) -> Leg {
        Leg {
            pool_us,
            keep_us,
            there_us: way_us,
            back_us: way_us,
        }
    }

    #[test]
    fn the_window_is_a_round_trip_wide_and_ends_with_the_limit() {
        assert_eq!(leg(MINUTE, 5_000, 20).window_us(), Some((4_960, 5_000)));
        // A pool that lets go within it closes it earlier.
        assert_eq!(leg(4_980, 5_000, 20).window_us(), Some((4_960, 4_980)));
        assert_eq!(leg(4_960, 5_000, 20).window_us(), None);
        assert_eq!(leg(5_000, MINUTE, 20).window_us(), None);
    }

    #[test]
    fn equal_limits_are_not_safe() {
        let equal = leg(5_000, 5_000, 20);
        assert!(equal.window_us().is_some());
        let safe = equal.safe();
        assert_eq!(safe, leg(5_000, 5_080, 20));
        assert_eq!(safe.window_us(), None);
    }

    #[test]
    fn exchanging_the_limits_makes_an_unsafe_order_safe() {
        let leg = leg(MINUTE, 5_000, 20);
        assert_eq!(leg.exchanged().window_us(), None);
        assert_eq!(leg.safe(), leg.exchanged());
    }

    #[test]
    fn behind_a_proxy_the_client_has_been_idle_for_a_shorter_time() {
        let chain = Chain {
            front: leg(MINUTE, 2 * MINUTE, 10),
            back: leg(MINUTE, 1_000, 100),
        };
        assert_eq!(
            chain.window(),
            Some(Window {
                place: Place::Back,
                opens_us: 780,
                closes_us: 980,
                told_us: 1_000,
            })
        );
        assert_eq!(chain.safe().window(), None);
        let both = Chain {
            front: leg(MINUTE, 500, 10),
            ..chain
        };
        let window = both.window().unwrap();
        assert_eq!((window.place, window.told_us), (Place::Front, 500));
    }

    #[test]
    fn a_client_that_has_to_connect_first_asks_the_backend_a_round_trip_later() {
        let chain = Chain {
            front: leg(500, MINUTE, 10),
            back: leg(MINUTE, 1_000, 100),
        };
        let window = chain.window().unwrap();
        assert_eq!((window.opens_us, window.closes_us), (760, 960));
    }

    #[test]
    fn a_sweep_has_the_edges_half_way_between_two_idle_times() {
        let window = Window {
            place: Place::Back,
            opens_us: 800,
            closes_us: 1_000,
            told_us: 1_000,
        };
        let sweep = window.sweep_us(2);
        assert_eq!(sweep, [650, 750, 850, 950, 1_050, 1_150]);
        let tries: Vec<_> = sweep
            .into_iter()
            .map(|idle| (idle, (800..1_000).contains(&idle)))
            .collect();
        assert_eq!(edges_us(&tries), Some((800, 1_000)));
        assert_eq!(edges_us(&tries[..2]), None);
    }
}
