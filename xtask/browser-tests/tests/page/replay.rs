//! A run that is over, played again.

use anyhow::Result;

use crate::visit::{A_RUN, LINK, SOON, Visit};

/// How many arrows are drawn.
const ARROWS: &str = "document.querySelectorAll('g.arrow').length";

/// What the player's button says.
const BUTTON: &str = "document.querySelector('.player button')?.textContent";

/// Whether the verdict is shown.
const VERDICT: &str = "(document.querySelector('.verdict') !== null)";

async fn a_finished_run() -> Result<Visit> {
    let visit = Visit::to("/e/tcp-lifecycle").await?;
    visit.start().await?;
    visit.verdict().await?;
    visit
        .page
        .wait_for(SOON, &format!("{LINK} === 'REPLAY'"))
        .await?;
    visit
        .page
        .evaluate("document.activeElement?.blur()")
        .await?;
    Ok(visit)
}

#[tokio::test]
async fn space_plays_a_run_again_from_its_beginning_to_its_verdict() -> Result<()> {
    let visit = a_finished_run().await?;
    let page = &visit.page;
    let all = page.wait_for(SOON, ARROWS).await?;
    page.press(" ").await?;
    page.wait_for(SOON, &format!("{BUTTON} === 'Hold' && !{VERDICT}"))
        .await?;
    page.wait_for(SOON, &format!("{ARROWS} < {all}")).await?;
    page.wait_for(A_RUN, &format!("{BUTTON} === 'Play' && {VERDICT}"))
        .await?;
    page.check()
}

#[tokio::test]
async fn the_slider_goes_anywhere_and_g_shows_the_whole_run() -> Result<()> {
    let visit = a_finished_run().await?;
    let page = &visit.page;
    page.evaluate(
        "(() => { const slider = document.querySelector('.player input');
            slider.value = '0';
            slider.dispatchEvent(new InputEvent('input', {bubbles: true})); })()",
    )
    .await?;
    page.wait_for(
        SOON,
        &format!("{ARROWS} === 0 && !{VERDICT} && {BUTTON} === 'Play'"),
    )
    .await?;
    page.press("g").await?;
    page.wait_for(SOON, &format!("{ARROWS} > 5 && {VERDICT}"))
        .await?;
    page.check()
}
