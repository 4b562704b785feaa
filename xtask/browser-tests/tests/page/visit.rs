//! A visit to the page: a server, a browser with one tab, and what every test does there.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use browser_tests::{Chromium, Page, Server};
use linger_shared::event::{Event, Fact};

/// How long the page may take for what needs no experiment to get on.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// How long an experiment with its default parameters may take, on a busy machine.
pub(crate) const A_RUN: Duration = Duration::from_secs(60);

/// A server, a browser and a tab. The tab is dropped first, then the browser, then the server.
pub(crate) struct Visit {
    pub(crate) page: Page,
    pub(crate) browser: Chromium,
    pub(crate) server: Server,
}

impl Visit {
    /// Starts all three and goes to an address of the page.
    pub(crate) async fn to(path: &str) -> Result<Self> {
        let server = Server::start()?;
        let browser = Chromium::start().await?;
        let page = browser.page().await?;
        page.goto(&server.url(path)).await?;
        let visit = Self {
            page,
            browser,
            server,
        };
        visit.ready().await?;
        Ok(visit)
    }

    /// Waits until the page has the catalogue.
    pub(crate) async fn ready(&self) -> Result<()> {
        ready(&self.page).await
    }

    /// Presses Run and gives the id of the run that the page then shows.
    pub(crate) async fn start(&self) -> Result<String> {
        start(&self.page).await
    }

    /// Waits until so many packets are on the page.
    pub(crate) async fn packets(&self, at_least: usize, patience: Duration) -> Result<()> {
        packets(&self.page, at_least, patience).await
    }

    /// Waits for the verdict.
    pub(crate) async fn verdict(&self) -> Result<()> {
        verdict(&self.page).await
    }
}

pub(crate) async fn ready(page: &Page) -> Result<()> {
    let ready = "document.querySelector('header.top button.run, header.top button.stop')";
    page.wait_for(SOON, &format!("!!{ready}")).await?;
    page.wait_for(SOON, "document.querySelectorAll('.catalogue a').length > 0")
        .await
        .map(drop)
}

pub(crate) async fn start(page: &Page) -> Result<String> {
    page.wait_for(
        SOON,
        "document.querySelector('header.top button.run')?.disabled === false",
    )
    .await?;
    page.click("document.querySelector('header.top button.run')")
        .await?;
    let id = page
        .wait_for(
            SOON,
            "location.pathname.startsWith('/r/') && location.pathname.slice(3)",
        )
        .await?;
    Ok(id.as_str().context("the run's id")?.to_owned())
}

/// How many packets the page has, by the heading of their table.
const PACKETS: &str = "Number(document.querySelector('details.packets summary')?.textContent.match(/[(](\\d+)[)]/)?.[1] ?? 0)";

pub(crate) async fn packets(page: &Page, at_least: usize, patience: Duration) -> Result<()> {
    page.wait_for(patience, &format!("{PACKETS} >= {at_least}"))
        .await
        .map(drop)
}

pub(crate) async fn verdict(page: &Page) -> Result<()> {
    page.wait_for(
        A_RUN,
        "document.querySelector('.verdict .summary')?.textContent.length > 0",
    )
    .await
    .map(drop)
}

/// The word that says how the page stands to the run: LIVE, REPLAY, RECONNECTING.
pub(crate) const LINK: &str = "document.querySelector('header.top .link')?.textContent.trim()";

/// The ids of all packets in the page's table, in its order.
pub(crate) async fn table(page: &Page) -> Result<Vec<u64>> {
    page.evaluate("document.querySelector('details.packets').open = true")
        .await?;
    page.wait_for(
        SOON,
        "document.querySelectorAll('details.packets tbody tr').length > 0",
    )
    .await?;
    let ids = page
        .evaluate(
            "Array.from(document.querySelectorAll('details.packets tbody tr'), \
             row => Number(row.dataset.id))",
        )
        .await?;
    serde_json::from_value(ids).context("the ids of the packets in the table")
}

/// The ids of all packets in a record, in the order of their departure's number.
pub(crate) fn recorded(events: &[Event]) -> Vec<u64> {
    events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::PacketDeparted(packet) => Some(packet.id),
            _ => None,
        })
        .collect()
}

/// When each recorded packet left, and when it arrived or was dropped, in microseconds.
pub(crate) fn times(events: &[Event]) -> Result<BTreeMap<u64, (u64, Option<u64>)>> {
    let mut times = BTreeMap::new();
    for event in events {
        match &event.fact {
            Fact::PacketDeparted(packet) => {
                times.insert(packet.id, (event.at_us, None));
            }
            Fact::PacketArrived { id } | Fact::PacketDropped { id, .. } => {
                match times.get_mut(id) {
                    Some((_, end @ None)) => *end = Some(event.at_us),
                    other => bail!("packet {id} ended, but before that it was {other:?}"),
                }
            }
            _ => {}
        }
    }
    Ok(times)
}

/// Checks that the page has exactly the packets that the server recorded.
pub(crate) async fn assert_complete(page: &Page, server: &Server, id: &str) -> Result<()> {
    let events = server.events(id).await?;
    for (expected, event) in events.iter().enumerate() {
        assert_eq!(event.seq, expected as u64, "the record itself has a gap");
    }
    let mut shown = table(page).await?;
    let mut recorded = recorded(&events);
    shown.sort_unstable();
    recorded.sort_unstable();
    assert_eq!(shown, recorded, "packets on the page, packets recorded");
    Ok(())
}
