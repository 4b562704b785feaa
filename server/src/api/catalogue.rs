//! What can be run, and what this machine can do.

use axum::{Json, extract::State};
use linger_shared::protocol::{CatalogueEntry, Doctor};

use super::Shared;
use crate::catalogue;

/// The experiments, each with its parameters and whether it can run here.
#[utoipa::path(
    get,
    path = "/api/experiments",
    tag = "catalogue",
    responses((status = OK, body = Vec<CatalogueEntry>))
)]
pub(super) async fn experiments(State(shared): State<Shared>) -> Json<Vec<CatalogueEntry>> {
    Json(catalogue::entries(&shared.manager))
}

/// What this machine can do, what is missing, and what would provide it.
#[utoipa::path(
    get,
    path = "/api/doctor",
    tag = "catalogue",
    responses((status = OK, body = Doctor))
)]
pub(super) async fn doctor(State(shared): State<Shared>) -> Json<Doctor> {
    Json(shared.manager.doctor().clone())
}
