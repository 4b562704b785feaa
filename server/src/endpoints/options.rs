//! Socket options, as scripts ask for them and as the record tells them: `setsockopt()` calls.

use std::{io, time::Duration};

use linger_shared::{event::Call, units::format_duration};
use socket2::{SockRef, TcpKeepalive};

use super::errno_name;
use crate::lab::{LabError, Listener, Stack};

/// Keep-alive as a socket is given it (tcp(7): TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence before the first probe, in microseconds; the kernel takes whole seconds.
    pub idle_us: u64,
    /// Time between probes, in microseconds; the kernel takes whole seconds.
    pub interval_us: u64,
    /// Probes that may stay unanswered.
    pub count: u32,
}

/// What a socket is told (socket(7), tcp(7)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketOption {
    /// SO_KEEPALIVE on, with its three times.
    KeepAlive(KeepAlive),
    /// SO_KEEPALIVE off.
    NoKeepAlive,
    /// SO_KEEPALIVE on, and nothing else: its times are the host's sysctls.
    KeepAliveAlone,
    /// TCP_KEEPIDLE alone, in microseconds (the kernel takes whole seconds).
    KeepIdle(u64),
    /// TCP_KEEPINTVL alone, in microseconds (the kernel takes whole seconds).
    KeepInterval(u64),
    /// TCP_KEEPCNT alone.
    KeepCount(u32),
    /// TCP_NODELAY: whether small segments go at once.
    NoDelay(bool),
    /// TCP_USER_TIMEOUT in microseconds (the kernel takes milliseconds): how long data may stay
    /// unacknowledged (RFC 5482).
    UserTimeout(u64),
    /// SO_RCVBUF in bytes; the kernel doubles it.
    ReceiveBuffer(u32),
    /// SO_SNDBUF in bytes; the kernel doubles it.
    SendBuffer(u32),
    /// SO_LINGER in seconds: with 0, `close()` sends an RST and forgets what is queued.
    Linger(Option<u32>),
    /// TCP_CONGESTION: the name of a congestion control.
    Congestion(String),
}

impl SocketOption {
    /// The option and its value, as the record tells them.
    fn words(&self) -> String {
        let on = |on| if on { "on" } else { "off" };
        match self {
            Self::KeepAlive(keepalive) => format!(
                "SO_KEEPALIVE, {} idle, {} interval, {} probes",
                format_duration(keepalive.idle_us),
                format_duration(keepalive.interval_us),
                keepalive.count
            ),
            Self::NoKeepAlive => "SO_KEEPALIVE, off".to_owned(),
            Self::KeepAliveAlone => "SO_KEEPALIVE, on".to_owned(),
            Self::KeepIdle(us) => format!("TCP_KEEPIDLE, {}", format_duration(*us)),
            Self::KeepInterval(us) => format!("TCP_KEEPINTVL, {}", format_duration(*us)),
            Self::KeepCount(probes) => format!("TCP_KEEPCNT, {probes}"),
            Self::NoDelay(value) => format!("TCP_NODELAY, {}", on(*value)),
            Self::UserTimeout(us) => format!("TCP_USER_TIMEOUT, {}", format_duration(*us)),
            Self::ReceiveBuffer(bytes) => format!("SO_RCVBUF, {bytes}"),
            Self::SendBuffer(bytes) => format!("SO_SNDBUF, {bytes}"),
            Self::Linger(None) => "SO_LINGER, off".to_owned(),
            Self::Linger(Some(seconds)) => format!("SO_LINGER, {seconds} s"),
            Self::Congestion(name) => format!("TCP_CONGESTION, {name}"),
        }
    }

    fn set(&self, socket: &SockRef<'_>) -> io::Result<()> {
        match self {
            Self::KeepAlive(keepalive) => socket.set_tcp_keepalive(
                &TcpKeepalive::new()
                    .with_time(Duration::from_micros(keepalive.idle_us))
                    .with_interval(Duration::from_micros(keepalive.interval_us))
                    .with_retries(keepalive.count),
            ),
            Self::NoKeepAlive => socket.set_keepalive(false),
            Self::KeepAliveAlone => socket.set_keepalive(true),
            Self::KeepIdle(_) | Self::KeepInterval(_) | Self::KeepCount(_) => {
                self.set_singly(socket)
            }
            Self::NoDelay(value) => socket.set_tcp_nodelay(*value),
            Self::ReceiveBuffer(bytes) => socket.set_recv_buffer_size(*bytes as usize),
            Self::SendBuffer(bytes) => socket.set_send_buffer_size(*bytes as usize),
            Self::Linger(seconds) => {
                socket.set_linger(seconds.map(|seconds| Duration::from_secs(seconds.into())))
            }
            #[cfg(target_os = "linux")]
            Self::UserTimeout(us) => socket.set_tcp_user_timeout(Some(Duration::from_micros(*us))),
            #[cfg(target_os = "linux")]
            Self::Congestion(name) => socket.set_tcp_congestion(name.as_bytes()),
            #[cfg(not(target_os = "linux"))]
            Self::UserTimeout(_) | Self::Congestion(_) => {
                Err(io::Error::other("only Linux has this option"))
            }
        }
    }

    /// Sets one of keep-alive's times and not the switch, which socket2 does not do.
    #[cfg(linger_packets)]
    fn set_singly(&self, socket: &SockRef<'_>) -> io::Result<()> {
        use nix::sys::socket::{setsockopt, sockopt};

        let seconds = |us: u64| u32::try_from(us.div_ceil(1_000_000)).unwrap_or(u32::MAX);
        let set = match self {
            Self::KeepIdle(us) => setsockopt(&**socket, sockopt::TcpKeepIdle, &seconds(*us)),
            Self::KeepInterval(us) => {
                setsockopt(&**socket, sockopt::TcpKeepInterval, &seconds(*us))
            }
            Self::KeepCount(probes) => setsockopt(&**socket, sockopt::TcpKeepCount, probes),
            _ => Ok(()),
        };
        Ok(set?)
    }

    #[cfg(not(linger_packets))]
    fn set_singly(&self, _: &SockRef<'_>) -> io::Result<()> {
        Err(io::Error::other("this build does not set it by itself"))
    }
}

impl Listener {
    /// Tells the listening socket an option; what it accepts from then on inherits most of them.
    ///
    /// # Errors
    /// [`LabError::Application`] names what `setsockopt(2)` returned.
    pub fn set(&self, option: &SocketOption) -> Result<(), LabError> {
        let about = Call {
            local: Some(self.address()),
            ..Call::default()
        };
        set_recorded(&self.stack, &SockRef::from(&self.socket), option, about)
    }
}

/// Tells a socket an option, and records the call with what `socket` says of its addresses.
///
/// # Errors
/// [`LabError::Application`] names what `setsockopt(2)` returned.
pub(super) fn set_recorded(
    stack: &Stack,
    socket: &SockRef<'_>,
    option: &SocketOption,
    about: Call,
) -> Result<(), LabError> {
    let journal = stack.journal();
    let began_us = journal.now_us();
    let set = option.set(socket);
    let errno = set.as_ref().err().map(errno_name);
    journal.called(
        stack.name(),
        Call {
            call: "setsockopt".to_owned(),
            args: option.words(),
            result: errno.clone().unwrap_or_else(|| "ok".to_owned()),
            errno,
            began_us: Some(began_us),
            ..about
        },
    );
    set.map_err(|error| LabError::Application {
        host: stack.name(),
        call: "setsockopt()",
        errno: errno_name(&error),
    })
}
