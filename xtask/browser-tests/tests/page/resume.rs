//! Coming back: after a reload, after the network was away, after the server was away.

use anyhow::Result;
use browser_tests::{Chromium, Gate, Server};

use crate::visit::{A_RUN, LINK, SOON, Visit, assert_complete, packets, ready, start, verdict};

/// What a browser writes to its console when a connection is refused or cut.
const EXPECTED: [&str; 2] = ["WebSocket connection to", "net::ERR_"];

#[tokio::test]
async fn a_reload_in_the_middle_of_a_run_leaves_no_gap() -> Result<()> {
    let visit = Visit::to("/e/tcp-dead-peer").await?;
    let id = visit.start().await?;
    visit.packets(5, A_RUN).await?;
    visit.page.reload().await?;
    // The address names the run, so the page comes back to it by itself.
    visit
        .page
        .wait_for(SOON, &format!("{LINK} === 'LIVE'"))
        .await?;
    visit.packets(5, SOON).await?;
    visit.verdict().await?;
    assert_complete(&visit.page, &visit.server, &id).await?;
    visit.page.check()
}

#[tokio::test]
async fn a_page_whose_network_is_cut_says_so_and_resumes_without_a_gap() -> Result<()> {
    let server = Server::start()?;
    let gate = Gate::before(server.address()).await?;
    let browser = Chromium::start().await?;
    let page = browser.page().await?;
    for expected in EXPECTED {
        page.tolerate(expected);
    }
    page.goto(&format!("http://{}/e/tcp-dead-peer", gate.address()))
        .await?;
    ready(&page).await?;
    let id = start(&page).await?;
    packets(&page, 5, A_RUN).await?;

    gate.shut();
    page.wait_for(
        SOON,
        &format!("['RECONNECTING', 'OFFLINE'].includes({LINK})"),
    )
    .await?;
    let kept = page
        .evaluate("document.querySelectorAll('g.arrow').length")
        .await?;
    assert_ne!(kept, 0, "the diagram stays");
    // The run goes on behind the gate; what the page misses is what it has to fetch later.
    let missed = server.events(&id).await?.len();
    loop {
        if server.events(&id).await?.len() > missed {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    gate.open();
    page.wait_for(SOON, &format!("['LIVE', 'REPLAY'].includes({LINK})"))
        .await?;
    verdict(&page).await?;
    assert_complete(&page, &server, &id).await?;
    page.check()
}

#[tokio::test]
async fn a_server_that_was_killed_and_started_again_still_has_the_run() -> Result<()> {
    let mut visit = Visit::to("/e/tcp-dead-peer?idle=60s").await?;
    for expected in EXPECTED {
        visit.page.tolerate(expected);
    }
    let id = visit.start().await?;
    visit.packets(3, A_RUN).await?;
    visit.server.kill()?;
    visit
        .page
        .wait_for(
            SOON,
            &format!("['RECONNECTING', 'OFFLINE'].includes({LINK})"),
        )
        .await?;
    visit.server.restart()?;
    visit
        .page
        .wait_for(A_RUN, &format!("{LINK} === 'REPLAY'"))
        .await?;
    assert_complete(&visit.page, &visit.server, &id).await?;
    visit.page.check()
}
