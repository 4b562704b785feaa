//! A run as a capture: what tcpdump would have seen on every host, on one clock.
//!
//! Each host is an interface. A packet stands on its sender's interface when it departed and on its
//! receiver's when it arrived, there as a middlebox rewrote it; both bear the same
//! `epb_packetid`. A packet that the wire made never was on the interface of the host in whose name
//! it is sent, so it stands on the receiver's alone. Comments tell what a capture cannot: why a
//! packet was dropped, who made it, what applications called and saw, chapters and the verdict.
//! TLS secrets stand in Decryption Secrets Blocks before the packets that need them.
//!
//! Times are the wall clock at the run's start plus the run's own clock, in nanoseconds, as precise
//! as the run's clock: to the microsecond. Packets are in the order of their times; to that end they
//! are held until [`NEAR_US`] later, and a departure until its fate is known, but at most
//! [`MOST_HELD`] of them.

mod block;
mod notes;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    mem,
    net::Ipv4Addr,
};

use linger_shared::event::{Event, Fact, Header, HostName, Mode, Origin, Packet, from_hex};

use self::{
    block::{Block, COMMENT, INTERFACE, PACKET, SECRETS, SECTION},
    notes::{NEAR_US, Notes},
};
use super::{ExportError, Exporter};

/// Raw IPv4 or IPv6 (LINKTYPE_RAW).
const LINKTYPE_RAW: u16 = 101;
/// `TLSK`: an NSS key log.
const TLS_KEY_LOG: u32 = 0x544C_534B;
/// At most this many packets wait for their turn.
const MOST_HELD: usize = 8_192;

/// `epb_flags`: the direction (draft-ietf-opsawg-pcapng, section 4.3.1).
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A capture that is being written.
pub(super) struct Pcapng {
    started_us: u64,
    hosts: Vec<HostName>,
    /// Packets that are not written yet, in the order of their times.
    held: VecDeque<Held>,
    /// Packets on their way, by id.
    flying: HashMap<u64, Flying>,
    /// What became of packets that were dropped and whose departure is still held, by id.
    fates: HashMap<u64, String>,
    notes: Notes,
    /// Key log lines that are not written yet.
    secrets: String,
    /// Hashes of the lines that were taken.
    told: HashSet<u64>,
    latest_us: u64,
}

/// A packet on an interface.
struct Held {
    at_us: u64,
    host: HostName,
    direction: u32,
    id: u64,
    bytes: Vec<u8>,
    comments: Vec<String>,
}

/// A packet on its way.
struct Flying {
    to: HostName,
    departed_us: u64,
    bytes: Vec<u8>,
    origin: Option<Origin>,
    summary: String,
    /// Whether its departure is still held.
    held: bool,
}

impl Pcapng {
    pub(super) fn begin(header: &Header, out: &mut dyn Write) -> Result<Self, ExportError> {
        if header.mode == Mode::Relay {
            return Err(ExportError::NoPackets {
                run: header.run.clone(),
            });
        }
        section(header, out)?;
        for host in &header.hosts {
            interface(header, host, out)?;
        }
        Ok(Self {
            started_us: header.started_unix_ms.saturating_mul(1_000),
            hosts: header.hosts.iter().map(|host| host.name).collect(),
            held: VecDeque::new(),
            flying: HashMap::new(),
            fates: HashMap::new(),
            notes: Notes::default(),
            secrets: String::new(),
            told: HashSet::new(),
            latest_us: 0,
        })
    }

    /// Both sides of a connection tell the same secrets; once is enough.
    fn secret(&mut self, line: &str) {
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        if self.told.insert(hasher.finish()) {
            self.secrets.push_str(line.trim_end());
            self.secrets.push('\n');
        }
    }

    fn departed(&mut self, at_us: u64, packet: &Packet) {
        let bytes = from_hex(&packet.bytes).unwrap_or_default();
        let arriving = packet.rewritten.as_deref().map(from_hex);
        let flying = Flying {
            to: packet.to,
            departed_us: at_us,
            bytes: match arriving {
                Some(rewritten) => rewritten.unwrap_or_default(),
                None => bytes.clone(),
            },
            origin: packet.origin.clone(),
            summary: packet.summary.clone(),
            held: packet.origin.is_none() && self.hosts.contains(&packet.from),
        };
        let held = flying.held;
        self.flying.insert(packet.id, flying);
        if held {
            self.hold(Held {
                at_us,
                host: packet.from,
                direction: OUTBOUND,
                id: packet.id,
                bytes,
                comments: Vec::new(),
            });
        }
    }

    fn arrived(&mut self, at_us: u64, id: u64) {
        let Some(flying) = self.flying.remove(&id) else {
            return;
        };
        let comments = flying.origin.as_ref().map(made).into_iter().collect();
        self.hold(Held {
            at_us,
            host: flying.to,
            direction: INBOUND,
            id,
            bytes: flying.bytes,
            comments,
        });
    }

    fn dropped(&mut self, at_us: u64, id: u64, rule: &str, reason: &str, place: f64) {
        let Some(flying) = self.flying.remove(&id) else {
            return;
        };
        let fate = format!(
            "dropped on the wire: {reason} (rule `{rule}`), {:.0} % of the way, {} us after it left",
            place * 100.0,
            at_us.saturating_sub(flying.departed_us)
        );
        if flying.held {
            self.fates.insert(id, fate);
        } else {
            // Nobody's interface has seen it, or it was written already.
            let text = format!("packet {id} ({}) to {}: {fate}", flying.summary, flying.to);
            self.notes.insert(at_us, None, text);
        }
    }

    fn hold(&mut self, packet: Held) {
        if !self.hosts.contains(&packet.host) {
            return;
        }
        let at = self.held.partition_point(|held| held.at_us <= packet.at_us);
        self.held.insert(at, packet);
    }

    /// Writes what is complete. The last packet is kept: what is said after it is said beside it.
    fn release(&mut self, out: &mut dyn Write) -> io::Result<()> {
        while let Some(first) = self.held.front() {
            let old = first.at_us.saturating_add(NEAR_US) <= self.latest_us;
            let settled = first.direction == INBOUND || !self.flying.contains_key(&first.id);
            let complete = settled && old && self.held.len() > 1;
            if !(complete || self.held.len() > MOST_HELD) {
                break;
            }
            self.write_first(out)?;
        }
        Ok(())
    }

    fn write_first(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let Some(mut packet) = self.held.pop_front() else {
            return Ok(());
        };
        if packet.direction == OUTBOUND {
            packet.comments.extend(self.fates.remove(&packet.id));
            if let Some(flying) = self.flying.get_mut(&packet.id) {
                flying.held = false;
            }
        }
        let next = self.held.iter().find(|held| held.host == packet.host);
        let next_us = next.map(|held| held.at_us);
        let notes = self.notes.beside(packet.host, packet.at_us, next_us);
        packet.comments.extend(notes);
        if self.held.is_empty() {
            packet.comments.extend(self.notes.rest());
        }
        self.write_secrets(out)?;
        self.write_packet(&packet, out)
    }

    fn write_secrets(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.secrets.is_empty() {
            return Ok(());
        }
        let lines = mem::take(&mut self.secrets);
        let length = u32::try_from(lines.len()).map_err(io::Error::other)?;
        Block::new(SECRETS)
            .u32(TLS_KEY_LOG)
            .u32(length)
            .padded(lines.as_bytes())
            .write(out)
    }

    fn write_packet(&self, packet: &Held, out: &mut dyn Write) -> io::Result<()> {
        let interface = self.hosts.iter().position(|host| *host == packet.host);
        let interface = u32::try_from(interface.unwrap_or(0)).map_err(io::Error::other)?;
        let nanoseconds = self
            .started_us
            .saturating_add(packet.at_us)
            .saturating_mul(1_000);
        let length = u32::try_from(packet.bytes.len()).map_err(io::Error::other)?;
        let mut block = Block::new(PACKET);
        block
            .u32(interface)
            .u32((nanoseconds >> 32) as u32)
            .u32(nanoseconds as u32)
            .u32(length)
            .u32(length)
            .padded(&packet.bytes);
        for comment in &packet.comments {
            block.text(COMMENT, comment);
        }
        block.option(2, &packet.direction.to_le_bytes());
        block.option(5, &packet.id.to_le_bytes());
        block.write(out)
    }
}

impl Exporter for Pcapng {
    fn event(&mut self, event: &Event, _: &str, out: &mut dyn Write) -> Result<(), ExportError> {
        self.latest_us = self.latest_us.max(event.at_us);
        match &event.fact {
            Fact::PacketDeparted(packet) => self.departed(event.at_us, packet),
            Fact::PacketArrived { id } => self.arrived(event.at_us, *id),
            Fact::PacketDropped {
                id,
                rule,
                reason,
                place,
            } => self.dropped(event.at_us, *id, rule, reason, *place),
            Fact::Secret { line } => self.secret(line),
            _ => self.notes.take(event),
        }
        Ok(self.release(out)?)
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        while !self.held.is_empty() {
            self.write_first(out)?;
        }
        Ok(self.write_secrets(out)?)
    }
}

fn made(origin: &Origin) -> String {
    let because = origin
        .because_of
        .map_or_else(String::new, |id| format!(" because of packet {id}"));
    format!(
        "made by the wire, sent by no host: rule `{}`{because}, {:.0} % of the way from the host \
         in whose name it is sent",
        origin.rule,
        origin.place * 100.0
    )
}

/// What was run, and on what.
fn section(header: &Header, out: &mut dyn Write) -> io::Result<()> {
    let params: Vec<String> = header
        .params
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let links: Vec<String> = header.links.iter().map(link).collect();
    let comment = format!(
        "{}: {}\nparameters: {}\nrun {}, seed {}\nlinks: {}\nTimes are the run's own clock, set to \
         the wall clock at its start. A packet stands on its sender's interface when it left and on \
         its receiver's when it arrived; epb_packetid joins the two.",
        header.experiment,
        header.title,
        params.join(" "),
        header.run,
        header.seed,
        links.join("; "),
    );
    let version = header.versions.get("linger").map_or("", String::as_str);
    Block::new(SECTION)
        .u32(0x1A2B_3C4D)
        .u16(1)
        .u16(0)
        // The section's length is not known beforehand.
        .u64(u64::MAX)
        .text(COMMENT, &comment)
        .text(3, &format!("Linux {}", header.kernel))
        .text(4, format!("linger {version}").trim_end())
        .write(out)
}

fn link(link: &linger_shared::link::LinkInfo) -> String {
    let conditions = serde_json::to_string(&link.conditions).unwrap_or_default();
    format!("{} to {} {conditions}", link.from, link.to)
}

fn interface(
    header: &Header,
    host: &linger_shared::event::HostInfo,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut block = Block::new(INTERFACE);
    // No limit to a packet's length.
    block.u16(LINKTYPE_RAW).u16(0).u32(0);
    let sysctls: Vec<String> = host
        .sysctls
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if !sysctls.is_empty() {
        block.text(COMMENT, &format!("sysctls: {}", sysctls.join(" ")));
    }
    block.text(2, host.name.as_str());
    block.text(
        3,
        &format!("the {} of run {}, {}", host.name, header.run, host.address),
    );
    if let Ok(address) = host.address.parse::<Ipv4Addr>() {
        // Hosts have addresses of the documentation ranges, each of which is a /24 (RFC 5737).
        let mask = Ipv4Addr::new(255, 255, 255, 0);
        block.option(4, &[address.octets(), mask.octets()].concat());
    }
    // Times count in 10^-9 s.
    block.option(9, &[9]);
    block.text(12, &format!("Linux {}", header.kernel));
    block.write(out)
}

#[cfg(test)]
mod tests;
