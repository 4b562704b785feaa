//! What opening, using and closing a connection costs in one-way delays.

/// Until `connect()` returns: SYN there, SYN-ACK back (RFC 9293, section 3.5), in microseconds.
pub const fn connect_us(there_us: u64, back_us: u64) -> u64 {
    there_us + back_us
}

/// What a new connection costs over a relay, in microseconds: its kernel answers `connect()` at
/// once, but what is sent then waits until the relay has carried the connection on.
pub const fn relayed_connect_us(there_us: u64) -> u64 {
    there_us
}

/// Until a request's response is there on an open connection, in microseconds.
pub const fn exchange_us(there_us: u64, back_us: u64, service_us: u64) -> u64 {
    there_us + service_us + back_us
}

/// Until `requests` exchanges in sequence are done, with a pause between them, in microseconds.
///
/// A connection that is kept pays `connect_us` once; otherwise each request pays it.
pub const fn sequential_us(
    requests: u64,
    persistent: bool,
    connect_us: u64,
    exchange_us: u64,
    pause_us: u64,
) -> u64 {
    let connections = if persistent { 1 } else { requests };
    connections * connect_us + requests * exchange_us + requests.saturating_sub(1) * pause_us
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persistence_saves_a_round_trip_for_each_further_request() {
        let connect = connect_us(20_000, 20_000);
        let exchange = exchange_us(20_000, 20_000, 0);
        let kept = sequential_us(10, true, connect, exchange, 0);
        let anew = sequential_us(10, false, connect, exchange, 0);
        assert_eq!(anew - kept, 9 * 40_000);
    }
}
