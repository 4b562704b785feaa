//! What happened beside the packets, until a packet takes it along as a comment.

use std::collections::VecDeque;

use linger_shared::{
    diagram::{brief, note},
    event::{Event, Fact, HostName, Observer},
    units::human,
};

/// A comment belongs to a packet at most this far from it; beyond, to the next one, in microseconds.
pub(super) const NEAR_US: u64 = 50_000;

/// At most this many notes wait for a packet; the oldest go first.
const MOST_WAITING: usize = 4_096;

/// At most this many comments stand at one packet; the others wait for the next.
pub(super) const MOST_AT_ONCE: usize = 64;

/// One remark.
struct Note {
    at_us: u64,
    /// Whose packets it belongs to; everybody's where it is absent.
    host: Option<HostName>,
    text: String,
}

/// Remarks in the order of their times.
#[derive(Default)]
pub(super) struct Notes {
    waiting: VecDeque<Note>,
    /// How many had to go.
    lost: u64,
}

impl Notes {
    /// Takes what an event says, if it says something that belongs beside a packet.
    pub(super) fn take(&mut self, event: &Event) {
        let Some((host, text)) = words(event) else {
            return;
        };
        self.insert(event.at_us, host, text);
    }

    /// Takes a remark about a host's packets.
    pub(super) fn insert(&mut self, at_us: u64, host: Option<HostName>, text: String) {
        let text = format!("{text} [at {}]", human(at_us));
        let at = self.waiting.partition_point(|note| note.at_us <= at_us);
        self.waiting.insert(at, Note { at_us, host, text });
        if self.waiting.len() > MOST_WAITING {
            self.waiting.pop_front();
            self.lost += 1;
        }
    }

    /// Takes out what belongs to a packet at a host: everything before it, and what comes after it
    /// and is nearer to it than to the host's next packet, if there is one already.
    pub(super) fn beside(
        &mut self,
        host: HostName,
        at_us: u64,
        next_us: Option<u64>,
    ) -> Vec<String> {
        let near = at_us.saturating_add(NEAR_US);
        let until = next_us.map_or(near, |next| u64::midpoint(at_us, next.max(at_us)).min(near));
        let belongs = |note: &Note| match note.host {
            Some(other) => other == host && note.at_us <= until,
            None => note.at_us <= at_us,
        };
        self.extract(belongs)
    }

    /// Takes out what is left, for the last packet.
    pub(super) fn rest(&mut self) -> Vec<String> {
        self.extract(|_| true)
    }

    fn extract(&mut self, belongs: impl Fn(&Note) -> bool) -> Vec<String> {
        let mut taken = Vec::new();
        if self.lost > 0 {
            taken.push(format!("{} notes before this are left out", self.lost));
            self.lost = 0;
        }
        self.waiting.retain(|note| {
            let take = taken.len() < MOST_AT_ONCE && belongs(note);
            if take {
                taken.push(note.text.clone());
            }
            !take
        });
        taken
    }
}

/// Whose an event is, and what it says. Packets, chunks, sockets and secrets are told in other ways.
fn words(event: &Event) -> Option<(Option<HostName>, String)> {
    let host = match event.seen_by {
        Observer::App(host) | Observer::Kernel(host) => Some(host),
        Observer::Wire | Observer::Experiment => None,
    };
    if let Some(text) = note(&event.fact) {
        let who = host.map_or_else(|| event.seen_by.to_string(), |host| host.to_string());
        return Some((host, format!("{who}: {text}")));
    }
    let text = match &event.fact {
        Fact::Rule {
            rule,
            from,
            active,
            by,
            detail,
        } => {
            let what = if *active { "begins" } else { "ends" };
            let detail = match detail.as_str() {
                "" => String::new(),
                detail => format!(": {detail}"),
            };
            format!("wire: {rule} {what} for packets from {from}, by {by}{detail}")
        }
        Fact::Chapter { title } => format!("chapter: {title}"),
        Fact::Expectation {
            name,
            predicted_at_us,
            because,
            ..
        } => format!(
            "predicted: {name} at {} ({because})",
            human(*predicted_at_us)
        ),
        Fact::Measurement(measurement) => {
            let told = |span: Option<u64>| span.map_or_else(|| "never".to_owned(), brief);
            format!(
                "measured: {} {}, predicted {}",
                measurement.name,
                told(measurement.measured_us),
                told(measurement.predicted_us)
            )
        }
        Fact::Remark { text } => format!("remark: {text}"),
        Fact::Stopped { reason } => format!("the run was ended: {reason}"),
        Fact::Failure { message } => {
            format!("the laboratory failed, nothing may be concluded from this run: {message}")
        }
        Fact::Verdict(verdict) => format!("verdict: {}", verdict.summary),
        _ => return None,
    };
    Some((None, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use HostName::{Client, Server};

    #[test]
    fn a_note_goes_to_the_nearest_packet_of_its_host() {
        let mut notes = Notes::default();
        notes.insert(100, Some(Client), "write".to_owned());
        notes.insert(900, Some(Client), "read".to_owned());
        notes.insert(200, Some(Server), "accept".to_owned());
        assert_eq!(notes.beside(Client, 0, Some(1_000)), ["write [at 100 us]"]);
        assert_eq!(notes.beside(Server, 150, None), ["accept [at 200 us]"]);
        assert_eq!(notes.beside(Client, 1_000, None), ["read [at 900 us]"]);
    }

    #[test]
    fn a_chapter_stands_at_the_first_packet_after_its_beginning() {
        let mut notes = Notes::default();
        notes.insert(500, None, "chapter".to_owned());
        assert!(notes.beside(Client, 400, None).is_empty());
        assert_eq!(notes.beside(Server, 600, None).len(), 1);
    }

    #[test]
    fn too_many_notes_wait_for_the_next_packet_or_are_counted() {
        let mut notes = Notes::default();
        for at_us in 0..MOST_WAITING as u64 + 10 {
            notes.insert(at_us, Some(Client), String::new());
        }
        let first = notes.beside(Client, 1_000_000, None);
        assert_eq!(first.len(), MOST_AT_ONCE);
        assert_eq!(first[0], "10 notes before this are left out");
        assert_eq!(notes.beside(Client, 1_000_000, None).len(), MOST_AT_ONCE);
    }
}
