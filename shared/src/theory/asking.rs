//! Asking whether the other end is still there, by probes of a kernel or by messages of an
//! application, and when the last answer was heard: Linux `tcp_keepalive_timer` in
//! net/ipv4/tcp_timer.c; RFC 6455, section 5.5.2, for messages that ask.

/// How long after the last message that was answered an application that asks every `every_us`, and
/// waits `patience_us` for each answer, gives its peer up, in microseconds: the next message is
/// the first that stays unanswered.
pub const fn heartbeat_us(every_us: u64, patience_us: u64) -> u64 {
    every_us.saturating_add(patience_us)
}

/// Which message of an application (from 1) is the first to stay unanswered, where message `n`
/// leaves at `n * every_us` and the peer dies at `death_us`, all from the same moment on.
///
/// A message that reaches the peer before its death, after `there_us`, is answered.
pub fn first_unanswered(every_us: u64, there_us: u64, death_us: u64) -> u64 {
    match every_us {
        0 => 1,
        _ => death_us.saturating_sub(there_us).div_ceil(every_us).max(1),
    }
}

/// When a kernel that probes its peer hears it for the last time, in microseconds since it last
/// heard anything else; the peer dies at `death_us`.
///
/// Each probe leaves `idle_us` after the last packet from the peer: an answered probe begins a new
/// idle time. So the rhythm is idle time and round trip, and the interval of unanswered probes has
/// no part in it.
pub const fn last_heard_us(idle_us: u64, there_us: u64, back_us: u64, death_us: u64) -> u64 {
    let rhythm = idle_us.saturating_add(there_us).saturating_add(back_us);
    let first = idle_us.saturating_add(there_us);
    if rhythm == 0 || death_us <= first {
        return 0;
    }
    // Probe `n` reaches the peer at `n * rhythm - back`.
    let answered = death_us.saturating_add(back_us).saturating_sub(1) / rhythm;
    answered.saturating_mul(rhythm)
}

/// Keep-alive as far as these questions go, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probes {
    /// Silence before a probe.
    pub idle_us: u64,
    /// From the last packet that was heard until the kernel gives its peer up.
    pub detection_us: u64,
}

/// Who asks along a path, and whose patience may end it. All times are in microseconds, and count
/// from the moment at which the client read the answer to its greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The silence after which the proxy closes both of its connections; absent where there is no
    /// proxy.
    pub proxy_idle_us: Option<u64>,
    /// The client's keep-alive.
    pub client_probes: Option<Probes>,
    /// The proxy's, on its connection to the backend.
    pub proxy_probes: Option<Probes>,
    /// Every how often the client's application asks, and how long it waits for each answer.
    pub heartbeat: Option<(u64, u64)>,
    /// When the backend dies without a word.
    pub death_us: Option<u64>,
    /// One way between client and proxy.
    pub near_us: u64,
    /// One way between proxy and backend.
    pub far_us: u64,
}

/// What ends the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The proxy's idle limit.
    Idle,
    /// A heartbeat that stays unanswered.
    Heartbeat,
    /// The client's probes, which reach the backend where no proxy stands between.
    Probes,
    /// The proxy's probes: it closes its client's connection, too.
    ProxyProbes,
}

impl Asked {
    /// What ends the client's connection first, as the client sees it, and when; nothing may.
    pub fn fate(&self) -> Option<(Fate, u64)> {
        let mut fates = Vec::new();
        if let Some(idle_us) = self.proxy_idle_us
            && self
                .heartbeat
                .is_none_or(|(every_us, _)| every_us >= idle_us)
        {
            // The proxy counts from when it passed the answer on, and its FIN takes as long as
            // that did.
            fates.push((idle_us, Fate::Idle));
        }
        if let Some(death_us) = self.death_us {
            fates.extend(self.after(death_us));
        }
        let first = fates.into_iter().min_by_key(|(at_us, _)| *at_us);
        first.map(|(at_us, fate)| (fate, at_us))
    }

    /// What the backend's death leads to.
    fn after(&self, death_us: u64) -> Vec<(u64, Fate)> {
        let way_us = self.near_us + self.far_us;
        let mut fates = Vec::new();
        if let Some((every_us, patience_us)) = self.heartbeat {
            let sent_us = first_unanswered(every_us, way_us, death_us).saturating_mul(every_us);
            fates.push((sent_us.saturating_add(patience_us), Fate::Heartbeat));
            if let Some(idle_us) = self.proxy_idle_us {
                // The last bytes that the proxy copies are those of that heartbeat.
                let closed_us = sent_us.saturating_add(2 * self.near_us);
                fates.push((closed_us.saturating_add(idle_us), Fate::Idle));
            }
            // With unacknowledged data on the way no kernel probes.
            return fates;
        }
        let gone_us = |probes: Probes, way_us, death_us| {
            last_heard_us(probes.idle_us, way_us, way_us, death_us)
                .saturating_add(probes.detection_us)
        };
        match (self.proxy_idle_us, self.client_probes, self.proxy_probes) {
            (None, Some(probes), _) => {
                fates.push((gone_us(probes, way_us, death_us), Fate::Probes));
            }
            (Some(_), _, Some(probes)) => {
                // The proxy had the greeting's answer before the client, by as much as its FIN
                // takes: the two cancel out.
                let death_us = death_us.saturating_add(self.near_us);
                fates.push((gone_us(probes, self.far_us, death_us), Fate::ProxyProbes));
            }
            _ => {}
        }
        fates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_arrives_before_the_death_is_answered() {
        assert_eq!(first_unanswered(1_000, 20, 2_500), 3);
        assert_eq!(first_unanswered(1_000, 20, 3_010), 3);
        assert_eq!(first_unanswered(1_000, 20, 3_030), 4);
        assert_eq!(first_unanswered(1_000, 20, 10), 1);
    }

    #[test]
    fn an_answered_probe_begins_a_new_idle_time() {
        // Probes leave at 1000 and 2020, and are heard at 1020 and 2040.
        assert_eq!(last_heard_us(1_000, 10, 10, 900), 0);
        assert_eq!(last_heard_us(1_000, 10, 10, 1_500), 1_020);
        assert_eq!(last_heard_us(1_000, 10, 10, 2_500), 2_040);
        // The second probe is on its way when the peer dies.
        assert_eq!(last_heard_us(1_000, 10, 10, 2_025), 1_020);
    }

    #[test]
    fn an_application_finds_out_an_interval_and_its_patience_after_the_last_answer() {
        assert_eq!(heartbeat_us(25_000_000, 10_000_000), 35_000_000);
    }

    fn through_a_proxy() -> Asked {
        Asked {
            proxy_idle_us: Some(8_000),
            client_probes: Some(Probes {
                idle_us: 1_000,
                detection_us: 4_000,
            }),
            proxy_probes: None,
            heartbeat: None,
            death_us: Some(2_500),
            near_us: 10,
            far_us: 10,
        }
    }

    #[test]
    fn probes_do_not_reach_through_a_proxy() {
        let asked = through_a_proxy();
        assert_eq!(asked.fate(), Some((Fate::Idle, 8_000)));
        let living = Asked {
            death_us: None,
            ..asked
        };
        assert_eq!(living.fate(), asked.fate());
        let direct = Asked {
            proxy_idle_us: None,
            ..asked
        };
        assert_eq!(direct.fate(), Some((Fate::Probes, 2 * 1_040 + 4_000)));
        let both = Asked {
            proxy_probes: asked.client_probes,
            ..asked
        };
        assert_eq!(both.fate(), Some((Fate::ProxyProbes, 2 * 1_020 + 4_000)));
    }

    #[test]
    fn a_heartbeat_puts_the_idle_limit_off_if_it_is_more_frequent() {
        let asked = Asked {
            heartbeat: Some((1_000, 500)),
            ..through_a_proxy()
        };
        assert_eq!(asked.fate(), Some((Fate::Heartbeat, 3_500)));
        let living = Asked {
            death_us: None,
            ..asked
        };
        assert_eq!(living.fate(), None);
        let rare = Asked {
            heartbeat: Some((9_000, 500)),
            ..asked
        };
        assert_eq!(rare.fate(), Some((Fate::Idle, 8_000)));
        let patient = Asked {
            heartbeat: Some((1_000, 20_000)),
            ..asked
        };
        assert_eq!(patient.fate(), Some((Fate::Idle, 3_000 + 20 + 8_000)));
    }
}
