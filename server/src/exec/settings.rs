//! What `--set` says of the links: `rtt=40ms`, `loss=0.01`, `rate=10mbit`, `down.queue=64kb`.

use linger_shared::{
    event::HostName,
    experiment::nearest,
    link::{Conditions, LEAST_MTU, MTU},
    units::parse_duration,
};
use thiserror::Error;

use crate::lab::LinkPlan;

/// What can be set, and how its value is written.
pub const KEYS: [(&str, &str); 9] = [
    ("rtt", "round trip time of the whole way, such as 40ms"),
    ("delay", "one-way delay of each link, such as 20ms"),
    (
        "jitter",
        "how much longer or shorter a packet may take, such as 5ms",
    ),
    ("rate", "bits per second, such as 10mbit"),
    (
        "queue",
        "bytes that wait where there is a rate, such as 64kb",
    ),
    (
        "loss",
        "share of packets that disappear, such as 0.01 or 1%",
    ),
    ("duplicate", "share of packets that arrive twice"),
    ("reorder", "share of packets that later ones overtake"),
    ("mtu", "largest packet in bytes, 68 to 1500"),
];

/// A setting that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingError {
    /// Nothing has that name.
    #[error("there is nothing to set by the name `{name}`{}; there is {}", suggest(.name), names())]
    Unknown {
        /// The name that was given.
        name: String,
    },
    /// The value is not understood or out of bounds.
    #[error("{name}={value} is not accepted: expected {expected}")]
    Value {
        /// What was to be set.
        name: String,
        /// The value as it was given.
        value: String,
        /// What would be accepted.
        expected: String,
    },
}

fn suggest(name: &str) -> String {
    let bare = name.rsplit('.').next().unwrap_or(name);
    nearest(bare, KEYS.iter().map(|(key, _)| *key))
        .map_or_else(String::new, |key| format!(" (did you mean `{key}`?)"))
}

fn names() -> String {
    let names: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
    format!(
        "{}; with `up.` or `down.` before it, one direction alone",
        names.join(", ")
    )
}

/// A direction, as the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
    Both,
}

/// What joins hosts that are given in the order of their lanes, with every setting applied to each
/// of the links, in the order in which they were given.
///
/// # Errors
/// [`SettingError`] names what was given and what would be accepted.
pub fn links(
    hosts: &[HostName],
    settings: &[(String, String)],
) -> Result<Vec<LinkPlan>, SettingError> {
    let mut links: Vec<LinkPlan> = hosts
        .windows(2)
        .map(|pair| LinkPlan::symmetric(pair[0], pair[1], Conditions::default()))
        .collect();
    let share = 2 * links.len().max(1) as u64;
    for (name, value) in settings {
        let (direction, key) = match name.split_once('.') {
            Some(("up", key)) => (Direction::Up, key),
            Some(("down", key)) => (Direction::Down, key),
            _ => (Direction::Both, name.as_str()),
        };
        let change = reading(key, value, share).map_err(|expected| match expected {
            Some(expected) => SettingError::Value {
                name: name.clone(),
                value: value.clone(),
                expected,
            },
            None => SettingError::Unknown { name: name.clone() },
        })?;
        for link in &mut links {
            if direction != Direction::Down {
                change(&mut link.there);
            }
            if direction != Direction::Up {
                change(&mut link.back);
            }
        }
    }
    Ok(links)
}

/// What a setting does to a direction.
type Change = Box<dyn Fn(&mut Conditions)>;

/// Reads a setting. The error is what would be accepted, where the name is known.
fn reading(key: &str, value: &str, share: u64) -> Result<Change, Option<String>> {
    let (_, form) = KEYS.iter().find(|(known, _)| *known == key).ok_or(None)?;
    let expected = || Some((*form).to_owned());
    /// The longest delay that is accepted, in microseconds: ten minutes.
    const LONGEST: u64 = 600_000_000;
    let time = || {
        parse_duration(value)
            .ok()
            .filter(|micros| *micros <= LONGEST)
            .ok_or_else(|| Some(format!("{form}, at most 10min")))
    };
    let part = || part(value).ok_or_else(expected);
    Ok(match key {
        "rtt" => {
            let delay_us = time()? / share;
            Box::new(move |conditions| conditions.delay_us = delay_us)
        }
        "delay" => {
            let delay_us = time()?;
            Box::new(move |conditions| conditions.delay_us = delay_us)
        }
        "jitter" => {
            let jitter_us = time()?;
            Box::new(move |conditions| conditions.jitter_us = jitter_us)
        }
        "rate" => {
            let rate = rate(value).ok_or_else(expected)?;
            Box::new(move |conditions| conditions.rate_bps = Some(rate))
        }
        "queue" => {
            let bytes = bytes(value).ok_or_else(expected)?;
            Box::new(move |conditions| conditions.queue_bytes = bytes)
        }
        "loss" => {
            let loss = part()?;
            Box::new(move |conditions| conditions.loss = loss)
        }
        "duplicate" => {
            let duplicate = part()?;
            Box::new(move |conditions| conditions.duplicate = duplicate)
        }
        "reorder" => {
            let reorder = part()?;
            Box::new(move |conditions| conditions.reorder = reorder)
        }
        _ => {
            let mtu = value
                .parse()
                .ok()
                .filter(|mtu| (LEAST_MTU..=MTU).contains(mtu))
                .ok_or_else(expected)?;
            Box::new(move |conditions| conditions.mtu = mtu)
        }
    })
}

/// A share from 0 to 1: `0.01`, or `1%`.
fn part(text: &str) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
        None => text.trim().parse().ok()?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

/// Bits per second: `9600`, `64kbit`, `10mbit`, `1gbit`; a trailing `/s` changes nothing.
fn rate(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix("/s").unwrap_or(&text);
    scaled(
        text,
        &[
            ("kbit", 1_000),
            ("mbit", 1_000_000),
            ("gbit", 1_000_000_000),
            ("bit", 1),
        ],
    )
    .filter(|rate| *rate > 0)
}

/// Bytes: `65536`, `64kb`, `1mb`, as powers of 1,000; `64kib` as powers of 1,024.
fn bytes(text: &str) -> Option<u64> {
    scaled(
        &text.trim().to_ascii_lowercase(),
        &[
            ("kib", 1 << 10),
            ("mib", 1 << 20),
            ("kb", 1_000),
            ("mb", 1_000_000),
            ("b", 1),
        ],
    )
}

fn scaled(text: &str, suffixes: &[(&str, u64)]) -> Option<u64> {
    let (number, size) = suffixes
        .iter()
        .find_map(|(suffix, size)| Some((text.strip_suffix(suffix)?, *size)))
        .unwrap_or((text, 1));
    let value = number.trim().parse::<f64>().ok()? * size as f64;
    (0.0..=1e15)
        .contains(&value)
        .then_some(value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: [HostName; 2] = [HostName::Client, HostName::Server];
    const THREE: [HostName; 3] = [HostName::Client, HostName::Proxy, HostName::Server];

    fn set(hosts: &[HostName], settings: &[&str]) -> Result<Vec<LinkPlan>, SettingError> {
        let settings: Vec<(String, String)> = settings
            .iter()
            .filter_map(|text| text.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        links(hosts, &settings)
    }

    #[test]
    fn a_round_trip_is_shared_by_all_directions_of_all_links() {
        assert_eq!(set(&TWO, &["rtt=40ms"]).unwrap()[0].back.delay_us, 20_000);
        let links = set(&THREE, &["rtt=40ms"]).unwrap();
        let delays: Vec<u64> = links
            .iter()
            .flat_map(|link| [link.there.delay_us, link.back.delay_us])
            .collect();
        assert_eq!(delays, [10_000; 4]);
    }

    #[test]
    fn every_key_is_read_and_a_direction_can_be_chosen() {
        let link = &set(
            &TWO,
            &[
                "delay=5ms",
                "jitter=1ms",
                "rate=10mbit",
                "down.rate=1.5Mbit/s",
                "up.queue=64kb",
                "loss=1%",
                "down.loss=0.02",
                "duplicate=0.5",
                "reorder=0",
                "mtu=1280",
            ],
        )
        .unwrap()[0];
        assert_eq!((link.there.delay_us, link.there.jitter_us), (5_000, 1_000));
        assert_eq!(
            (link.there.rate_bps, link.back.rate_bps),
            (Some(10_000_000), Some(1_500_000))
        );
        assert_eq!(link.there.queue_bytes, 64_000);
        assert_eq!(link.back.queue_bytes, Conditions::default().queue_bytes);
        assert_eq!((link.there.loss, link.back.loss), (0.01, 0.02));
        assert_eq!((link.there.duplicate, link.there.mtu), (0.5, 1_280));
    }

    #[test]
    fn every_key_says_how_its_value_is_written() {
        for (key, form) in KEYS {
            let error = set(&TWO, &[&format!("{key}=fast")])
                .unwrap_err()
                .to_string();
            assert!(error.contains(form), "{error}");
        }
        for wrong in [
            "loss=2", "loss=-1", "mtu=9000", "mtu=20", "rate=0", "rtt=1h",
        ] {
            assert!(set(&TWO, &[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_that_nothing_has_finds_its_neighbour() {
        let error = set(&TWO, &["los=0.1"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `loss`?"), "{error}");
        let error = set(&TWO, &["up.dely=1ms"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `delay`?"), "{error}");
        assert!(set(&TWO, &["sideways.rate=1mbit"]).is_err());
    }
}
