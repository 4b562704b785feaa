//! What predictions about a host's timers start from: its sysctls, its kernel's tick, and what the
//! kernel says of a connection.

use std::time::Duration;

use linger_shared::{
    event::{HostName, SocketSnapshot, TcpState},
    theory::retransmission::{RTO_MAX_US, RTO_MIN_US, Sender},
};

use super::{Lab, LabError};
use crate::hosts;

/// How long a kernel may take to tell that everything sent is acknowledged, beyond round trips.
const PATIENCE: Duration = Duration::from_secs(5);

impl Lab {
    /// The tick of the kernels' timers, in microseconds.
    pub fn tick_us(&self) -> u64 {
        hosts::tick_us()
    }

    /// Waits until all that a host has sent on its one open connection is acknowledged, and gives
    /// what its next retransmissions follow from.
    ///
    /// # Errors
    /// [`LabError::Unmet`] where the kernel does not tell of such a connection soon.
    pub async fn sender_at_rest(&self, host: HostName) -> Result<Sender, LabError> {
        let rests = |socket: &SocketSnapshot| {
            socket.state == TcpState::Established
                && socket.send_queue == 0
                && socket.rto_us.is_some()
        };
        self.connections_until(host, PATIENCE, |sockets| {
            sockets.len() == 1 && sockets.iter().all(rests)
        })
        .await;
        let sockets = self.connections(host);
        let socket = sockets.iter().find(|socket| rests(socket)).ok_or_else(|| {
            LabError::Unmet(format!(
                "the {host}'s kernel tells of no connection on which all is acknowledged"
            ))
        })?;
        let sysctl = |name| self.sysctl(host, name);
        let probes = |how: u64| how == 3 || how == 4;
        Ok(Sender {
            rto_us: socket.rto_us.unwrap_or_default().into(),
            srtt_us: socket.rtt_us.unwrap_or_default().into(),
            rto_min_us: sysctl("tcp_rto_min_us").unwrap_or(RTO_MIN_US),
            rto_max_us: sysctl("tcp_rto_max_ms").map_or(RTO_MAX_US, |ms| ms * 1_000),
            tick_us: self.tick_us(),
            retries: sysctl("tcp_retries2")
                .and_then(|retries| u32::try_from(retries).ok())
                .unwrap_or(15),
            user_timeout_us: 0,
            loss_probe: sysctl("tcp_early_retrans").is_none_or(probes)
                && sysctl("tcp_sack") != Some(0),
        })
    }
}
