//! Every experiment of the catalogue, from the page.

use anyhow::{Context, Result};
use browser_tests::{Chromium, Server};
use futures_util::future::try_join_all;
use serde_json::Value;

use crate::visit::{SOON, packets, ready, recorded, start, verdict};

/// So many visitors share the experiments between them: runs mostly wait.
const VISITORS: usize = 3;

#[tokio::test]
async fn every_experiment_runs_with_its_defaults_and_ends_with_a_verdict() -> Result<()> {
    let server = Server::start()?;
    let catalogue: Vec<Value> = serde_json::from_str(&server.get("/api/experiments").await?)?;
    let ids: Vec<&str> = catalogue
        .iter()
        .map(|entry| entry["id"].as_str().context("an experiment's id"))
        .collect::<Result<_>>()?;
    assert!(ids.len() > 3, "{ids:?}");
    let visits = (0..VISITORS)
        .map(|visitor| visit(&server, ids.iter().copied().skip(visitor).step_by(VISITORS)));
    try_join_all(visits).await.map(drop)
}

/// Runs experiments one after the other in a browser of its own.
async fn visit(server: &Server, ids: impl Iterator<Item = &str>) -> Result<()> {
    let browser = Chromium::start().await?;
    let page = browser.page().await?;
    for id in ids {
        let run = async {
            page.goto(&server.url(&format!("/e/{id}"))).await?;
            ready(&page).await?;
            let run = start(&page).await?;
            verdict(&page).await?;
            let events = server.events(&run).await?;
            packets(&page, recorded(&events).len(), SOON).await?;
            page.check()
        };
        run.await.with_context(|| id.to_owned())?;
    }
    Ok(())
}
