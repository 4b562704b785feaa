//! Who starts runs, and how many one address may have.
//!
//! A class shares one server: nobody may fill its queue alone. What counts is the address that the
//! connection comes from; in IPv6 its first 64 bits, because a single machine has all the others.
//! The local command line is not counted.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use super::StartError;

/// The span over which starts are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// How many addresses are remembered before the idle ones are looked for and forgotten.
const REMEMBERED: usize = 1_024;

/// Who asks for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Visitor {
    /// Where the request comes from; `None` for the command line of this machine.
    pub address: Option<IpAddr>,
}

impl Visitor {
    /// The command line of this machine, which no limit per address concerns.
    pub const LOCAL: Self = Self { address: None };

    /// Whoever sends requests from this address.
    pub const fn from(address: IpAddr) -> Self {
        Self {
            address: Some(address),
        }
    }

    /// The address under which a visitor's runs are counted.
    fn counted_as(self) -> Option<IpAddr> {
        self.address.map(|address| match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                let network = u128::from(address) & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from(network))
            }
            address => address,
        })
    }
}

/// What the addresses have at work and have started.
#[derive(Debug, Default)]
pub(super) struct Visitors {
    known: HashMap<IpAddr, Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Runs at work or waiting.
    runs: usize,
    /// When runs were started, within the window.
    starts: VecDeque<Instant>,
}

impl Known {
    fn forget_before(&mut self, now: Instant) {
        while self
            .starts
            .front()
            .is_some_and(|&start| now.duration_since(start) >= WINDOW)
        {
            self.starts.pop_front();
        }
    }
}

/// A run's place among its visitor's; given back with [`Visitors::leave`].
#[derive(Debug)]
pub(super) struct Place(Option<IpAddr>);

impl Visitors {
    /// Counts a start, if it may be.
    pub(super) fn enter(
        &mut self,
        visitor: Visitor,
        now: Instant,
        most_runs: usize,
        most_starts: usize,
    ) -> Result<Place, StartError> {
        let Some(address) = visitor.counted_as() else {
            return Ok(Place(None));
        };
        if self.known.len() >= REMEMBERED {
            self.known.retain(|_, known| {
                known.forget_before(now);
                known.runs > 0 || !known.starts.is_empty()
            });
        }
        let known = self.known.entry(address).or_default();
        known.forget_before(now);
        if known.runs >= most_runs {
            return Err(StartError::TooManyRuns {
                address,
                limit: most_runs,
            });
        }
        if known.starts.len() >= most_starts {
            let oldest = known.starts.front().copied().unwrap_or(now);
            return Err(StartError::TooManyStarts {
                address,
                limit: most_starts,
                retry_after: WINDOW.saturating_sub(now.duration_since(oldest)),
            });
        }
        known.runs += 1;
        known.starts.push_back(now);
        Ok(Place(Some(address)))
    }

    /// A run is over, or was not started after all.
    pub(super) fn leave(&mut self, place: &mut Place) {
        if let Some(address) = place.0.take()
            && let Some(known) = self.known.get_mut(&address)
        {
            known.runs = known.runs.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor(address: &str) -> Visitor {
        Visitor::from(address.parse().unwrap())
    }

    #[test]
    fn an_address_has_so_many_runs_and_no_more_until_one_is_over() {
        let now = Instant::now();
        let mut visitors = Visitors::default();
        let a = visitor("192.0.2.1");
        let mut first = visitors.enter(a, now, 2, 100).unwrap();
        visitors.enter(a, now, 2, 100).unwrap();
        assert!(matches!(
            visitors.enter(a, now, 2, 100),
            Err(StartError::TooManyRuns { limit: 2, .. })
        ));
        assert!(visitors.enter(visitor("192.0.2.2"), now, 2, 100).is_ok());
        assert!(visitors.enter(Visitor::LOCAL, now, 0, 0).is_ok());
        visitors.leave(&mut first);
        visitors.leave(&mut first);
        assert!(visitors.enter(a, now, 2, 100).is_ok());
        assert!(visitors.enter(a, now, 2, 100).is_err());
    }

    #[test]
    fn starts_are_counted_over_a_minute_and_the_error_says_when_to_come_back() {
        let begin = Instant::now();
        let mut visitors = Visitors::default();
        let a = visitor("192.0.2.1");
        for second in [0, 10] {
            let now = begin + Duration::from_secs(second);
            let mut place = visitors.enter(a, now, 1, 2).unwrap();
            visitors.leave(&mut place);
        }
        let refused = visitors.enter(a, begin + Duration::from_secs(20), 1, 2);
        let Err(error) = refused else {
            panic!("a third start within the minute")
        };
        assert_eq!(error.retry_after(), Some(Duration::from_secs(40)));
        assert!(visitors.enter(a, begin + WINDOW, 1, 2).is_ok());
    }

    #[test]
    fn an_ipv6_machine_is_its_network_and_a_mapped_address_is_ipv4() {
        let now = Instant::now();
        let mut visitors = Visitors::default();
        let mut enter = |address: &str| visitors.enter(visitor(address), now, 1, 9).is_ok();
        assert!(enter("2001:db8::1"));
        assert!(!enter("2001:db8::2"));
        assert!(enter("2001:db8:0:1::1"));
        assert!(enter("192.0.2.1"));
        assert!(!enter("::ffff:192.0.2.1"));
    }

    #[test]
    fn idle_addresses_are_forgotten() {
        let begin = Instant::now();
        let mut visitors = Visitors::default();
        for number in 0..REMEMBERED as u32 {
            let address = Visitor::from(IpAddr::V4(number.into()));
            let mut place = visitors.enter(address, begin, 1, 1).unwrap();
            visitors.leave(&mut place);
        }
        let later = begin + WINDOW;
        visitors.enter(visitor("192.0.2.1"), later, 1, 1).unwrap();
        assert_eq!(visitors.known.len(), 1);
    }
}
