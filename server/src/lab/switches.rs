//! The hosts' power switches, and who may kill their programs.

#[cfg(linger_packets)]
use std::sync::Weak;

use linger_shared::event::HostName;

use super::LabError;
#[cfg(linger_packets)]
use super::packets::PacketGround;

/// The power switches of a run's hosts. They do not keep the hosts.
#[derive(Clone, Default)]
pub(super) struct Switches {
    #[cfg(linger_packets)]
    pub(super) ground: Weak<PacketGround>,
}

impl Switches {
    /// Takes a host's power away. Blocks for some milliseconds.
    pub(super) fn off(&self, host: HostName, by: &'static str) -> Result<(), LabError> {
        #[cfg(linger_packets)]
        if let Some(ground) = self.ground.upgrade() {
            return match ground.power_off(host, by)? {
                true => Ok(()),
                false => Err(LabError::Unmet(format!("the {host} has no power already"))),
            };
        }
        let _ = by;
        Err(none(&format!("the {host} cannot lose its power")))
    }

    /// Gives a host its power back. Blocks for some milliseconds.
    pub(super) fn on(&self, host: HostName, by: &'static str) -> Result<(), LabError> {
        #[cfg(linger_packets)]
        if let Some(ground) = self.ground.upgrade() {
            return match ground.power_on(host, by)? {
                true => Ok(()),
                false => Err(LabError::Unmet(format!("the {host} has power already"))),
            };
        }
        let _ = by;
        Err(none(&format!("the {host} cannot be switched on")))
    }

    /// Kills what runs on a host.
    pub(super) fn kill(&self, host: HostName, by: &'static str) -> Result<(), LabError> {
        #[cfg(linger_packets)]
        if let Some(ground) = self.ground.upgrade() {
            return match ground.kill(host, by) {
                0 => Err(LabError::Unmet(format!(
                    "no program that this run has started runs on the {host}"
                ))),
                _ => Ok(()),
            };
        }
        let _ = by;
        Err(none(&format!("nothing can be killed on the {host}")))
    }
}

fn none(what: &str) -> LabError {
    LabError::Unmet(format!("{what}: this run has no hosts of its own"))
}
