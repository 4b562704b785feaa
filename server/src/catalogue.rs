//! The experiments as this machine offers them: each descriptor, and whether it can run here.

use linger_shared::{experiment::Descriptor, protocol::CatalogueEntry};

use crate::{experiments, runs::Manager};

/// Every experiment, in the order of the list.
pub fn entries(manager: &Manager) -> Vec<CatalogueEntry> {
    experiments::ALL
        .iter()
        .map(|experiment| entry(manager, experiment.descriptor()))
        .collect()
}

/// One experiment; `None` where no experiment has that id.
pub fn find(manager: &Manager, id: &str) -> Option<CatalogueEntry> {
    experiments::find(id).map(|experiment| entry(manager, experiment.descriptor()))
}

fn entry(manager: &Manager, descriptor: Descriptor) -> CatalogueEntry {
    let (runs_as, unavailable) = match manager.mode_for(&descriptor.modes, None) {
        Ok(mode) => (Some(mode), None),
        Err(reason) => (None, Some(reason)),
    };
    CatalogueEntry {
        descriptor,
        runs_as,
        unavailable,
    }
}
