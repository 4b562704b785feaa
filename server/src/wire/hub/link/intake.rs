//! Where packets are read into.

use std::io;

use bytes::{Bytes, BytesMut};

use crate::hosts::Tun;

/// The largest packet there is (RFC 791, section 3.1).
const MOST: usize = 1 << 16;

/// How many bytes of packets are allocated at once. Packets are made here and dropped by other
/// threads: one by one, the allocator would have both wait for each other at every packet. The
/// piece is gone when the last packet in it is.
const PIECE: usize = 1 << 14;

/// Reads packets from devices; everything that is done to a packet afterwards shares its bytes.
pub(in super::super) struct Intake {
    buffer: Box<[u8]>,
    /// The rest of the piece that packets are copied to.
    room: BytesMut,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            buffer: vec![0; MOST].into_boxed_slice(),
            room: BytesMut::new(),
        }
    }
}

impl Intake {
    /// Reads one packet; `WouldBlock` where none waits.
    ///
    /// # Errors
    /// What `read(2)` returned.
    pub(super) fn receive(&mut self, tun: &Tun) -> io::Result<Bytes> {
        let length = tun.receive(&mut self.buffer)?;
        if self.room.capacity() < length {
            self.room = BytesMut::with_capacity(PIECE.max(length));
        }
        self.room.extend_from_slice(&self.buffer[..length]);
        Ok(self.room.split().freeze())
    }
}
