//! Packets of the wire's own, given the address that each side of a NAT knows.

use super::{Middlebox, connection::Side};
use crate::wire::{
    craft::{Readdress, ends, readdress},
    rules::Answer,
};

impl Middlebox {
    /// Gives an answer the form that its receiver knows, and the one that the inside knows.
    pub(in crate::wire) fn dress(&self, answer: &mut Answer) {
        let Some(ports) = &self.ports else {
            return;
        };
        let Some(ends) = ends(&answer.bytes).filter(|_| answer.rewritten.is_none()) else {
            return;
        };
        if answer.from == self.inside.0 && answer.to == self.outside.0 {
            let sender = if ends.quoted { ends.dst } else { ends.src };
            // Made from a packet of the outside, it bears the mapped address already.
            let owner = ports.owner(ends.protocol, sender);
            let inside = owner.unwrap_or(sender);
            let Some(mapped) = ports.mapped(ends.protocol, inside) else {
                return;
            };
            if owner.is_some()
                && let Some(bytes) = readdress(&answer.bytes, Readdress::Src(inside))
            {
                answer.bytes = bytes;
            }
            answer.rewritten = self.rewritten(Side::Inside, &answer.bytes, inside, mapped);
        } else if answer.from == self.outside.0 && answer.to == self.inside.0 {
            let receiver = if ends.quoted { ends.src } else { ends.dst };
            if let Some(inside) = ports.owner(ends.protocol, receiver) {
                answer.rewritten = self.rewritten(Side::Outside, &answer.bytes, inside, receiver);
            }
        }
    }
}
