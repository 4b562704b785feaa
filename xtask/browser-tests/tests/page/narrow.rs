//! Narrow screens: nothing but the diagram may be wider than the window.

use anyhow::Result;
use browser_tests::Viewport;

use crate::visit::{SOON, Visit};

/// Visible elements outside the diagram that reach beyond the window's right edge, and are not in
/// one of the places that a wide table has for itself; the outermost of them, with their edges.
const TOO_WIDE: &str = "(() => {
    const tooWide = element => element.getBoundingClientRect().right > innerWidth + 0.5;
    return Array.from(document.body.querySelectorAll('*'))
        .filter(element => !element.closest('.diagram, .scroll, .sr-only, svg'))
        .filter(element => element.checkVisibility({visibilityProperty: true}))
        .filter(element => tooWide(element) && !tooWide(element.parentElement))
        .map(element => element.outerHTML.slice(0, 60) + ' to '
            + element.getBoundingClientRect().right);
})()";

#[tokio::test]
async fn a_narrow_page_reflows() -> Result<()> {
    let visit = Visit::to("/e/tcp-lifecycle").await?;
    let page = &visit.page;
    let mut ran = false;
    for width in [390, 320] {
        page.resize(Viewport { width, height: 700 }).await?;
        if !ran {
            assert_narrow(&visit, width, "before a run").await?;
            page.click("document.querySelectorAll('.tabs button')[0]")
                .await?;
            visit.start().await?;
            visit.verdict().await?;
            ran = true;
        }
        assert_narrow(&visit, width, "after a run").await?;
    }
    page.check()
}

async fn assert_narrow(visit: &Visit, width: u32, when: &str) -> Result<()> {
    let page = &visit.page;
    let tabs = page
        .evaluate("document.querySelectorAll('.tabs button').length")
        .await?;
    assert_eq!(tabs, 3, "tabs at {width} pixels");
    for tab in 0..3 {
        let button = format!("document.querySelectorAll('.tabs button')[{tab}]");
        page.click(&button).await?;
        page.wait_for(SOON, &format!("{button}.ariaPressed === 'true'"))
            .await?;
        // The diagram learns of the new width a frame later than the rest of the page.
        let fits = format!("document.documentElement.scrollWidth <= {width}");
        page.wait_for(SOON, &fits).await?;
        let wide = page.evaluate(TOO_WIDE).await?;
        assert_eq!(
            wide,
            serde_json::json!([]),
            "{when}, tab {tab}, in a window of {width}"
        );
    }
    Ok(())
}
