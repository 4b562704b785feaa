//! `tcp-nagle`.

use linger_shared::event::{HostName, Packet};

use crate::observed::{Observed, assert_near, assert_sound, observe};

/// How late a step of the applications may be: two cores are shared with the other tests.
const LATE_US: u64 = 50_000;

/// The middle one of the exchanges after the first: on a busy machine a server's answer may come so
/// late that its kernel takes the connection for one that is not interactive, and acknowledges the
/// next piece at once.
fn later(run: &Observed, exchanges: u64) -> (Option<u64>, Option<u64>) {
    let mut measured: Vec<_> = (2..=exchanges)
        .map(|nth| run.measured(&format!("exchange_{nth}")))
        .collect();
    measured.sort_by_key(|(_, measured)| *measured);
    measured[measured.len() / 2]
}

/// How many packets with data the client sent, and how many bytes were in each.
fn pieces(run: &Observed) -> Vec<u32> {
    let payload = |packet: &Packet| packet.tcp.as_ref().map_or(0, |tcp| tcp.payload);
    run.departures()
        .filter(|(_, packet)| packet.from == HostName::Client && payload(packet) > 0)
        .map(|(_, packet)| payload(packet))
        .collect()
}

#[tokio::test]
async fn the_second_small_write_waits_for_a_delayed_ack() {
    let run = observe("tcp-nagle", &[("requests", "6")]).await;
    assert_sound(&run);
    assert_eq!(pieces(&run), [120, 80].repeat(6));
    // At the connection's start the ACK comes at once.
    assert_near(run.measured("exchange_1"), 20_000, LATE_US);
    let (_, first) = run.measured("exchange_1");
    let later = later(&run, 6);
    assert_near(later, 60_000, LATE_US);
    assert!(later.1 > first, "{first:?}, {later:?}");
    // What the second piece of the last request waited for: an ACK without data.
    let packets = run.packets();
    let last = packets
        .iter()
        .rposition(|packet| packet == "client 80 bytes")
        .expect("the last piece");
    assert_eq!(packets[last - 1], "server ACK", "{packets:?}");
}

#[tokio::test]
async fn the_delay_of_the_ack_does_not_depend_on_the_links() {
    let run = observe("tcp-nagle", &[("requests", "6"), ("delay", "20ms")]).await;
    assert_sound(&run);
    assert_near(later(&run, 6), 2 * 40_000 + 40_000, LATE_US);
}

#[tokio::test]
async fn without_nagle_both_pieces_leave_at_once() {
    let run = observe("tcp-nagle", &[("requests", "6"), ("style", "nodelay")]).await;
    assert_sound(&run);
    assert_eq!(pieces(&run), [120, 80].repeat(6));
    let (predicted, measured) = later(&run, 6);
    assert_eq!(predicted, Some(10_000));
    assert!(measured < Some(40_000), "{measured:?}: nobody waits");
}

#[tokio::test]
async fn one_write_leaves_nothing_to_hold_back() {
    let run = observe("tcp-nagle", &[("requests", "6"), ("style", "one-write")]).await;
    assert_sound(&run);
    assert_eq!(pieces(&run), [200].repeat(6));
    let (predicted, measured) = later(&run, 6);
    assert_eq!(predicted, Some(10_000));
    assert!(measured < Some(40_000), "{measured:?}: nobody waits");
}
