//! Runs that are recorded: listed after a crash of the server, played again, deleted.

use anyhow::Result;

use crate::visit::{A_RUN, LINK, SOON, Visit, ready};

/// The ids of the runs that the page lists, the newest first.
const LISTED: &str = "Array.from(document.querySelectorAll('.recent a'), \
     link => link.pathname.slice(3))";

/// What the player's button says.
const BUTTON: &str = "document.querySelector('.player button')?.textContent";

#[tokio::test]
async fn a_run_of_an_earlier_start_is_listed_and_plays_after_the_server_was_killed() -> Result<()> {
    let mut visit = Visit::to("/e/tcp-lifecycle").await?;
    for expected in ["WebSocket connection to", "net::ERR_"] {
        visit.page.tolerate(expected);
    }
    let first = visit.start().await?;
    visit.verdict().await?;
    visit
        .page
        .goto(&visit.server.url("/e/tcp-dead-peer?idle=60s"))
        .await?;
    visit.ready().await?;
    // What is recorded of this one was written after all of the first.
    let second = visit.start().await?;
    visit.packets(5, A_RUN).await?;
    visit.server.kill()?;
    visit.server.restart()?;

    let page = &visit.page;
    page.goto(&visit.server.url("/")).await?;
    ready(page).await?;
    page.wait_for(
        SOON,
        &format!("JSON.stringify({LISTED}) === '[\"{second}\",\"{first}\"]'"),
    )
    .await?;
    page.click(&format!(
        "document.querySelector('.recent a[href=\"/r/{first}\"]')"
    ))
    .await?;
    page.wait_for(SOON, &format!("{LINK} === 'REPLAY'")).await?;
    visit.verdict().await?;
    page.evaluate("document.activeElement?.blur()").await?;
    page.press(" ").await?;
    let verdict = "(document.querySelector('.verdict') !== null)";
    page.wait_for(SOON, &format!("{BUTTON} === 'Hold' && !{verdict}"))
        .await?;
    page.wait_for(A_RUN, &format!("{BUTTON} === 'Play' && {verdict}"))
        .await?;
    page.check()
}

#[tokio::test]
async fn a_run_is_deleted_after_a_second_question() -> Result<()> {
    let visit = Visit::to("/e/tcp-lifecycle").await?;
    let page = &visit.page;
    let first = visit.start().await?;
    visit.verdict().await?;
    page.goto(&visit.server.url("/e/tcp-lifecycle")).await?;
    visit.ready().await?;
    let second = visit.start().await?;
    visit.verdict().await?;

    let close = |id: &str| {
        format!("document.querySelector('.recent button[aria-label=\"Delete run {id}\"]')")
    };
    let answer = |text: &str| {
        format!(
            "Array.from(document.querySelectorAll('.recent .deletion button'))\
             .find(button => button.textContent === '{text}')"
        )
    };
    let asked = "(document.querySelector('.recent .deletion') !== null)";
    // The list is asked for again once the run is over.
    page.wait_for(SOON, &format!("!!{}", close(&second)))
        .await?;
    page.click(&close(&first)).await?;
    page.wait_for(SOON, asked).await?;
    page.click(&answer("Keep")).await?;
    page.wait_for(SOON, &format!("!{asked}")).await?;
    visit.server.run(&first).await?;

    for (id, left) in [
        (&first, format!("[\"{second}\"]")),
        (&second, "[]".to_owned()),
    ] {
        page.click(&close(id)).await?;
        page.wait_for(SOON, asked).await?;
        page.click(&answer("Delete")).await?;
        page.wait_for(SOON, &format!("JSON.stringify({LISTED}) === '{left}'"))
            .await?;
        let gone = visit.server.run(id).await;
        assert!(
            gone.is_err_and(|error| error.to_string().contains(" 404 ")),
            "{id}"
        );
    }
    // The run that was shown is gone too, so its experiment takes its place.
    page.wait_for(SOON, "location.pathname === '/e/tcp-lifecycle'")
        .await?;
    page.check()
}
