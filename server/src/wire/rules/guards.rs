//! What a script holds while its cuts and rules are in force.

use std::sync::Arc;

use super::Rules;

/// A cut that a script made. Dropping it heals the path.
#[must_use = "a cut that is dropped is healed"]
pub struct Cut {
    rules: Arc<Rules>,
    ids: Vec<u64>,
}

impl Cut {
    pub(super) fn new(rules: Arc<Rules>, ids: Vec<u64>) -> Self {
        Self { rules, ids }
    }

    /// Leaves the path cut for the rest of the run.
    pub fn stay(mut self) {
        self.ids.clear();
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.rules
            .disarm(|cut| self.ids.contains(&cut.id), |_| false);
    }
}

/// A rule that a script armed. Dropping it disarms the rule, if it has not done so itself.
#[must_use = "a rule whose guard is dropped is disarmed"]
pub struct Armed {
    rules: Arc<Rules>,
    id: u64,
    name: String,
    stays: bool,
}

impl Armed {
    pub(super) fn new(rules: Arc<Rules>, id: u64, name: String) -> Self {
        Self {
            rules,
            id,
            name,
            stays: false,
        }
    }

    /// The rule's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Leaves the rule armed for the rest of the run.
    pub fn stay(mut self) {
        self.stays = true;
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        if !self.stays {
            self.rules.disarm(|_| false, |rule| rule.id == self.id);
        }
    }
}
