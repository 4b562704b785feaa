//! From how each connection ended to how the run did.

use std::collections::BTreeMap;

use linger_shared::event::{Ending, HostName, Side};

/// How most of the connections ended; of equally many, what ended first.
pub(super) fn usual(endings: &[Ending], pairs: &BTreeMap<u32, u32>) -> (String, String) {
    /// How many, and when the first of them ended.
    type Group<'a> = ((&'a str, &'a str), usize, u64);
    let when = |ending: &Ending| ending.at_us.unwrap_or(u64::MAX);
    let by_number: BTreeMap<u32, &Ending> = endings
        .iter()
        .map(|ending| (ending.connection, ending))
        .collect();
    let mut joined: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (back, front) in pairs {
        joined.entry(*back).or_default().push(*front);
        joined.entry(*front).or_default().push(*back);
    }
    let mut groups: Vec<Group<'_>> = Vec::new();
    for ending in endings {
        // Of those that belong together only the one that ended first is counted.
        let counted = joined
            .get(&ending.connection)
            .into_iter()
            .flatten()
            .filter_map(|other| by_number.get(other))
            .all(|other| (when(ending), ending.connection) <= (when(other), other.connection));
        if !counted {
            continue;
        }
        let kind = (ending.ended_by.as_str(), ending.how.as_str());
        match groups.iter_mut().find(|(known, ..)| *known == kind) {
            Some((_, number, first_us)) => {
                *number += 1;
                *first_us = when(ending).min(*first_us);
            }
            None => groups.push((kind, 1, when(ending))),
        }
    }
    groups
        .into_iter()
        .rev()
        .max_by_key(|(_, number, first_us)| (*number, std::cmp::Reverse(*first_us)))
        .map_or_else(
            || ("nobody".to_owned(), "silence".to_owned()),
            |((by, how), ..)| (by.to_owned(), how.to_owned()),
        )
}

/// Both sides of a connection of each pair of hosts, one that ended as most of them did, in the
/// order of the lanes.
pub(super) fn sides(endings: &[Ending]) -> Vec<Side> {
    let mut legs: BTreeMap<(HostName, HostName), Vec<Ending>> = BTreeMap::new();
    for ending in endings {
        if let Some(side) = ending.sides.first() {
            let leg = (side.host.min(side.towards), side.host.max(side.towards));
            legs.entry(leg).or_default().push(ending.clone());
        }
    }
    let mut sides: Vec<Side> = legs
        .into_values()
        .filter_map(|endings| {
            let (by, how) = usual(&endings, &BTreeMap::new());
            let told = endings
                .into_iter()
                .find(|ending| (&ending.ended_by, &ending.how) == (&by, &how))?;
            Some(told.sides)
        })
        .flatten()
        .collect();
    sides.sort_by_key(|side| (side.host, side.towards));
    sides
}
