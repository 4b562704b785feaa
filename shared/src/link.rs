//! What a link does to packets, one direction at a time.

use serde::{Deserialize, Serialize};

use crate::event::HostName;

/// Ethernet's largest packet, in bytes.
pub const MTU: u32 = 1_500;

/// The smallest MTU that an IPv4 link may have (RFC 791, section 3.2), in bytes.
pub const LEAST_MTU: u32 = 68;

/// What one direction of a link is like. The default delivers everything at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Conditions {
    /// How long a packet is on its way, in microseconds.
    pub delay_us: u64,
    /// How much longer or shorter it may take, in microseconds, evenly spread; no packet overtakes
    /// another because of it, and none takes less than no time.
    pub jitter_us: u64,
    /// Bits per second that the link carries, IP headers included; null for no limit.
    pub rate_bps: Option<u64>,
    /// Bytes that may wait for their turn where there is a rate; what comes on top is dropped.
    pub queue_bytes: u64,
    /// The share of packets that disappear, from 0 to 1.
    pub loss: f64,
    /// The share of packets that arrive twice, from 0 to 1.
    pub duplicate: f64,
    /// The share of packets that later ones overtake, from 0 to 1.
    pub reorder: f64,
    /// The largest packet that is carried, in bytes, from [`LEAST_MTU`].
    pub mtu: u32,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            delay_us: 0,
            jitter_us: 0,
            rate_bps: None,
            queue_bytes: 256 * 1024,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            mtu: MTU,
        }
    }
}

impl Conditions {
    /// A link that delays, and does nothing else.
    pub fn delay(delay_us: u64) -> Self {
        Self {
            delay_us,
            ..Self::default()
        }
    }
}

/// One direction of a run's link, as the header tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkInfo {
    /// Who sends.
    pub from: HostName,
    /// Who receives.
    pub to: HostName,
    /// What happens in between.
    pub conditions: Conditions,
}
