//! TCP keep-alive: RFC 1122, section 4.2.3.6; RFC 9293, section 3.8.4; Linux `tcp_keepalive_timer`
//! in net/ipv4/tcp_timer.c.

use super::wheel::{self, Spread, fires_at, ticks};

/// How long after the last packet from the peer the kernel gives up, in microseconds.
///
/// The first probe leaves after `idle`; each of the `count` probes has `interval` to be answered,
/// so the socket fails with ETIMEDOUT, and sends an RST, at `idle + interval * count`.
pub const fn detection_us(idle_us: u64, interval_us: u64, count: u64) -> u64 {
    idle_us.saturating_add(interval_us.saturating_mul(count))
}

/// The same with what the slots of the kernel's timer wheel add to each of its timers.
pub fn given_up(idle_us: u64, interval_us: u64, count: u32, tick_us: u64) -> Spread {
    let mut waits = vec![idle_us];
    waits.resize(1 + count as usize, interval_us);
    wheel::chain(&waits, tick_us)
}

/// When the `nth` probe (from 1) leaves, after the last packet from the peer, in microseconds.
pub const fn probe_us(idle_us: u64, interval_us: u64, nth: u64) -> u64 {
    idle_us.saturating_add(interval_us.saturating_mul(nth.saturating_sub(1)))
}

/// From one answered probe to the next, in microseconds.
///
/// The timer is set to `interval` when a probe leaves. When it fires, the kernel looks when it last
/// heard an acknowledgment or data, which was the probe's answer one round trip after it, and waits
/// on for what is missing to `idle`. So the next probe leaves `idle` after the answer, but never
/// before `interval` is over (`tcp_keepalive_timer` and `keepalive_time_elapsed`): where `idle` is
/// the shorter one, `interval` decides.
pub const fn period_us(idle_us: u64, interval_us: u64, round_trip_us: u64) -> u64 {
    let after_answer = idle_us.saturating_add(round_trip_us);
    if after_answer > interval_us {
        after_answer
    } else {
        interval_us
    }
}

/// When the first probe leaves that a peer hears which is back after `away_us`, all in microseconds
/// after the last packet from the peer; `None` where all `count` leave before.
pub const fn first_answered_us(
    idle_us: u64,
    interval_us: u64,
    count: u64,
    away_us: u64,
) -> Option<u64> {
    let missed = match away_us.saturating_sub(idle_us).checked_div(interval_us) {
        _ if away_us <= idle_us => 0,
        Some(whole) if whole * interval_us == away_us - idle_us => whole,
        Some(whole) => whole + 1,
        None => return None,
    };
    if missed < count {
        Some(probe_us(idle_us, interval_us, missed + 1))
    } else {
        None
    }
}

/// When the first probe leaves, on the clock of its arguments, in microseconds: when the timer fires,
/// but where something was heard since it was set, not before `idle` after that; the kernel then
/// sets the timer again (`tcp_keepalive_timer`).
pub const fn first_probe_us(timer_due_us: u64, heard_us: u64, idle_us: u64) -> u64 {
    let silent_long_enough = heard_us.saturating_add(idle_us);
    if silent_long_enough > timer_due_us {
        silent_long_enough
    } else {
        timer_due_us
    }
}

/// The same as [`detection_us`], with the kernel's timers as late as they are: a timer of `idle` was
/// set `heard_after_us` before the last packet came, is set again for what is missing when it fires,
/// and each probe's timer begins at the end of the slot in which the one before has fired.
pub fn detected(
    idle_us: u64,
    interval_us: u64,
    count: u64,
    heard_after_us: u64,
    tick_us: u64,
) -> Spread {
    let (idle, interval) = (ticks(idle_us, tick_us), ticks(interval_us, tick_us));
    let (_, last) = wheel::follow(tick_us, |place| {
        let heard = place + heard_after_us / tick_us;
        let mut now = fires_at(place, idle);
        while now < heard + idle {
            now = fires_at(now, heard + idle - now);
        }
        for _ in 0..count {
            now = fires_at(now, interval);
        }
        vec![now]
    });
    let last = last.unwrap_or(Spread::NONE);
    let since_heard = |us: u64| us.saturating_sub(heard_after_us);
    Spread {
        earliest_us: since_heard(last.earliest_us),
        expected_us: since_heard(last.expected_us),
        latest_us: since_heard(last.latest_us),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detection_is_idle_plus_interval_times_count() {
        assert_eq!(detection_us(2_000_000, 1_000_000, 3), 5_000_000);
        // Linux's defaults: 2 h, 75 s, 9 probes make 2 h 11 min 15 s.
        assert_eq!(detection_us(7_200_000_000, 75_000_000, 9), 7_875_000_000);
    }

    #[test]
    fn the_timer_wheel_makes_it_later_and_never_earlier() {
        let told = given_up(2_000_000, 75_000_000, 9, 4_000);
        let textbook = detection_us(2_000_000, 75_000_000, 9);
        assert!(told.earliest_us >= textbook);
        assert!(told.latest_us <= textbook + textbook / 8);
    }

    #[test]
    fn the_last_probe_has_an_interval_to_be_answered() {
        assert_eq!(probe_us(2_000_000, 1_000_000, 1), 2_000_000);
        assert_eq!(
            probe_us(2_000_000, 1_000_000, 3) + 1_000_000,
            detection_us(2_000_000, 1_000_000, 3)
        );
    }

    #[test]
    fn an_answered_probe_is_followed_after_idle_but_never_before_interval() {
        assert_eq!(period_us(2_000_000, 1_000_000, 40_000), 2_040_000);
        assert_eq!(period_us(60_000_000, 75_000_000, 40_000), 75_000_000);
    }

    #[test]
    fn a_peer_that_is_back_answers_the_next_probe() {
        let first = |away_us| first_answered_us(10, 5, 2, away_us);
        assert_eq!(first(0), Some(10));
        assert_eq!(first(10), Some(10));
        assert_eq!(first(11), Some(15));
        assert_eq!(first(15), Some(15));
        assert_eq!(first(16), None);
    }

    #[test]
    fn the_first_probe_waits_for_the_timer_and_for_silence() {
        assert_eq!(first_probe_us(2_000_000, 40_000, 2_000_000), 2_040_000);
        assert_eq!(first_probe_us(2_540_000, 40_000, 2_000_000), 2_540_000);
    }

    #[test]
    fn the_kernels_timers_add_what_their_slots_are_coarse() {
        // Ticks of 4 ms: 1 s is 250 ticks in slots of 8, and behind a slot's end that makes 256;
        // the first timer behind the short one for what is missing is a little less late.
        let spread = detected(2_000_000, 1_000_000, 3, 100_000, 4_000);
        let late = spread.expected_us - 5_000_000;
        assert!(
            (2 * 24_000..3 * 24_000 + 16_000).contains(&late),
            "{spread:?}"
        );
        assert!(spread.earliest_us >= 5_000_000 && spread.latest_us <= 5_000_000 + 5_000_000 / 8);
        // 17 s are 4,250 ticks, which the wheel makes 4,608: a twelfth more.
        let coarse = detected(1_000_000, 17_000_000, 2, 0, 4_000);
        assert!(
            coarse.expected_us > 1_000_000 + 2 * 18_000_000,
            "{coarse:?}"
        );
    }
}
