//! A script that reads its own run's record: which packet left when, what a middlebox did, without
//! looking at bytes. It costs the packet path nothing, and comes some 10 ms after the fact, with the
//! fact's own time.

use std::time::Duration;

use linger_shared::event::{Event, Fact, HostName, Packet, Role};
use tokio::sync::mpsc;

/// Reads what is recorded, in order, from the moment at which it was made.
pub struct Follower {
    events: mpsc::UnboundedReceiver<Event>,
}

impl Follower {
    pub(super) fn new(events: mpsc::UnboundedReceiver<Event>) -> Self {
        Self { events }
    }

    /// The next event; `None` where none comes within `patience`, or the record has ended.
    pub async fn next(&mut self, patience: Duration) -> Option<Event> {
        tokio::time::timeout(patience, self.events.recv())
            .await
            .ok()?
    }

    /// Reads on until something is found; `None` where that does not happen within `patience`.
    pub async fn find<T>(
        &mut self,
        patience: Duration,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> Option<T> {
        let finding = async {
            loop {
                let event = self.events.recv().await?;
                if let Some(found) = wanted(&event) {
                    return Some(found);
                }
            }
        };
        tokio::time::timeout(patience, finding).await.ok()?
    }

    /// Reads on until a wanted packet leaves; gives it and its time.
    pub async fn departure(
        &mut self,
        patience: Duration,
        wanted: impl Fn(&Packet) -> bool,
    ) -> Option<(u64, Packet)> {
        self.find(patience, |event| match &event.fact {
            Fact::PacketDeparted(packet) if wanted(packet) => Some((event.at_us, packet.clone())),
            _ => None,
        })
        .await
    }
}

/// Whether a packet is a keep-alive probe, and whose.
pub fn prober(packet: &Packet) -> Option<HostName> {
    let role = packet.tcp.as_ref()?.role;
    matches!(role, Role::KeepAliveProbe { .. }).then_some(packet.from)
}
