//! What a viewer does to a run while it goes on, and what the page then says is in force.

use anyhow::{Context, Result};
use browser_tests::Page;
use linger_shared::event::{Fact, HostName};

use crate::visit::{A_RUN, SOON, Visit};

/// The chips that tell what is in force.
const FORCE: &str = "Array.from(document.querySelectorAll('.force li > span'), \
     chip => chip.textContent)";

/// A run that goes on for longer than these tests do, with a request every 200 ms.
const LONG: &str = "/e/http-sequential?requests=200&pause=200ms";

/// A button of the menu that can be pressed.
fn item(text: &str) -> String {
    format!(
        "Array.from(document.querySelectorAll('#faults button'))\
         .find(button => button.textContent === '{text}' && !button.disabled)"
    )
}

/// Opens the menu and presses one of its buttons.
async fn inject(page: &Page, text: &str) -> Result<()> {
    let item = item(text);
    page.wait_for(SOON, &format!("!!{item}")).await?;
    page.click("document.querySelector('button.faults')")
        .await?;
    let open = "document.querySelector('#faults:popover-open')";
    page.wait_for(SOON, &format!("!!{open}")).await?;
    page.click(&item).await?;
    page.wait_for(SOON, &format!("{open} === null"))
        .await
        .map(drop)
}

/// Waits until exactly these things are in force.
async fn in_force(page: &Page, chips: &[&str]) -> Result<()> {
    let chips = serde_json::to_string(chips)?;
    page.wait_for(A_RUN, &format!("JSON.stringify({FORCE}) === '{chips}'"))
        .await
        .map(drop)
}

async fn heal(page: &Page) -> Result<()> {
    let heal = "document.querySelector('.actions button.heal:not(:disabled)')";
    page.wait_for(SOON, &format!("!!{heal}")).await?;
    page.click(heal).await
}

async fn stop(visit: &Visit, id: &str) -> Result<()> {
    visit
        .page
        .click("document.querySelector('header.top button.stop')")
        .await?;
    visit.server.run_over(id, A_RUN).await.map(drop)
}

#[tokio::test]
async fn a_wire_that_is_cut_by_hand_drops_packets_until_it_is_healed() -> Result<()> {
    let visit = Visit::to("/e/http-sequential?requests=60&pause=200ms").await?;
    let page = &visit.page;
    let id = visit.start().await?;
    visit.packets(6, A_RUN).await?;
    inject(page, "Both ways").await?;
    in_force(page, &["Cut both ways"]).await?;
    page.wait_for(A_RUN, "document.querySelector('g.arrow.lost') !== null")
        .await?;
    heal(page).await?;
    in_force(page, &[]).await?;
    visit.verdict().await?;
    assert_eq!(visit.server.run_over(&id, SOON).await?, "finished");
    page.check()
}

#[tokio::test]
async fn what_is_in_force_is_still_known_after_a_reload() -> Result<()> {
    let visit = Visit::to(LONG).await?;
    let page = &visit.page;
    let id = visit.start().await?;
    visit.packets(6, A_RUN).await?;
    inject(page, "Server \u{2192} client").await?;
    in_force(page, &["Cut server \u{2192} client"]).await?;
    // What is cut is dropped before any rule looks at it, so this one stays armed.
    inject(page, "From the server").await?;
    let armed = "Drops the next packet with data sent by server";
    in_force(page, &["Cut server \u{2192} client", armed]).await?;

    page.reload().await?;
    in_force(page, &["Cut server \u{2192} client", armed]).await?;
    page.click("document.querySelector('.force button.close')")
        .await?;
    in_force(page, &["Cut server \u{2192} client"]).await?;
    heal(page).await?;
    in_force(page, &[]).await?;
    page.wait_for(
        SOON,
        "document.querySelector('.actions button.heal').disabled",
    )
    .await?;
    stop(&visit, &id).await?;
    page.check()
}

#[tokio::test]
async fn a_rule_that_drops_one_packet_is_gone_once_it_has() -> Result<()> {
    let visit = Visit::to(LONG).await?;
    let page = &visit.page;
    let id = visit.start().await?;
    visit.packets(6, A_RUN).await?;
    inject(page, "From the client").await?;
    page.wait_for(A_RUN, "document.querySelector('g.arrow.lost') !== null")
        .await?;
    in_force(page, &[]).await?;
    stop(&visit, &id).await?;

    let events = visit.server.events(&id).await?;
    let told: Vec<(&str, bool)> = events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Rule {
                rule,
                from: HostName::Client,
                active,
                by,
                ..
            } if by == "user" => Some((rule.as_str(), *active)),
            _ => None,
        })
        .collect();
    let [(armed, true), (spent, false)] = told[..] else {
        panic!("a rule that is armed and spent: {told:?}");
    };
    assert_eq!(armed, spent);
    // What is on its way when the run is stopped is dropped too, by no rule of ours.
    let dropped = events
        .iter()
        .filter(|event| matches!(&event.fact, Fact::PacketDropped { rule, .. } if rule == armed))
        .count();
    assert_eq!(dropped, 1);
    page.check()
}

#[tokio::test]
async fn a_host_is_switched_off_and_on_and_what_cannot_be_done_is_refused_in_words() -> Result<()> {
    let visit = Visit::to(LONG).await?;
    let page = &visit.page;
    // The browser writes a refusal to its console too.
    page.tolerate("the server responded with a status of 409");
    let id = visit.start().await?;
    visit.packets(5, A_RUN).await?;
    let off = item("Switch the server off");
    page.wait_for(SOON, &format!("!!{off}")).await?;
    // Twice before the page can have heard of the first: the second finds no power to take.
    page.evaluate(&format!(
        "(() => {{ const b = {off}; b.click(); b.click(); }})()"
    ))
    .await?;
    let dark = "Server has no power";
    page.wait_for(SOON, &format!("{FORCE}.includes('{dark}')"))
        .await?;
    page.wait_for(
        SOON,
        "document.querySelector('.notice.trouble')?.textContent.includes('no power already')",
    )
    .await?;

    page.reload().await?;
    page.wait_for(SOON, &format!("{FORCE}.includes('{dark}')"))
        .await?;
    inject(page, "Switch the server on again").await?;
    // The server knows nothing of the connection any more and says so, which may end the run.
    page.wait_for(SOON, &format!("!{FORCE}.includes('{dark}')"))
        .await?;
    let events = visit.server.events(&id).await?;
    let power: Vec<(HostName, bool)> = events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Power { host, on, by } if by == "user" => Some((*host, *on)),
            _ => None,
        })
        .collect();
    assert_eq!(power, [(HostName::Server, false), (HostName::Server, true)]);
    page.check()
}

#[tokio::test]
async fn faults_are_injected_and_healed_without_a_mouse() -> Result<()> {
    let visit = Visit::to(LONG).await?;
    let page = &visit.page;
    let id = visit.start().await?;
    visit.packets(6, A_RUN).await?;
    page.wait_for(SOON, &format!("!!{}", item("Both ways")))
        .await?;
    page.evaluate("document.querySelector('button.faults').focus()")
        .await?;
    page.press("Enter").await?;
    page.wait_for(SOON, "!!document.querySelector('#faults:popover-open')")
        .await?;
    page.press("Tab").await?;
    let focused = page.evaluate("document.activeElement?.textContent").await?;
    assert_eq!(
        focused.as_str().context("something has the focus")?,
        "Both ways"
    );
    page.press("Escape").await?;
    page.wait_for(SOON, "!document.querySelector('#faults:popover-open')")
        .await?;
    let on_the_menu = "document.activeElement?.matches('button.faults')";
    assert_eq!(page.evaluate(on_the_menu).await?, true);
    page.press("Enter").await?;
    page.press("Tab").await?;
    page.press("Enter").await?;
    in_force(page, &["Cut both ways"]).await?;
    assert_eq!(page.evaluate(on_the_menu).await?, true);
    page.press("Tab").await?;
    let on_heal = "document.activeElement?.matches('button.heal')";
    assert_eq!(page.evaluate(on_heal).await?, true);
    page.press("Enter").await?;
    in_force(page, &[]).await?;
    stop(&visit, &id).await?;
    page.check()
}
