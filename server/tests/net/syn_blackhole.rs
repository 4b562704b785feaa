//! `tcp-syn-blackhole`.

use linger_shared::event::{HostName, TcpState};

use crate::observed::{Observed, assert_near, assert_sound, observe};

const SECOND: u64 = 1_000_000;

/// How late a step of the applications may be: two cores are shared with the other tests.
const LATE_US: u64 = 50_000;

/// Asserts that something was predicted and measured at that time or, by the lateness of the
/// kernel's timers, up to an eighth later; and that the two agree.
fn assert_late((predicted, measured): (Option<u64>, Option<u64>), due_us: u64) {
    let (predicted, measured) = (predicted.expect("predicted"), measured.expect("measured"));
    for us in [predicted, measured] {
        assert!(
            (due_us - 10_000..=due_us + due_us / 8 + LATE_US).contains(&us),
            "due at {due_us} us, predicted {predicted} us, measured {measured} us"
        );
    }
    assert!(
        predicted.abs_diff(measured) <= LATE_US.max(due_us / 20),
        "predicted {predicted} us, measured {measured} us"
    );
}

fn syns(run: &Observed) -> usize {
    run.packets()
        .iter()
        .filter(|packet| packet.as_str() == "client SYN")
        .count()
}

/// The retransmissions at these seconds and no others, and then ETIMEDOUT.
async fn hangs(params: &[(&str, &str)], retransmissions: &[u64], gives_up: u64) -> Observed {
    let run = observe("tcp-syn-blackhole", params).await;
    assert_sound(&run);
    for (nth, seconds) in (1..).zip(retransmissions) {
        let at = seconds * SECOND;
        assert_late(run.measured(&format!("retransmission_{nth}")), at);
    }
    let gives_up = gives_up * SECOND;
    assert_late(run.measured("detection"), gives_up);
    assert_eq!(run.packets().len(), syns(&run), "nothing but SYNs");
    assert_eq!(syns(&run), retransmissions.len() + 1);
    assert_eq!(run.drops().len(), syns(&run));
    let verdict = run.verdict();
    assert_eq!(
        (verdict.ended_by.as_str(), verdict.how.as_str()),
        ("client", "timeout")
    );
    assert_eq!(verdict.outcomes["client"], "ETIMEDOUT");
    assert_eq!(
        run.states(HostName::Client),
        [TcpState::SynSent, TcpState::Closed]
    );
    assert!(run.states(HostName::Server).is_empty());
    run
}

#[tokio::test]
async fn time_outs_double_and_then_connect_fails() {
    hangs(&[("syn_retries", "2"), ("linear", "0")], &[1, 3], 7).await;
}

#[tokio::test]
async fn linear_time_outs_come_first_and_do_not_count() {
    hangs(&[("syn_retries", "1"), ("linear", "1")], &[1, 2], 4).await;
}

#[tokio::test]
async fn the_time_of_the_doublings_is_a_limit_of_its_own() {
    hangs(&[("syn_retries", "1"), ("linear", "4")], &[1, 2], 3).await;
}

#[tokio::test]
async fn an_application_may_give_up_before_its_kernel() {
    let run = observe(
        "tcp-syn-blackhole",
        &[("patience", "1500ms"), ("linear", "0")],
    )
    .await;
    assert_sound(&run);
    assert_near(run.measured("application_gives_up"), 1_500_000, 2 * LATE_US);
    assert_eq!(syns(&run), 2);
    assert_eq!(run.states(HostName::Client).last(), Some(&TcpState::Closed));
}

#[tokio::test]
async fn whoever_is_refused_hears_it_at_once() {
    for (wall, errno, answer, us) in [
        ("rst", "ECONNREFUSED", "server RST, ACK", 20_000),
        ("nobody-listens", "ECONNREFUSED", "server RST, ACK", 40_000),
        (
            "port-unreachable",
            "ECONNREFUSED",
            "server ICMP port unreachable",
            20_000,
        ),
        (
            "host-unreachable",
            "EHOSTUNREACH",
            "server ICMP host unreachable",
            20_000,
        ),
        (
            "net-unreachable",
            "ENETUNREACH",
            "server ICMP network unreachable",
            20_000,
        ),
        (
            "admin-prohibited",
            "EHOSTUNREACH",
            "server ICMP administratively prohibited",
            20_000,
        ),
    ] {
        let run = observe("tcp-syn-blackhole", &[("wall", wall)]).await;
        assert_sound(&run);
        assert_eq!(run.packets(), ["client SYN", answer], "{wall}");
        assert_eq!(run.verdict().outcomes["client"], errno, "{wall}");
        assert_near(run.measured("refused"), us, LATE_US);
    }
}

#[tokio::test]
async fn a_rule_about_another_port_changes_nothing() {
    let run = observe(
        "tcp-syn-blackhole",
        &[("wall", "other-port"), ("delay", "10ms")],
    )
    .await;
    assert_sound(&run);
    assert_eq!(
        run.packets(),
        ["client SYN", "server SYN, ACK", "client ACK"]
    );
    assert_near(run.measured("connect"), 20_000, LATE_US);
    assert!(run.drops().is_empty());
    assert_eq!(
        run.states(HostName::Client).last(),
        Some(&TcpState::Established)
    );
}
