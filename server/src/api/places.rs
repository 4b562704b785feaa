//! Places that are taken and given back: how many connections or streams are open, in total and
//! for each address.
//!
//! An IPv6 visitor can choose among 2^64 addresses of its network, so one network counts as one
//! address there; an IPv4 address counts the same however it is written.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// Whom an address is counted with.
pub(super) fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// All of them are taken.
    Everywhere,
    /// The address has as many as one may have.
    Here,
}

/// A number of places.
#[derive(Debug, Clone)]
pub(super) struct Places {
    most: usize,
    most_each: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

/// A place that somebody has; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    taken: Arc<Mutex<Taken>>,
    by: IpAddr,
}

impl Places {
    /// `most` in total, `most_each` for each address.
    pub(super) fn new(most: usize, most_each: usize) -> Self {
        Self {
            most,
            most_each,
            taken: Arc::default(),
        }
    }

    /// How many one address may have.
    pub(super) const fn most_each(&self) -> usize {
        self.most_each
    }

    /// Takes a place; a `spared` visitor is held to the total only.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn enter(&self, address: IpAddr, spared: bool) -> Result<Place, Full> {
        let by = household(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= self.most {
            return Err(Full::Everywhere);
        }
        let here = taken.by.get(&by).copied().unwrap_or(0);
        if here >= self.most_each && !spared {
            return Err(Full::Here);
        }
        taken.all += 1;
        taken.by.insert(by, here + 1);
        Ok(Place {
            taken: Arc::clone(&self.taken),
            by,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(here) = taken.by.get_mut(&self.by) {
            *here -= 1;
            if *here == 0 {
                taken.by.remove(&self.by);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_run_out_for_one_and_then_for_all_and_come_back() {
        let places = Places::new(3, 2);
        let (a, b, c) = (ip("192.0.2.1"), ip("192.0.2.2"), ip("192.0.2.3"));
        let first = places.enter(a, false).unwrap();
        let second = places.enter(a, false).unwrap();
        assert_eq!(places.enter(a, false).unwrap_err(), Full::Here);
        let third = places.enter(b, false).unwrap();
        assert_eq!(places.enter(c, false).unwrap_err(), Full::Everywhere);
        assert_eq!(places.enter(c, true).unwrap_err(), Full::Everywhere);
        drop(first);
        let fourth = places.enter(a, false).unwrap();
        drop((second, third, fourth));
        let taken = places.taken.lock().unwrap();
        assert_eq!((taken.all, taken.by.len()), (0, 0));
    }

    #[test]
    fn a_spared_visitor_is_held_to_the_total_only() {
        let places = Places::new(3, 1);
        let kept: Vec<_> = (0..3)
            .map(|_| places.enter(ip("127.0.0.1"), true).unwrap())
            .collect();
        assert!(places.enter(ip("127.0.0.1"), true).is_err());
        drop(kept);
    }

    #[test]
    fn a_network_of_ipv6_and_an_ipv4_address_in_any_form_count_as_one() {
        for (one, other, same) in [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            assert_eq!(
                household(ip(one)) == household(ip(other)),
                same,
                "{one} {other}"
            );
        }
    }
}
