//! What a screen reader is told, and how often: politely, at most one message in two seconds.

use linger_shared::{
    event::{Event, Fact},
    units,
};

/// The shortest time between two announcements, in milliseconds.
pub const INTERVAL_MS: f64 = 2_000.0;

/// How long to hold a message back, in milliseconds, when the last one was spoken at `last_ms`
/// (`None`: never).
pub fn hold_ms(last_ms: Option<f64>, now_ms: f64) -> u32 {
    last_ms.map_or(0, |last| {
        (last + INTERVAL_MS - now_ms).clamp(0.0, INTERVAL_MS).ceil() as u32
    })
}

/// What a batch of events is worth saying, in one sentence; the newest of the weightiest kind
/// wins, since the others can be read in the page.
pub fn news(events: &[Event]) -> Option<String> {
    let weightiest = events
        .iter()
        .filter_map(|event| Some((weight(&event.fact)?, event)))
        .max_by_key(|(weight, event)| (*weight, event.seq))?
        .1;
    Some(match &weightiest.fact {
        Fact::Verdict(verdict) => format!("The run is over. {}", verdict.summary),
        Fact::Failure { message } => format!("The laboratory failed: {message}"),
        Fact::Stopped { reason } => format!("The run was stopped: {reason}"),
        Fact::Measurement(measurement) => match measurement.measured_us {
            Some(measured) => format!(
                "Measured {} after {}",
                measurement.name,
                units::human(measured)
            ),
            None => format!("{} did not happen", measurement.name),
        },
        Fact::PacketDropped { reason, .. } | Fact::ChunkDropped { reason, .. } => {
            let losses = events
                .iter()
                .filter(|event| {
                    matches!(
                        event.fact,
                        Fact::PacketDropped { .. } | Fact::ChunkDropped { .. }
                    )
                })
                .count();
            if losses == 1 {
                format!("A packet was lost: {reason}")
            } else {
                format!("{losses} packets were lost, the last one: {reason}")
            }
        }
        Fact::Chapter { title } => title.clone(),
        _ => return None,
    })
}

fn weight(fact: &Fact) -> Option<u8> {
    match fact {
        Fact::Verdict(_) | Fact::Failure { .. } => Some(4),
        Fact::Stopped { .. } => Some(3),
        Fact::Measurement(_) => Some(2),
        Fact::PacketDropped { .. } | Fact::ChunkDropped { .. } => Some(1),
        Fact::Chapter { .. } => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use linger_shared::event::{Measurement, Observer};

    use super::*;

    fn event(seq: u64, fact: Fact) -> Event {
        Event {
            seq,
            at_us: seq * 1_000,
            seen_by: Observer::Experiment,
            fact,
        }
    }

    fn loss(seq: u64) -> Event {
        event(
            seq,
            Fact::PacketDropped {
                id: seq,
                rule: "cut".to_owned(),
                reason: "path cut".to_owned(),
                place: 0.5,
            },
        )
    }

    #[test]
    fn losses_are_counted_rather_than_listed() {
        assert_eq!(news(&[loss(1)]).unwrap(), "A packet was lost: path cut");
        assert_eq!(
            news(&[loss(1), loss(2)]).unwrap(),
            "2 packets were lost, the last one: path cut"
        );
    }

    #[test]
    fn a_detection_outweighs_a_loss() {
        let detection = event(
            1,
            Fact::Measurement(Measurement {
                name: "detection".to_owned(),
                predicted_us: None,
                measured_us: Some(5_003_210),
            }),
        );
        assert_eq!(
            news(&[detection, loss(2)]).unwrap(),
            "Measured detection after 5.003 s"
        );
    }

    #[test]
    fn ordinary_packets_are_not_worth_a_word() {
        assert_eq!(news(&[event(0, Fact::PacketArrived { id: 1 })]), None);
    }

    #[test]
    fn two_seconds_lie_between_announcements() {
        assert_eq!(hold_ms(None, 10.0), 0);
        assert_eq!(hold_ms(Some(1_000.0), 1_500.0), 1_500);
        assert_eq!(hold_ms(Some(1_000.0), 9_000.0), 0);
    }
}
