//! What opening, using and closing a connection costs in one-way delays.

/// Until `connect()` returns: SYN there, SYN-ACK back (RFC 9293, section 3.5), in microseconds.
pub const fn connect_us(there_us: u64, back_us: u64) -> u64 {
    there_us + back_us
}

/// Until a request's response is there on an open connection, in microseconds.
pub const fn exchange_us(there_us: u64, back_us: u64, service_us: u64) -> u64 {
    there_us + service_us + back_us
}

/// Until `requests` exchanges in sequence are done, with a pause between them, in microseconds.
///
/// A connection that is kept pays its handshake once; otherwise each request pays one.
pub const fn sequential_us(
    requests: u64,
    persistent: bool,
    there_us: u64,
    back_us: u64,
    service_us: u64,
    pause_us: u64,
) -> u64 {
    let handshakes = if persistent { 1 } else { requests };
    handshakes * connect_us(there_us, back_us)
        + requests * exchange_us(there_us, back_us, service_us)
        + requests.saturating_sub(1) * pause_us
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persistence_saves_a_round_trip_for_each_further_request() {
        let kept = sequential_us(10, true, 20_000, 20_000, 0, 0);
        let anew = sequential_us(10, false, 20_000, 20_000, 0, 0);
        assert_eq!(anew - kept, 9 * 40_000);
    }
}
