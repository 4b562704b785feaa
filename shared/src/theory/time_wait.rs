//! How long a local port is taken after its connection: TIME_WAIT (RFC 9293, section 3.6.1) and its
//! reuse (RFC 6191), as Linux has them.

/// TIME_WAIT in microseconds: a constant of Linux (`TCP_TIMEWAIT_LEN` in include/net/tcp.h), which no
/// sysctl changes.
pub const LENGTH_US: u64 = 60_000_000;

/// What decides when a new connection to the same destination may have a port in TIME_WAIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// Whether `tcp_tw_reuse` allows it towards this destination.
    pub allowed: bool,
    /// Whether the old connection had timestamps (RFC 7323): they tell old segments from new ones.
    pub timestamps: bool,
    /// `tcp_tw_reuse_delay` in microseconds.
    pub delay_us: u64,
}

/// How long after TIME_WAIT began `connect()` may choose the port again for the same destination, in
/// microseconds (`tcp_twsk_unique` in net/ipv4/tcp_ipv4.c).
pub const fn held_us(reuse: Reuse) -> u64 {
    if reuse.allowed && reuse.timestamps && reuse.delay_us < LENGTH_US {
        reuse.delay_us
    } else {
        LENGTH_US
    }
}

/// Connections a minute that a client can open and close first to one destination, for ever.
pub const fn sustained_per_minute(ports: u64, held_us: u64) -> u64 {
    match (ports * 60_000_000).checked_div(held_us) {
        Some(rate) => rate,
        None => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Reuse = Reuse {
        allowed: true,
        timestamps: true,
        delay_us: 1_000_000,
    };

    #[test]
    fn reuse_needs_leave_and_timestamps() {
        assert_eq!(held_us(ALLOWED), 1_000_000);
        let without = [
            Reuse {
                allowed: false,
                ..ALLOWED
            },
            Reuse {
                timestamps: false,
                ..ALLOWED
            },
        ];
        assert_eq!(without.map(held_us), [LENGTH_US; 2]);
    }

    #[test]
    fn linuxs_own_range_gives_470_connections_a_second() {
        let ports = 60_999 - 32_768 + 1;
        assert_eq!(sustained_per_minute(ports, LENGTH_US) / 60, 470);
        assert_eq!(sustained_per_minute(ports, 0), u64::MAX);
    }
}
