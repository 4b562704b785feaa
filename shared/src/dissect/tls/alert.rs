//! Alerts (RFC 8446, section 6).

use super::names;
use crate::dissect::{Stopped, reader::Reader};

/// An alert in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert {
    /// 1 is a warning, 2 is fatal.
    pub level: u8,
    /// Which.
    pub description: u8,
}

impl Alert {
    /// Length of an alert, in bytes.
    pub const LENGTH: usize = 2;

    /// Reads an alert.
    ///
    /// # Errors
    /// [`Stopped`] where it is not all there.
    pub fn parse(bytes: &[u8]) -> Result<Self, Stopped> {
        let mut reader = Reader::new(bytes);
        Ok(Self {
            level: reader.u8()?,
            description: reader.u8()?,
        })
    }

    /// Its name, such as `close_notify`.
    pub fn name(&self) -> String {
        match names::alert(self.description) {
            Some(name) => name.to_owned(),
            None => format!("alert {}", self.description),
        }
    }

    /// Its level in a word.
    pub fn level(&self) -> String {
        match self.level {
            1 => "warning".to_owned(),
            2 => "fatal".to_owned(),
            other => format!("level {other}"),
        }
    }
}
