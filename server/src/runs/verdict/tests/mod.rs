//! Endings of every kind, told by scripted events.

mod property;
mod story;

use linger_shared::event::{Fact, FlowState, HostName, Observer, ProcessState, Role, TcpState};

use self::story::{Story, kind};
use HostName::{Client, Proxy, Server};

#[test]
fn the_first_fin_names_who_ended_it() {
    let mut story = Story::open();
    let fin = story.sends(Server, "FIN,ACK");
    story.arrives(fin);
    story.reads(Client, "end of stream");
    let fin = story.sends(Client, "FIN,ACK");
    story.arrives(fin);
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("server", "fin"));
    assert_eq!(verdict.summary, "The server ended the connection with FIN.");
    let [client, server] = &verdict.sides[..] else {
        panic!("two sides: {:?}", verdict.sides);
    };
    assert_eq!(
        (client.host, client.saw.as_str(), client.how.as_str()),
        (Client, "end of stream", "received FIN")
    );
    assert_eq!((server.host, server.how.as_str()), (Server, "sent FIN"));
    assert!(server.at_us < client.at_us && client.at_us < client.saw_at_us);
    assert_eq!(verdict.endings.len(), 1);
}

#[test]
fn a_fin_that_is_never_answered_closes_one_side_only() {
    let mut story = Story::open();
    let fin = story.sends(Client, "FIN,ACK");
    story.arrives(fin);
    let verdict = story.verdict();
    assert_eq!(verdict.ended_by, "client");
    assert_eq!(
        verdict.summary,
        "The client closed its side of the connection with FIN; the other side never closed."
    );
}

#[test]
fn fins_that_cross_on_the_wire_count_for_both() {
    let mut story = Story::open();
    let one = story.sends(Server, "FIN,ACK");
    let other = story.sends(Client, "FIN,ACK");
    story.arrives(one);
    story.arrives(other);
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("both", "fin"));
    assert_eq!(
        verdict.summary,
        "Client and server ended the connection at once, with FIN."
    );
}

#[test]
fn a_lost_fin_crosses_nothing() {
    let mut story = Story::open();
    let fin = story.sends(Client, "FIN,ACK");
    story.is_dropped(fin, "cut");
    story.sends(Server, "FIN,ACK");
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("client", "fin"));
    assert_eq!(
        verdict.summary,
        "The client closed the connection with FIN, which never arrived."
    );
}

#[test]
fn a_fin_that_was_heard_of_late_but_not_acknowledged_has_not_crossed() {
    let mut story = Story::open();
    let fin = story.sends(Client, "FIN,ACK");
    story.arrives(fin);
    // The server acknowledges with its next segment only; here that is its own FIN.
    story.sends(Server, "FIN,ACK");
    assert_eq!(kind(&story.verdict()), ("client", "fin"));
}

#[test]
fn a_time_out_outranks_the_rst_that_comes_with_it() {
    let mut story = Story::open();
    for nth in 1..=3 {
        let probe = story.probes(Client, nth);
        story.is_dropped(probe, "cut");
    }
    story.sends(Client, "RST,ACK");
    story.fails(Client, "read", "ETIMEDOUT");
    story.calls(Client, "close", "ok");
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("client", "timeout"));
    assert_eq!(verdict.outcomes["client"], "ETIMEDOUT");
    assert_eq!(
        verdict.summary,
        "The client's kernel gave up the connection after 3 probes without an answer: ETIMEDOUT."
    );
    assert_eq!(verdict.sides[0].how, "gave up");
    assert_eq!(verdict.sides[1].how, "nothing");
}

#[test]
fn a_kernel_gives_up_even_where_nobody_asks_it() {
    let mut story = Story::open();
    story.probes(Server, 1);
    story.probes(Server, 2);
    story.sends(Server, "RST,ACK");
    assert_eq!(kind(&story.verdict()), ("server", "timeout"));
}

#[test]
fn retransmissions_end_without_a_word_and_the_socket_is_gone() {
    let mut story = Story::open();
    story.segment(Client, "PSH,ACK", Role::Ordinary, None);
    for nth in 1..=5 {
        story.segment(Client, "PSH,ACK", Role::Retransmission { nth }, None);
    }
    story.gone(Client, TcpState::Established);
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("client", "timeout"));
    assert_eq!(
        verdict.endings[0].because,
        "5 retransmissions without an answer"
    );
    assert_eq!(verdict.sides[0].state, "gone");
}

#[test]
fn a_connect_that_nobody_answers_times_out() {
    let mut story = Story::new();
    for _ in 0..3 {
        let syn = story.sends(Client, "SYN");
        story.is_dropped(syn, "cut");
    }
    story.fails_to_connect(Client, "ETIMEDOUT");
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("client", "timeout"));
    assert_eq!(verdict.endings[0].because, "3 SYNs without an answer");
}

#[test]
fn an_rst_alone_is_an_rst() {
    let mut story = Story::open();
    let rst = story.sends(Server, "RST");
    story.arrives(rst);
    story.fails(Client, "read", "ECONNRESET");
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("server", "rst"));
    assert_eq!(verdict.sides[0].saw, "ECONNRESET");
    assert_eq!(verdict.sides[0].how, "received RST");
}

#[test]
fn an_rst_in_answer_to_a_syn_is_a_refusal() {
    let mut story = Story::new();
    let syn = story.sends(Client, "SYN");
    story.arrives(syn);
    story.refuses(Server);
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("server", "rst"));
    assert_eq!(
        verdict.summary,
        "The server refused the connection with RST: nobody listens there."
    );
}

#[test]
fn what_a_rule_sent_in_a_hosts_name_was_not_sent_by_that_host() {
    let mut story = Story::open();
    let rst = story.segment(Server, "RST", Role::Ordinary, Some("firewall"));
    story.arrives(rst);
    story.fails(Client, "read", "ECONNRESET");
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("middlebox", "rst"));
    assert_eq!(
        verdict.summary,
        "A middlebox (`firewall`) ended the connection with RST."
    );
    assert_eq!(verdict.sides[0].how, "received RST from `firewall`");
    assert_eq!(verdict.sides[1].how, "nothing");
}

#[test]
fn the_copy_of_a_packet_says_nothing_new() {
    let mut story = Story::open();
    let copy = story.segment(Server, "RST", Role::Ordinary, Some("duplicate"));
    story.arrives(copy);
    assert_eq!(kind(&story.verdict()), ("nobody", "silence"));
}

#[test]
fn icmp_of_a_rule_ends_a_connect() {
    let mut story = Story::new();
    story.sends(Client, "SYN");
    story.icmp(Client, "reject");
    story.fails_to_connect(Client, "EHOSTUNREACH");
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("middlebox", "icmp"));
    assert_eq!(
        verdict.summary,
        "A middlebox (`reject`) ended the connection with ICMP."
    );
}

#[test]
fn icmp_ends_a_connect_even_where_the_socket_is_seen_gone_first() {
    let mut story = Story::new();
    story.sends(Client, "SYN");
    story.icmp(Client, "reject");
    story.gone(Client, TcpState::SynSent);
    story.fails_to_connect(Client, "EHOSTUNREACH");
    assert_eq!(kind(&story.verdict()), ("middlebox", "icmp"));
}

#[test]
fn an_open_connection_outlives_icmp_until_its_kernel_gives_up() {
    let mut story = Story::open();
    story.segment(Client, "PSH,ACK", Role::Ordinary, None);
    story.icmp(Client, "reject");
    for nth in 1..=3 {
        story.segment(Client, "PSH,ACK", Role::Retransmission { nth }, None);
        story.icmp(Client, "reject");
    }
    story.fails(Client, "read", "ECONNREFUSED");
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("client", "timeout"));
    assert_eq!(
        verdict.summary,
        "The client's kernel gave up the connection after 3 retransmissions without an answer: \
         ECONNREFUSED."
    );
}

#[test]
fn a_connection_that_nobody_ended_is_silent() {
    let mut story = Story::open();
    story.calls(Client, "read", "");
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("nobody", "silence"));
    assert_eq!(
        verdict.summary,
        "Nobody ended the connection: it is still open."
    );
    assert_eq!(verdict.outcomes["client"], "still waiting in read()");
    assert_eq!(verdict.sides[0].saw, "still waiting in read()");
}

#[test]
fn silence_names_the_rule_that_made_it() {
    let mut story = Story::open();
    let lost = story.segment(Server, "PSH,ACK", Role::Ordinary, None);
    story.is_dropped(lost, "firewall");
    assert_eq!(
        story.verdict().summary,
        "Nobody ended the connection: it is still open, with 1 packet dropped by `firewall`."
    );
}

#[test]
fn a_host_without_power_ends_its_connections_and_says_nothing() {
    let mut story = Story::open();
    story.power(Server);
    assert_eq!(
        story.clone().verdict().summary,
        "The server lost power, and with it the connection; the client has not noticed."
    );
    story.probes(Client, 1);
    story.sends(Client, "RST,ACK");
    story.fails(Client, "read", "ETIMEDOUT");
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("server", "power"));
    assert_eq!(
        verdict.summary,
        "The server lost power, and with it the connection; the client noticed 2.0 ms later: \
         gave up, ETIMEDOUT."
    );
}

#[test]
fn who_closes_for_a_reason_of_its_own_has_not_noticed_that_its_peer_is_gone() {
    let mut story = Story::open();
    story.power(Server);
    story.sends(Client, "FIN,ACK");
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("server", "power"));
    assert_eq!(
        verdict.summary,
        "The server lost power, and with it the connection; the client never noticed, and 1.0 ms \
         later sent FIN of its own accord."
    );
}

#[test]
fn a_rebooted_host_knows_nothing_of_its_old_connections() {
    let mut story = Story::open();
    story.power(Server);
    story.segment(Client, "PSH,ACK", Role::Ordinary, None);
    let rst = story.sends(Server, "RST");
    story.arrives(rst);
    story.fails(Client, "read", "ECONNRESET");
    assert_eq!(kind(&story.verdict()), ("server", "power"));
}

#[test]
fn a_killed_process_is_closed_for_by_its_kernel() {
    let mut story = Story::open();
    story.process(
        Server,
        ProcessState::Killed {
            signal: "SIGKILL".to_owned(),
            by: "script".to_owned(),
        },
    );
    let fin = story.sends(Server, "FIN,ACK");
    story.arrives(fin);
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("server", "fin"));
    assert_eq!(
        verdict.summary,
        "The server's kernel ended the connection with FIN: its process `node` was killed by \
         SIGKILL."
    );
}

#[test]
fn a_kernel_closes_for_a_killed_process_before_anybody_is_told_of_its_end() {
    let told_after = |state: ProcessState| {
        let mut story = Story::open();
        let fin = story.sends(Server, "FIN,ACK");
        story.process(Server, state);
        story.arrives(fin);
        story.verdict().summary
    };
    let killed = told_after(ProcessState::Killed {
        signal: "SIGKILL".to_owned(),
        by: "script".to_owned(),
    });
    assert!(killed.contains("was killed by SIGKILL"), "{killed}");
    // One that ends by itself may well have closed before.
    let exited = told_after(ProcessState::Exited { code: 0 });
    assert!(!exited.contains("process"), "{exited}");
}

#[test]
fn behind_a_nat_the_servers_calls_belong_to_the_connection_of_the_inside() {
    let mut story = Story::open();
    let mapped = "203.0.113.9:40000".parse().unwrap();
    story.event(
        Observer::Wire,
        Fact::Flow {
            middlebox: "nat".to_owned(),
            state: FlowState::Opened,
            inside: Story::CLIENT.parse().unwrap(),
            outside: Story::SERVER.parse().unwrap(),
            mapped: Some(mapped),
        },
    );
    story.call_with(Server, "read", "ECONNRESET", true, Some(mapped));
    assert_eq!(story.verdict().sides[1].saw, "ECONNRESET");
}

#[test]
fn a_proxys_two_connections_are_one_story() {
    let mut story = Story::through_proxy();
    let fin = story.leg(1).sends(Server, "FIN,ACK");
    story.arrives(fin);
    let fin = story.leg(0).sends(Proxy, "FIN,ACK");
    story.arrives(fin);
    story.reads(Client, "end of stream");
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("server", "fin"));
    assert_eq!(
        verdict.summary,
        "The server closed its side of the proxy-server connection with FIN; the other side never \
         closed. 2.0 ms later the proxy closed its side of the client-proxy connection with \
         FIN; the other side never closed."
    );
    let sides: Vec<_> = verdict
        .sides
        .iter()
        .map(|side| (side.host, side.towards, side.how.as_str()))
        .collect();
    assert_eq!(
        sides,
        [
            (Client, Proxy, "received FIN"),
            (Proxy, Client, "sent FIN"),
            (Proxy, Server, "received FIN"),
            (Server, Proxy, "sent FIN"),
        ]
    );
}

#[test]
fn of_a_proxys_two_connections_one_may_stay_open() {
    let mut story = Story::through_proxy();
    story.power(Server);
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("server", "power"));
    assert_eq!(
        verdict.summary,
        "The server lost power, and with it the proxy-server connection; the proxy has not \
         noticed. Nobody ended the client-proxy connection: it is still open."
    );
}

#[test]
fn a_run_of_several_connections_is_told_by_what_most_of_them_have() {
    let mut story = Story::new();
    for number in 0..150 {
        story.connection(number);
        let syn = story.sends(Client, "SYN");
        story.arrives(syn);
        if number % 3 > 0 {
            let fin = story.sends(Server, "FIN,ACK");
            story.arrives(fin);
            story.sends(Client, "FIN,ACK");
        }
    }
    let verdict = story.verdict();
    assert_eq!(kind(&verdict), ("server", "fin"));
    assert_eq!(
        verdict.summary,
        "Nobody ended 50 connections: they are still open. The server ended 100 connections with \
         FIN."
    );
    assert_eq!(verdict.endings.len(), 100);
    assert_eq!(verdict.counts["connections"], 150);
}

#[test]
fn a_request_that_hangs_is_counted_and_said() {
    let mut story = Story::open();
    story.asks(Some(200));
    story.asks(None);
    let verdict = story.verdict();
    assert_eq!(
        (verdict.counts["requests"], verdict.counts["responses"]),
        (2, 1)
    );
    assert!(
        verdict
            .summary
            .ends_with("1 of 2 requests got no response.")
    );
}

#[test]
fn what_was_foreseen_and_not_measured_keeps_its_prediction() {
    let mut story = Story::new();
    story.event(
        Observer::Experiment,
        Fact::Expectation {
            name: "detection".to_owned(),
            predicted_at_us: 7_000,
            predicted_us: Some(5_000),
            because: String::new(),
        },
    );
    let verdict = story.verdict();
    assert_eq!(verdict.measurements[0].predicted_us, Some(5_000));
    assert_eq!(verdict.measurements[0].measured_us, None);
    assert_eq!(verdict.summary, "No connection was made.");
}
