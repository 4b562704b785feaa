//! A run as plain lines, one for each event that a reader of a diagram would look for.

use linger_shared::{
    event::{Event, Fact, Header},
    units::human,
};

pub(super) struct TextDiagram {
    opening: Option<String>,
}

impl TextDiagram {
    pub(super) fn new(header: &Header, _columns: usize) -> Self {
        Self {
            opening: Some(format!("{} ({})", header.title, header.mode.as_str())),
        }
    }

    pub(super) fn push(&mut self, event: &Event) -> Vec<String> {
        let mut lines: Vec<String> = self.opening.take().into_iter().collect();
        let what = match &event.fact {
            Fact::PacketDeparted(packet) => format!("{} -> {}", packet.summary, packet.to),
            Fact::ChunkDeparted(chunk) => format!("{} -> {}", chunk.summary, chunk.to),
            Fact::Call(call) => format!("{}({}) {}", call.call, call.args, call.result),
            Fact::Chapter { title } => title.clone(),
            Fact::Verdict(verdict) => verdict.summary.clone(),
            _ => return lines,
        };
        lines.push(format!("{:>10}  {}  {what}", human(event.at_us), event.seen_by));
        lines
    }

    pub(super) fn finish(&mut self) -> Vec<String> {
        Vec::new()
    }
}
