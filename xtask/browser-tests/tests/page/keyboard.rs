//! Everything by keyboard.

use anyhow::Result;

use crate::visit::{A_RUN, LINK, SOON, Visit};

#[tokio::test]
async fn run_is_reached_and_pressed_without_a_mouse() -> Result<()> {
    let visit = Visit::to("/e/tcp-lifecycle").await?;
    let page = &visit.page;
    let on_run = "document.activeElement?.matches('header.top button.run')";
    let mut presses = 0;
    while page.evaluate(on_run).await? != true {
        presses += 1;
        assert!(
            presses < 20,
            "Run is not among the first {presses} stops of Tab"
        );
        page.press("Tab").await?;
    }
    let ring = page
        .evaluate("getComputedStyle(document.activeElement).outlineStyle")
        .await?;
    assert_ne!(ring, "none", "the focus can be seen");
    page.press("Enter").await?;
    page.wait_for(SOON, "location.pathname.startsWith('/r/')")
        .await?;
    visit.verdict().await?;
    page.check()
}

#[tokio::test]
async fn keys_step_through_packets_and_fit_the_run() -> Result<()> {
    let visit = Visit::to("/e/tcp-lifecycle").await?;
    let page = &visit.page;
    visit.start().await?;
    visit.verdict().await?;
    page.wait_for(SOON, &format!("{LINK} === 'REPLAY'")).await?;
    page.evaluate("document.activeElement?.blur()").await?;

    let selected = "document.querySelector('g.arrow.selected')?.dataset.id";
    page.press(".").await?;
    let first = page.wait_for(SOON, selected).await?;
    page.press(".").await?;
    page.wait_for(SOON, &format!("{selected} && {selected} !== {first}"))
        .await?;
    page.press(",").await?;
    page.wait_for(SOON, &format!("{selected} === {first}"))
        .await?;
    page.press("Escape").await?;
    page.wait_for(SOON, &format!("{selected} === undefined"))
        .await?;

    page.press("f").await?;
    page.wait_for(
        SOON,
        "(() => { const s = document.querySelector('.scroller');
            return s.scrollHeight <= s.clientHeight + 1; })()",
    )
    .await?;
    page.check()
}

#[tokio::test]
async fn the_list_of_keys_opens_and_closes_and_shortcuts_can_be_switched_off() -> Result<()> {
    let visit = Visit::to("/e/tcp-lifecycle").await?;
    let page = &visit.page;
    let open = "(document.querySelector('dialog')?.open ?? false)";
    page.press("?").await?;
    page.wait_for(SOON, &format!("{open} === true")).await?;
    page.click("document.querySelector('dialog .switch input')")
        .await?;
    page.press("Escape").await?;
    page.wait_for(SOON, &format!("{open} === false")).await?;
    page.evaluate("document.activeElement?.blur()").await?;
    page.press("?").await?;
    // A frame later, the key would have done what it did before.
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        .await?;
    assert_eq!(page.evaluate(open).await?, false);
    page.check()
}

#[tokio::test]
async fn space_pauses_the_view_and_never_the_run() -> Result<()> {
    let visit = Visit::to("/e/tcp-dead-peer").await?;
    let page = &visit.page;
    let id = visit.start().await?;
    visit.packets(3, A_RUN).await?;
    page.evaluate("document.activeElement?.blur()").await?;
    page.press(" ").await?;
    page.wait_for(
        SOON,
        "document.querySelector('button.below')?.textContent.startsWith('View paused')",
    )
    .await?;
    assert_eq!(visit.server.run_over(&id, A_RUN).await?, "finished");
    visit.verdict().await?;
    page.check()
}
