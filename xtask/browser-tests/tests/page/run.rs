//! Choosing, running, stopping.

use std::collections::BTreeSet;

use anyhow::Result;
use browser_tests::Chromium;

use crate::visit::{A_RUN, LINK, SOON, Visit, assert_complete, verdict};

#[tokio::test]
async fn a_chosen_experiment_is_drawn_while_it_happens_and_ends_with_a_verdict() -> Result<()> {
    let visit = Visit::to("/").await?;
    let page = &visit.page;
    page.click("document.querySelector('.catalogue a[href=\"/e/tcp-lifecycle\"]')")
        .await?;
    page.wait_for(SOON, "location.pathname === '/e/tcp-lifecycle'")
        .await?;
    // On a long path packets come one by one, even where a busy machine paints only now and then.
    let field = "document.getElementById('param-delay')";
    page.wait_for(SOON, &format!("!!{field}")).await?;
    page.evaluate(&format!("{field}.select(), {field}.focus()"))
        .await?;
    page.type_text("300ms").await?;
    // Kept by the page itself, once a frame, so that nothing between two looks is missed.
    page.evaluate(
        "(() => {
            window.seen = [];
            const look = () => {
                const arrows = document.querySelectorAll('g.arrow').length;
                const live = document.querySelector('header.top .link.live') !== null;
                const flying = document.querySelector('g.arrow.flying') !== null;
                window.seen.push([arrows, live, flying]);
                requestAnimationFrame(look);
            };
            look();
        })()",
    )
    .await?;
    let id = visit.start().await?;
    visit.verdict().await?;
    page.wait_for(SOON, &format!("{LINK} === 'REPLAY'")).await?;

    let seen = page.evaluate("window.seen").await?;
    let seen: Vec<(usize, bool, bool)> = serde_json::from_value(seen)?;
    let live: BTreeSet<usize> = seen
        .iter()
        .filter(|(_, live, _)| *live)
        .map(|(arrows, ..)| *arrows)
        .collect();
    assert!(
        live.len() >= 4,
        "numbers of arrows while the run was live: {live:?}"
    );
    assert!(
        seen.iter().any(|(_, live, flying)| *live && *flying),
        "no packet was seen on its way"
    );
    assert_complete(page, &visit.server, &id).await?;
    page.check()
}

#[tokio::test]
async fn opening_an_address_starts_no_run() -> Result<()> {
    let visit = Visit::to("/e/tcp-lifecycle?delay=5ms").await?;
    let delay = visit
        .page
        .wait_for(SOON, "document.getElementById('param-delay')?.value")
        .await?;
    assert_eq!(delay, "5ms");
    let runs = visit.server.get("/api/runs").await?;
    assert_eq!(runs.trim(), "[]");
    visit.page.check()
}

#[tokio::test]
async fn stop_ends_the_run_on_the_server() -> Result<()> {
    let visit = Visit::to("/e/tcp-dead-peer?idle=60s").await?;
    let id = visit.start().await?;
    visit.packets(3, A_RUN).await?;
    visit
        .page
        .click("document.querySelector('header.top button.stop')")
        .await?;
    assert_eq!(visit.server.run_over(&id, SOON).await?, "cancelled");
    visit
        .page
        .wait_for(SOON, &format!("{LINK} === 'REPLAY'"))
        .await?;
    visit
        .page
        .wait_for(
            SOON,
            "/ended (before its script|early)/.test(document.body.innerText)",
        )
        .await?;
    assert_complete(&visit.page, &visit.server, &id).await?;
    visit.page.check()
}

#[tokio::test]
async fn a_browser_that_dies_leaves_the_run_and_the_server_alone() -> Result<()> {
    let mut visit = Visit::to("/e/tcp-lifecycle").await?;
    let id = visit.start().await?;
    visit.packets(3, A_RUN).await?;
    visit.browser.kill()?;

    assert_eq!(visit.server.run_over(&id, A_RUN).await?, "finished");
    assert!(
        visit
            .server
            .get("/api/experiments")
            .await?
            .contains("tcp-lifecycle")
    );

    let another = Chromium::start().await?;
    let page = another.page().await?;
    page.goto(&visit.server.url(&format!("/r/{id}"))).await?;
    verdict(&page).await?;
    assert_complete(&page, &visit.server, &id).await?;
    page.check()
}
