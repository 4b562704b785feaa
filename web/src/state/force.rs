//! What is in force in a run at the moment, as its events tell: cuts, armed rules, hosts without
//! power, programs at work.
//!
//! Nothing here remembers what the user pressed: a page that is loaded again in the middle of a run
//! knows as much as the one that was there from the beginning.

use linger_shared::event::{Event, Fact, HostName, Observer, ProcessState};

/// How events name a cut of the path.
const CUT: &str = "cut";

/// Who does what viewers ask for, as events say it.
const USER: &str = "user";

/// What is in force. There are never more than a few things of each kind, so that lists will do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InForce {
    /// Cuts of the path, in the order of the hosts.
    pub cuts: Vec<Cut>,
    /// Armed rules, the oldest first.
    pub rules: Vec<Armed>,
    /// Hosts without power.
    pub dark: Vec<HostName>,
    /// Programs at work: their process ids, and on which host.
    pub programs: Vec<(u32, HostName)>,
}

/// A cut of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The host whose packets are dropped.
    pub from: HostName,
    /// Whether a viewer made it; the others are the script's, which alone undoes them.
    pub by_hand: bool,
}

/// An armed rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Armed {
    /// Its name.
    pub name: String,
    /// What it does, in words.
    pub detail: String,
    /// As of a [`Cut`].
    pub by_hand: bool,
}

impl InForce {
    /// Takes the next event of the run.
    pub fn take(&mut self, event: &Event) {
        match &event.fact {
            Fact::Rule {
                rule,
                from,
                active,
                by,
                detail,
            } => {
                let by_hand = by == USER;
                if rule == CUT {
                    self.cut(*from, *active, by_hand);
                } else {
                    self.rule(rule, *active, by_hand, detail);
                }
            }
            Fact::Power { host, on, .. } => {
                self.dark.retain(|dark| dark != host);
                if !on {
                    self.dark.push(*host);
                }
            }
            Fact::Process { pid, state, .. } => {
                self.programs.retain(|(known, _)| known != pid);
                if let (
                    ProcessState::Started { .. },
                    Observer::App(host) | Observer::Kernel(host),
                ) = (state, event.seen_by)
                {
                    self.programs.push((*pid, host));
                }
            }
            _ => {}
        }
    }

    fn cut(&mut self, from: HostName, active: bool, by_hand: bool) {
        let cut = Cut { from, by_hand };
        self.cuts.retain(|known| *known != cut);
        if active {
            let place = self.cuts.iter().position(|known| known.from > from);
            self.cuts.insert(place.unwrap_or(self.cuts.len()), cut);
        }
    }

    /// A rule has one event for each host whose packets it concerns.
    fn rule(&mut self, name: &str, active: bool, by_hand: bool, detail: &str) {
        self.rules.retain(|known| known.name != name);
        if active {
            self.rules.push(Armed {
                name: name.to_owned(),
                detail: detail.to_owned(),
                by_hand,
            });
        }
    }

    /// Whether what a host sends is dropped.
    pub fn is_cut(&self, from: HostName) -> bool {
        self.cuts.iter().any(|cut| cut.from == from)
    }

    /// Whether there is something that a viewer can undo at once.
    pub fn can_heal(&self) -> bool {
        self.cuts.iter().any(|cut| cut.by_hand) || self.rules.iter().any(|rule| rule.by_hand)
    }

    /// Whether a program of the run is at work on a host.
    pub fn is_busy(&self, host: HostName) -> bool {
        self.programs.iter().any(|(_, busy)| *busy == host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: HostName = HostName::Client;
    const SERVER: HostName = HostName::Server;

    fn after(facts: impl IntoIterator<Item = (Observer, Fact)>) -> InForce {
        let mut known = InForce::default();
        for (seq, (seen_by, fact)) in (0..).zip(facts) {
            known.take(&Event {
                seq,
                at_us: seq,
                seen_by,
                fact,
            });
        }
        known
    }

    fn rule(rule: &str, from: HostName, active: bool, by: &str) -> (Observer, Fact) {
        let fact = Fact::Rule {
            rule: rule.to_owned(),
            from,
            active,
            by: by.to_owned(),
            detail: "drops the next packet".to_owned(),
        };
        (Observer::Wire, fact)
    }

    fn power(host: HostName, on: bool) -> (Observer, Fact) {
        let by = "user".to_owned();
        (Observer::Wire, Fact::Power { host, on, by })
    }

    #[test]
    fn cuts_are_known_by_host_and_by_who_made_them() {
        let known = after([
            rule(CUT, CLIENT, true, "script"),
            rule(CUT, SERVER, true, "user"),
        ]);
        assert!(known.is_cut(CLIENT) && known.is_cut(SERVER) && known.can_heal());
        let healed = after([
            rule(CUT, CLIENT, true, "script"),
            rule(CUT, SERVER, true, "user"),
            rule(CUT, SERVER, false, "user"),
        ]);
        assert!(healed.is_cut(CLIENT) && !healed.is_cut(SERVER));
        assert!(!healed.can_heal(), "what the script cut, it heals itself");
    }

    #[test]
    fn a_rule_is_armed_until_it_is_spent_or_taken_back() {
        let armed = [
            rule("drop-1", CLIENT, true, "user"),
            rule("drop-1", SERVER, true, "user"),
        ];
        let known = after(armed.clone());
        assert_eq!(known.rules.len(), 1, "one rule, whatever it concerns");
        assert!(known.can_heal());
        let spent = [
            rule("drop-1", CLIENT, false, "user"),
            rule("drop-1", SERVER, false, "user"),
        ];
        assert_eq!(after(armed.into_iter().chain(spent)), InForce::default());
        assert!(!after([rule("drop-1", CLIENT, true, "script")]).can_heal());
    }

    #[test]
    fn a_host_is_dark_until_it_has_power_again() {
        assert!(after([power(SERVER, false)]).dark.contains(&SERVER));
        assert_eq!(
            after([power(SERVER, false), power(SERVER, true)]),
            InForce::default()
        );
    }

    #[test]
    fn programs_count_until_they_end() {
        let process = |state| {
            let program = "curl".to_owned();
            let fact = Fact::Process {
                program,
                pid: 7,
                state,
            };
            (Observer::App(CLIENT), fact)
        };
        let command = "curl http://server/".to_owned();
        let started = process(ProcessState::Started { command });
        let busy = after([started.clone()]);
        assert!(busy.is_busy(CLIENT) && !busy.is_busy(SERVER));
        let over = after([started, process(ProcessState::Exited { code: 0 })]);
        assert_eq!(over, InForce::default());
    }
}
