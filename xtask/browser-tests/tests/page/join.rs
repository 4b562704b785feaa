//! A server that is open to a network asks for its join code first.

use anyhow::Result;
use browser_tests::{Chromium, Page, Server, Viewport};

use crate::visit::{SOON, ready};

const CODE: &str = "ABCD-EFGH";

/// What the page says is wrong.
const NOTE: &str = "document.querySelector('#note')?.textContent";

/// A server behind a code, and a browser that was sent to one of its addresses.
async fn visit() -> Result<(Page, Chromium, Server)> {
    let server = Server::start_with(&["--allow-remote", "--join-code", CODE])?;
    let browser = Chromium::start().await?;
    let page = browser.page().await?;
    // The browser writes these to its console too.
    for status in ["status of 401", "status of 429"] {
        page.tolerate(status);
    }
    page.goto(&server.url("/e/tcp-lifecycle")).await?;
    Ok((page, browser, server))
}

/// Types a code, sends it, and waits for the answer, which is another page.
async fn try_code(page: &Page, code: &str) -> Result<()> {
    page.wait_for(SOON, "document.activeElement?.matches('#code')")
        .await?;
    page.evaluate("document.body.dataset.asked = 'before'")
        .await?;
    page.type_text(code).await?;
    page.press("Enter").await?;
    page.wait_for(
        SOON,
        "document.readyState === 'complete' && document.body.dataset.asked === undefined",
    )
    .await
    .map(drop)
}

#[tokio::test]
async fn the_right_code_leads_to_the_page_that_was_asked_for() -> Result<()> {
    let (page, _browser, _server) = visit().await?;
    try_code(&page, "WRONG-CODE").await?;
    page.wait_for(SOON, &format!("{NOTE}?.includes('not the code')"))
        .await?;
    // Capitals and the hyphen do not matter.
    try_code(&page, "abcdefgh").await?;
    page.wait_for(SOON, "location.pathname === '/e/tcp-lifecycle'")
        .await?;
    ready(&page).await?;
    page.check()
}

#[tokio::test]
async fn too_many_wrong_codes_are_told_to_wait() -> Result<()> {
    let (page, _browser, _server) = visit().await?;
    let mut tries = 0;
    while page
        .evaluate(&format!("!{NOTE}?.includes('Too many')"))
        .await?
        == true
    {
        assert!(tries < 100, "a hundred codes could be tried");
        tries += 1;
        try_code(&page, "WRONG-CODE").await?;
    }
    try_code(&page, CODE).await?;
    let note = page.wait_for(SOON, NOTE).await?;
    let note = note.as_str().unwrap_or_default();
    assert!(
        note.contains("Too many") && note.contains("second"),
        "{note}"
    );
    for width in [1280, 320] {
        page.resize(Viewport { width, height: 700 }).await?;
        page.wait_for(
            SOON,
            &format!("document.documentElement.scrollWidth <= {width}"),
        )
        .await?;
    }
    page.check()
}
