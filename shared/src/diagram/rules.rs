//! Predicted and measured moments, joined by name.

use std::collections::HashMap;

use crate::{event::Measurement, units};

use super::words;

/// A moment across all lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFact {
    /// The number of its event.
    pub seq: u64,
    /// When it was or should be, in microseconds on the run's clock.
    pub at_us: u64,
    /// What it is about, such as `detection`.
    pub name: String,
    /// Predicted, or measured.
    pub predicted: bool,
    /// In words, without the name: `predicted 5.000 s`, `measured 5.012 s (+12.0 ms)`.
    pub text: String,
    /// The formula of a prediction with its numbers; empty for a measurement.
    pub because: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// Sorted by time.
    rules: Vec<RuleFact>,
    /// Events of the predictions that no measurement has answered, by name, the latest last.
    open: HashMap<String, Vec<u64>>,
}

impl Rules {
    pub(super) fn expect(&mut self, seq: u64, predicted_at_us: u64, name: &str, because: &str) {
        self.open.entry(name.to_owned()).or_default().push(seq);
        self.insert(RuleFact {
            seq,
            at_us: predicted_at_us,
            name: name.to_owned(),
            predicted: true,
            text: format!("predicted at {}", units::human(predicted_at_us)),
            because: because.to_owned(),
        });
    }

    /// Joins a measurement with the earliest prediction of its name that has none yet.
    pub(super) fn measure(&mut self, seq: u64, at_us: u64, measurement: &Measurement) {
        let open = self.open.get_mut(&measurement.name);
        let expected = open.filter(|open| !open.is_empty()).map(|o| o.remove(0));
        if let Some(rule) = expected.and_then(|expected| {
            self.rules
                .iter_mut()
                .find(|rule| rule.seq == expected && rule.predicted)
        }) {
            if let Some(predicted) = measurement.predicted_us {
                rule.text = format!("predicted {}", units::human(predicted));
            }
            if measurement.measured_us.is_none() {
                rule.text.push_str(", did not happen");
            }
        }
        if let Some(measured) = measurement.measured_us {
            let mut text = format!("measured {}", units::human(measured));
            if let Some(predicted) = measurement.predicted_us {
                text.push_str(&format!(" ({})", words::difference(measured, predicted)));
            }
            self.insert(RuleFact {
                seq,
                at_us,
                name: measurement.name.clone(),
                predicted: false,
                text,
                because: String::new(),
            });
        }
    }

    fn insert(&mut self, rule: RuleFact) {
        let at = self.rules.partition_point(|r| r.at_us <= rule.at_us);
        self.rules.insert(at, rule);
    }

    pub(super) fn forget_predictions_after(&mut self, at_us: u64) {
        self.rules
            .retain(|rule| !rule.predicted || rule.at_us <= at_us);
    }

    pub(super) fn all(&self) -> &[RuleFact] {
        &self.rules
    }

    pub(super) fn last_us(&self) -> u64 {
        self.rules.last().map_or(0, |rule| rule.at_us)
    }
}
