//! The arithmetic behind the predictions, from the same parameters that the sockets get.

pub mod asking;
pub mod closing;
pub mod cwnd;
pub mod expiry;
pub mod handshake;
pub mod keepalive;
pub mod nagle;
pub mod refusal;
pub mod retransmission;
pub mod reuse;
pub mod syn;
pub mod time_wait;
pub mod wheel;
