//! What a host's kernel is set to, and what it tells of its sockets.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use linger::{
    endpoints::Connection,
    lab::{LabError, Plan},
};
use linger_shared::event::{Fact, HostName, Mode, Observer, SocketSnapshot, TcpState, TimerKind};
use socket2::SockRef;

use crate::observed::{Observed, assert_sound, observe_own};

const SECOND: u64 = 1_000_000;

/// What a host's kernel told of its connections, in order.
fn snapshots(run: &Observed, host: HostName) -> Vec<&SocketSnapshot> {
    let told = run.events.iter().filter_map(|event| match &event.fact {
        Fact::Socket(socket) if event.seen_by == Observer::Kernel(host) => Some(&**socket),
        _ => None,
    });
    told.filter(|socket| socket.state != TcpState::Listen)
        .collect()
}

#[tokio::test]
async fn a_host_has_sysctls_of_its_own_and_the_header_records_them() {
    let mut plan = Plan::symmetric(1_000, 10 * SECOND);
    let pin = |value: &str| BTreeMap::from([("tcp_syn_retries".to_owned(), value.to_owned())]);
    plan.sysctls = pin("5");
    plan.host_sysctls = BTreeMap::from([(HostName::Client, pin("1"))]);
    let run = observe_own(Mode::Packets, plan, |lab| {
        Box::pin(async move {
            let listener = lab.server().listen(7654).await?;
            let cut = lab.cut(&[HostName::Client]);
            let client = lab.client();
            let dialled = Connection::open(&client, listener.address(), None).await?;
            let error = dialled.err().expect("nobody hears it");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            drop(cut);
            Ok(())
        })
    })
    .await;
    assert_sound(&run);
    // The first SYN and one retransmission; since Linux 6.5 up to tcp_syn_linear_timeouts (4) more.
    // With the 5 retransmissions of the server the script would outlast its plan.
    let packets = run.packets();
    let syns = packets.iter().filter(|packet| *packet == "client SYN");
    assert!((2..=6).contains(&syns.count()), "{packets:?}");
    let pinned: Vec<&str> = run
        .header
        .hosts
        .iter()
        .map(|host| host.sysctls["tcp_syn_retries"].as_str())
        .collect();
    assert_eq!(pinned, ["1", "5"]);
}

#[tokio::test]
async fn a_socket_has_the_plans_congestion_control_or_one_of_its_own() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let sockets = Arc::clone(&seen);
    let mut plan = Plan::symmetric(1_000, 5 * SECOND);
    plan.congestion = "reno";
    let run = observe_own(Mode::Packets, plan, move |lab| {
        let sockets = Arc::clone(&sockets);
        Box::pin(async move {
            let client = lab.client();
            for wanted in [None, Some("cubic")] {
                let socket = client.socket_with(wanted).await?;
                let name = SockRef::from(&socket)
                    .tcp_congestion()
                    .map_err(|source| LabError::io("ask for the congestion control", source))?;
                let name = String::from_utf8_lossy(&name);
                let name = name.trim_end_matches('\0').to_owned();
                sockets.lock().expect("nobody panicked").push(name);
            }
            let refused = client.socket_with(Some("nosuch")).await;
            let said = refused
                .err()
                .expect("there is no such algorithm")
                .to_string();
            assert!(said.contains("congestion control nosuch"), "{said}");
            Ok(())
        })
    })
    .await;
    assert_sound(&run);
    assert_eq!(*seen.lock().expect("nobody panicked"), ["reno", "cubic"]);
    for host in &run.header.hosts {
        assert_eq!(host.sysctls["TCP_CONGESTION"], "reno");
    }
}

#[tokio::test]
async fn a_kernel_tells_everything_of_a_socket_whose_data_is_lost() {
    const DELAY_US: u64 = 20_000;
    let run = observe_own(
        Mode::Packets,
        Plan::symmetric(DELAY_US, 10 * SECOND),
        |lab| {
            Box::pin(async move {
                let listener = lab.server().listen(7654).await?;
                let (mut client, mut server, _) =
                    Connection::pair(&lab.client(), &listener, None).await?;
                client.write(b"0123456789").await?;
                server.read_exactly(10).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
                let cut = lab.cut(&[HostName::Client]);
                client.write(b"lost").await?;
                // Retransmissions after about 0.2 s, 0.6 s and 1.4 s.
                tokio::time::sleep(Duration::from_secs(2)).await;
                drop(cut);
                server.read_exactly(4).await?;
                // The server leaves its end open: CLOSE_WAIT.
                client.close();
                tokio::time::sleep(Duration::from_millis(300)).await;
                server.close();
                lab.until_closed(Duration::from_secs(2)).await;
                Ok(())
            })
        },
    )
    .await;
    assert_sound(&run);
    let client = snapshots(&run, HostName::Client);
    let acked = client
        .iter()
        .find(|socket| socket.bytes_acked >= Some(10) && socket.send_queue == 0)
        .expect("the first bytes are acknowledged");
    // A round trip is never shorter than the link; it may be longer, for the machine is shared.
    assert!(acked.min_rtt_us >= Some(2 * DELAY_US as u32), "{acked:?}");
    assert!(acked.rtt_us >= acked.min_rtt_us, "{acked:?}");
    assert_eq!((acked.cwnd, acked.ssthresh), (Some(10), None));
    let lost: Vec<_> = client
        .iter()
        .filter(|socket| socket.send_queue == 4 && socket.retries > 0)
        .collect();
    for retries in 1..=3 {
        let socket = lost
            .iter()
            .find(|socket| socket.retries == retries)
            .unwrap_or_else(|| panic!("retransmission {retries} is seen: {lost:?}"));
        let timer = socket.timer.expect("another is booked");
        assert_eq!(timer.timer, TimerKind::Retransmission);
        assert_eq!(socket.backoff, Some(retries), "{socket:?}");
        // The congestion window is one segment after a time-out (RFC 5681, section 3.1).
        assert_eq!(socket.cwnd, Some(1), "{socket:?}");
        assert!(socket.ssthresh.is_some() && socket.retransmitted >= Some(u32::from(retries)));
        // Each doubles (RFC 6298, section 5.5) what was at least Linux's 200 ms.
        assert!(socket.rto_us >= Some(200_000 << retries), "{socket:?}");
        assert!(timer.left_us <= u64::from(socket.rto_us.unwrap_or(0)) + 20_000);
    }
    let states = |host: HostName| -> Vec<TcpState> {
        let mut states: Vec<_> = snapshots(&run, host).iter().map(|s| s.state).collect();
        states.dedup();
        states
    };
    use TcpState::{CloseWait, Established, FinWait2, TimeWait};
    for state in [Established, FinWait2, TimeWait] {
        assert!(states(HostName::Client).contains(&state), "{state:?}");
    }
    assert!(states(HostName::Server).contains(&CloseWait));
    let waiting = client.iter().find(|socket| socket.state == TimeWait);
    let timer = waiting.and_then(|socket| socket.timer).expect("2 MSL");
    assert_eq!(timer.timer, TimerKind::TimeWait);
    // TCP_TIMEWAIT_LEN, include/net/tcp.h.
    assert!((50 * SECOND..=60 * SECOND).contains(&timer.left_us));
}
