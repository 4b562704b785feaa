//! One packet by itself, as a tree of layers with their fields and the bytes that they stand in.
//!
//! For an inspector that shows what each byte means, and for exports. No history is needed: what a
//! segment carries is recognised where it begins with the beginning of a message, or where the
//! caller knows the protocol. Numbers are those of the headers.

mod application;
mod network;

use std::{borrow::Cow, ops::Range};

use super::{Field, Protocol, Stopped, field::Fields};

/// How deep a packet in a packet is read.
const MAX_DEPTH: usize = 3;

/// One layer of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What it is called, such as `IPv4` or `TLS record`.
    pub name: Cow<'static, str>,
    /// One line on it.
    pub summary: String,
    /// Its bytes, counted from the packet's first; of a layer that carries another, the header.
    pub range: Range<usize>,
    /// Its fields, in the order of their bytes. Ranges count from the packet's first byte.
    pub fields: Vec<Field>,
    /// What lies within it: the packet that an ICMP error quotes, the messages of a TLS record.
    pub inner: Vec<Layer>,
}

/// The layers of a packet that begins with its IP header, outermost first.
///
/// `protocol` is what the connection is known to speak; without it only the beginnings of
/// messages that cannot be mistaken are recognised in a payload.
pub fn layers(bytes: &[u8], protocol: Option<Protocol>) -> Vec<Layer> {
    let mut tree = Vec::new();
    network::packet(bytes, 0, protocol, MAX_DEPTH, &mut tree);
    tree
}

/// The layers of bytes that a stream carried, such as a relayed chunk.
pub fn payload_layers(bytes: &[u8], protocol: Option<Protocol>) -> Vec<Layer> {
    let mut tree = Vec::new();
    application::payload(bytes, 0, protocol, &mut tree);
    for layer in &mut tree {
        layer.clamp(bytes.len());
    }
    tree
}

impl Layer {
    /// A layer whose fields count from its own first byte, which is the packet's byte `at`.
    fn new(
        name: impl Into<Cow<'static, str>>,
        summary: impl Into<String>,
        range: Range<usize>,
        fields: Vec<Field>,
    ) -> Self {
        let at = range.start;
        let shifted = fields.into_iter().map(|mut field| {
            field.range = field.range.start + at..field.range.end + at;
            field
        });
        Self {
            name: name.into(),
            summary: summary.into(),
            range,
            fields: shifted.collect(),
            inner: Vec::new(),
        }
    }

    fn with(mut self, inner: Vec<Self>) -> Self {
        self.inner = inner;
        self
    }

    /// Sees to it that no range reaches past the bytes that are there.
    fn clamp(&mut self, end: usize) {
        let clamp = |range: &Range<usize>| range.start.min(end)..range.end.min(end);
        self.range = clamp(&self.range);
        for field in &mut self.fields {
            field.range = clamp(&field.range);
        }
        for layer in &mut self.inner {
            layer.clamp(end);
        }
    }
}

/// Says in a field where the dissection ended early.
fn note(fields: &mut Fields, stopped: Option<Stopped>) {
    if let Some(stopped) = stopped {
        fields.at("Not all read", stopped, stopped.at, 0);
    }
}

#[cfg(test)]
mod tests;
