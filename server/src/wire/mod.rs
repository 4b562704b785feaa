//! What joins the hosts.
//!
//! With packets, a hub thread reads every IP packet from the hosts' TUN devices, stamps it, asks
//! the [`Rules`], waits out the delay and hands it to the other host. Without, a relay carries byte
//! streams between loopback sockets under the same rules.

pub mod craft;
#[cfg(linger_packets)]
mod hub;
mod middlebox;
mod relay;
mod rules;

#[cfg(linger_packets)]
pub use self::hub::{Joining, LinkEnder, LinkError, PacketLink, Port};
pub use self::{
    relay::{Relay, Way},
    rules::{Answer, ArmError, Armed, Cut, Fate, Judgement, Passing, Rewritten, Rules},
};
