//! Whatever is left out or out of order: there is a verdict, and always the same one.

use linger_shared::event::{Event, HostName, ProcessState, Role, TcpState};

use super::story::{Story, testify};
use HostName::{Client, Proxy, Server};

/// A story in which everything happens.
fn everything() -> Vec<Event> {
    let mut story = Story::through_proxy();
    for leg in [0, 1, 0] {
        let (one, other) = match leg {
            0 => (Client, Proxy),
            _ => (Proxy, Server),
        };
        story.leg(leg);
        let id = story.segment(one, "PSH,ACK", Role::Retransmission { nth: 1 }, None);
        story.is_dropped(id, "cut");
        story.probes(other, 1);
        let fin = story.sends(one, "FIN,ACK");
        story.arrives(fin);
        let fin = story.sends(other, "FIN,ACK");
        story.arrives(fin);
        let rst = story.segment(other, "RST", Role::Ordinary, Some("firewall"));
        story.arrives(rst);
        story.refuses(other);
        story.reads(one, "end of stream");
        story.fails(other, "read", "ETIMEDOUT");
        story.fails(one, "write", "EPIPE");
        story.icmp(one, "reject");
        story.fails_to_connect(one, "EHOSTUNREACH");
        story.gone(one, TcpState::Established);
        story.calls(other, "close", "ok");
        story.calls(one, "read", "");
    }
    story.power(Server);
    story.process(Proxy, ProcessState::Exited { code: 1 });
    story.asks(Some(502));
    story.asks(None);
    story.events
}

/// SplitMix64: enough to shuffle by, and the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}

#[test]
fn any_part_of_a_run_in_any_order_has_one_verdict() {
    let everything = everything();
    let mut random = Random(1);
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..5_000 {
        let mut events = everything.clone();
        let keep = random.below(events.len() + 1);
        for place in (1..events.len()).rev() {
            // Some shuffles are wild, and some only leave things out.
            if keep.is_multiple_of(2) {
                events.swap(place, random.below(place + 1));
            }
        }
        while events.len() > keep {
            events.remove(random.below(events.len()));
        }
        let verdict = testify(&events);
        assert_eq!(testify(&events), verdict);
        assert!(!verdict.summary.is_empty());
        assert!(verdict.summary.ends_with('.'), "{}", verdict.summary);
        assert!(verdict.endings.len() <= 100);
        for ending in &verdict.endings {
            assert_eq!(ending.sides.len(), 2);
            assert_eq!(ending.at_us.is_none(), ending.how == "silence");
        }
        let text = serde_json::to_string(&verdict).unwrap();
        assert_eq!(
            serde_json::from_str::<linger_shared::event::Verdict>(&text).unwrap(),
            verdict
        );
        kinds.insert((verdict.ended_by, verdict.how));
    }
    // The shuffles reach more than a single ending, or they would say nothing.
    assert!(kinds.len() > 8, "{kinds:?}");
}

#[test]
fn times_at_the_end_of_the_clock_do_no_harm() {
    let mut events = everything();
    for event in &mut events {
        event.at_us = u64::MAX - event.seq % 3;
    }
    assert!(!testify(&events).summary.is_empty());
}
