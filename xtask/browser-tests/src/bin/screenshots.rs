//! Renews the pictures of the page: wide, narrow and dark, each of a run that really happened.
//!
//! `cargo xtask screenshots` runs it with the folder to write to.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use browser_tests::{Chromium, Page, Server, Viewport};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("no folder was named")?;
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let server = Server::start()?;
    let browser = Chromium::start().await?;
    let page = browser.page().await?;
    let wide = Viewport {
        width: 1440,
        height: 900,
    };
    let narrow = Viewport {
        width: 390,
        height: 844,
    };

    run(&page, &server, "tcp-lifecycle").await?;
    for (name, viewport, scheme) in [
        ("tcp-lifecycle", wide, "light"),
        ("tcp-lifecycle-dark", wide, "dark"),
        ("tcp-lifecycle-narrow", narrow, "light"),
    ] {
        picture(&page, &folder, name, viewport, scheme).await?;
    }
    run(&page, &server, "tcp-dead-peer").await?;
    picture(&page, &folder, "tcp-dead-peer", wide, "light").await?;
    page.check()
}

/// Runs an experiment with its defaults and shows its beginning.
async fn run(page: &Page, server: &Server, experiment: &str) -> Result<()> {
    page.goto(&server.url(&format!("/e/{experiment}"))).await?;
    let button = "document.querySelector('header.top button.run')";
    page.wait_for(PATIENCE, &format!("{button}?.disabled === false"))
        .await?;
    page.click(button).await?;
    page.wait_for(PATIENCE, "!!document.querySelector('.verdict .summary')")
        .await?;
    page.wait_for(
        PATIENCE,
        "!!document.querySelector('header.top .link.replay')",
    )
    .await?;
    Ok(())
}

async fn picture(
    page: &Page,
    folder: &std::path::Path,
    name: &str,
    viewport: Viewport,
    scheme: &str,
) -> Result<()> {
    page.resize(viewport).await?;
    page.prefer(&[
        ("prefers-color-scheme", scheme),
        ("prefers-reduced-motion", "reduce"),
    ])
    .await?;
    page.put_mouse_away().await?;
    page.evaluate("document.querySelector('.scroller').scrollTop = 0")
        .await?;
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        .await?;
    let path = folder.join(format!("{name}.png"));
    page.screenshot(&path).await?;
    println!("{}", path.display());
    Ok(())
}
