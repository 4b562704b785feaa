//! The outcome in a few short sentences, for those who see their first connection and for those who
//! write kernels.

use std::collections::BTreeMap;

use linger_shared::{
    event::{Ending, HostName},
    units::human,
};

use super::judge::{HALF_CLOSED, NEVER_ARRIVED, REFUSED};

/// How a group of connections ended, told once for all of them.
pub(super) fn sentences(endings: &[Ending], pairs: &BTreeMap<u32, u32>) -> String {
    if endings.is_empty() {
        return "No connection was made.".to_owned();
    }
    let naming = Naming::of(endings);
    if let [one] = endings {
        return naming.sentence(one);
    }
    // A proxy's two connections are one story: what ended first, and how it was carried over.
    if let [one, other] = endings
        && (pairs.get(&one.connection) == Some(&other.connection)
            || pairs.get(&other.connection) == Some(&one.connection))
    {
        return naming.story(one, other);
    }
    naming.groups(endings)
}

/// How connections are called: by their hosts, where that tells them apart.
struct Naming {
    /// Whether the run has connections between more than one pair of hosts.
    legs: bool,
    only: bool,
}

impl Naming {
    fn of(endings: &[Ending]) -> Self {
        let first = endings.first().map(leg);
        Self {
            legs: endings.iter().any(|ending| Some(leg(ending)) != first),
            only: endings.len() == 1,
        }
    }

    fn the_connection(&self, ending: &Ending) -> String {
        match (self.legs, leg(ending)) {
            (true, Some((one, other))) => format!("the {one}-{other} connection"),
            _ if self.only => "the connection".to_owned(),
            _ => "one connection".to_owned(),
        }
    }

    /// What became of one connection.
    fn sentence(&self, ending: &Ending) -> String {
        tell(ending, &self.the_connection(ending), 1, true)
    }

    fn story(&self, one: &Ending, other: &Ending) -> String {
        // What never ended comes last.
        let key = |ending: &Ending| ending.at_us.unwrap_or(u64::MAX);
        let (first, second) = if key(one) <= key(other) {
            (one, other)
        } else {
            (other, one)
        };
        let begin = self.sentence(first);
        let then = self.sentence(second);
        match (first.at_us, second.at_us) {
            (Some(first_us), Some(second_us)) => {
                let mut then = then;
                if let Some(letter) = then.get_mut(..1) {
                    letter.make_ascii_lowercase();
                }
                format!(
                    "{begin} {} later {then}",
                    human(second_us.saturating_sub(first_us))
                )
            }
            _ => format!("{begin} {then}"),
        }
    }

    /// Each way in which connections ended, with how many did, in the order of the first.
    fn groups(&self, endings: &[Ending]) -> String {
        // Only where it is true of all: a run is about one question.
        let half = endings.iter().all(|ending| ending.because == HALF_CLOSED);
        let mut groups: Vec<(&Ending, usize)> = Vec::new();
        for ending in endings {
            match groups.iter_mut().find(|(known, _)| alike(known, ending)) {
                Some((_, number)) => *number += 1,
                None => groups.push((ending, 1)),
            }
        }
        let told: Vec<String> = groups
            .into_iter()
            .map(|(ending, number)| {
                let which = match (number, self.legs, leg(ending)) {
                    (1, ..) => self.the_connection(ending),
                    (_, true, Some((one, other))) => {
                        format!("{number} {one}-{other} connections")
                    }
                    _ => format!("{number} connections"),
                };
                tell(ending, &which, number, half)
            })
            .collect();
        told.join(" ")
    }
}

/// Reasons that are told in other ways, or need not be.
const OWN: [&str; 3] = ["", HALF_CLOSED, NEVER_ARRIVED];

/// Between which hosts it was, the one nearer to the client first.
fn leg(ending: &Ending) -> Option<(HostName, HostName)> {
    let side = ending.sides.first()?;
    Some((side.host.min(side.towards), side.host.max(side.towards)))
}

/// Whether one sentence tells both.
fn alike(one: &Ending, other: &Ending) -> bool {
    let refused = |ending: &Ending| ending.because == REFUSED;
    (&one.ended_by, &one.how) == (&other.ended_by, &other.how)
        && leg(one) == leg(other)
        && refused(one) == refused(other)
}

/// One sentence on `number` connections; `half` where all of them may be called half-closed.
fn tell(ending: &Ending, which: &str, number: usize, half: bool) -> String {
    let by = ending.ended_by.as_str();
    let because = ending.because.as_str();
    let one = number == 1;
    match ending.how.as_str() {
        "silence" => {
            let open = if one {
                "it is still open"
            } else {
                "they are still open"
            };
            match because {
                "" => format!("Nobody ended {which}: {open}."),
                _ if one => format!("Nobody ended {which}: {open}, with {because}."),
                _ => format!("Nobody ended {which}: {open}."),
            }
        }
        "fin" if by == "both" => {
            let hosts = leg(ending).map_or_else(
                || "Both sides".to_owned(),
                |(one, other)| {
                    let mut hosts = format!("{one} and {other}");
                    if let Some(letter) = hosts.get_mut(..1) {
                        letter.make_ascii_uppercase();
                    }
                    hosts
                },
            );
            format!("{hosts} ended {which} at once, with FIN.")
        }
        how @ ("fin" | "rst") if by == "middlebox" => format!(
            "A middlebox (`{because}`) ended {which} with {}.",
            how.to_ascii_uppercase()
        ),
        "fin" if one && because == NEVER_ARRIVED => {
            format!("The {by} closed {which} with FIN, which never arrived.")
        }
        "fin" if half && because == HALF_CLOSED => {
            let sides = if one { "its side of " } else { "its sides of " };
            let others = if one {
                "the other side"
            } else {
                "the other sides"
            };
            format!("The {by} closed {sides}{which} with FIN; {others} never closed.")
        }
        "rst" if because == REFUSED => {
            format!("The {by} refused {which} with RST: {REFUSED}.")
        }
        how @ ("fin" | "rst") if one && !OWN.contains(&because) => format!(
            "The {by}'s kernel ended {which} with {}: {because}.",
            how.to_ascii_uppercase()
        ),
        how @ ("fin" | "rst") => {
            format!("The {by} ended {which} with {}.", how.to_ascii_uppercase())
        }
        "timeout" => {
            let errno = learnt(ending, by).unwrap_or("nobody asked it");
            match because {
                _ if !one || because.is_empty() || because == errno => {
                    format!("The {by}'s kernel gave up {which}: {errno}.")
                }
                _ => format!("The {by}'s kernel gave up {which} after {because}: {errno}."),
            }
        }
        "icmp" if by == "middlebox" => {
            format!("A middlebox (`{because}`) ended {which} with ICMP.")
        }
        "icmp" => format!("The {by} gave up {which}: {because}."),
        "power" if one => power(ending, which),
        "power" => format!("The {by} lost power, and with it {which}."),
        _ => format!("The {by} ended {which}."),
    }
}

/// What the application on a host learnt, if that was an error.
fn learnt<'a>(ending: &'a Ending, host: &str) -> Option<&'a str> {
    ending
        .sides
        .iter()
        .find(|side| side.host.as_str() == host)
        .map(|side| side.saw.as_str())
        .filter(|saw| is_errno(saw))
}

fn is_errno(text: &str) -> bool {
    text.len() > 2 && text.starts_with('E') && text.chars().all(|c| c.is_ascii_uppercase())
}

/// A host without power says nothing; the other one finds out or does not.
fn power(ending: &Ending, which: &str) -> String {
    let by = ending.ended_by.as_str();
    let other = ending.sides.iter().find(|side| side.host.as_str() != by);
    let lost_us = ending.at_us.unwrap_or_default();
    match other {
        Some(side) if side.how != "nothing" => {
            let met_us = side.at_us.unwrap_or(lost_us);
            // Who closes for a reason of its own, before anything failed, has noticed nothing.
            if side.how.starts_with("sent ") && !is_errno(&side.saw) {
                return format!(
                    "The {by} lost power, and with it {which}; the {} never noticed, and {} later \
                     {} of its own accord.",
                    side.host,
                    human(met_us.saturating_sub(lost_us)),
                    side.how
                );
            }
            let learnt = match side.saw.as_str() {
                "" => side.how.clone(),
                saw if is_errno(saw) => format!("{}, {saw}", side.how),
                _ => side.how.clone(),
            };
            format!(
                "The {by} lost power, and with it {which}; the {} noticed {} later: {learnt}.",
                side.host,
                human(met_us.saturating_sub(lost_us))
            )
        }
        Some(side) => format!(
            "The {by} lost power, and with it {which}; the {} has not noticed.",
            side.host
        ),
        None => format!("The {by} lost power, and with it {which}."),
    }
}
