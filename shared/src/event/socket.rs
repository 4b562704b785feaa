//! What a kernel says of its sockets.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The states of RFC 9293, section 3.3.2, and Linux's NEW_SYN_RECV shown as SYN_RECV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TcpState {
    /// Waits for connections.
    Listen,
    /// Sent a SYN.
    SynSent,
    /// Received a SYN and answered it.
    SynRecv,
    /// Open.
    Established,
    /// Closed here first; FIN not yet acknowledged.
    FinWait1,
    /// Closed here first; FIN acknowledged, the peer's not yet seen.
    FinWait2,
    /// The peer closed; the application here has not.
    CloseWait,
    /// Both closed; FINs crossed.
    Closing,
    /// Closed after the peer; waits for the last ACK.
    LastAck,
    /// Closed first; waits out old duplicates.
    TimeWait,
    /// Gone.
    Closed,
}

impl TcpState {
    /// The name as `ss` and `netstat` users know it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::CloseWait => "CLOSE_WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Closed => "CLOSED",
        }
    }
}

/// Which of a socket's timers is pending (`idiag_timer`, Linux net/ipv4/inet_diag.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TimerKind {
    /// RTO, tail loss probe or early retransmit.
    Retransmission,
    /// Keep-alive; in FIN_WAIT2 the orphan's time limit.
    KeepAlive,
    /// TIME_WAIT, or FIN_WAIT2 of an orphan.
    TimeWait,
    /// Zero-window probe.
    WindowProbe,
}

/// A pending timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Timer {
    /// Which one.
    pub timer: TimerKind,
    /// Time left when the snapshot was taken, in microseconds (the kernel tells milliseconds).
    pub left_us: u64,
}

/// A socket as its kernel describes it (`sock_diag(7)`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SocketSnapshot {
    /// Its own address and port.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub local: SocketAddr,
    /// Its peer's; port 0 on a listener.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub remote: SocketAddr,
    /// Its state.
    pub state: TcpState,
    /// The pending timer, if there is one.
    pub timer: Option<Timer>,
    /// Unanswered retransmissions or probes so far.
    pub retries: u8,
    /// Bytes not yet read by the application; on a listener, connections not yet accepted.
    pub recv_queue: u32,
    /// Bytes not yet acknowledged by the peer; on a listener, the limit of the queue.
    pub send_queue: u32,
    /// Whether an application still holds it: an orphan has none.
    pub orphan: bool,
    /// Congestion window in segments; absent where there is none (TIME_WAIT).
    pub cwnd: Option<u32>,
    /// Slow start threshold in segments; absent while it is infinite.
    pub ssthresh: Option<u32>,
    /// Smoothed round trip time in microseconds.
    pub rtt_us: Option<u32>,
    /// Retransmission time-out in microseconds.
    pub rto_us: Option<u32>,
    /// How many times the RTO was doubled.
    pub backoff: Option<u8>,
    /// The smallest round trip time seen lately, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_rtt_us: Option<u32>,
    /// Bytes that the peer has acknowledged since the beginning; the kernel of the side that connected
    /// counts its SYN as one, and each side its FIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_acked: Option<u64>,
    /// Bytes that were received in order since the beginning; the peer's FIN counts as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_received: Option<u64>,
    /// Segments that were retransmitted since the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retransmitted: Option<u32>,
}
