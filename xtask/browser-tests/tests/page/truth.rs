//! The painted arrows against the recorded times: within a pixel.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use browser_tests::{Page, Viewport};

use crate::visit::{LINK, SOON, Visit, times};

/// How far a painted end may be from where its time belongs, in pixels.
const TOLERANCE_PX: f64 = 1.0;

/// An arrow as it is painted: ends in pixels from the top of the whole run, measured on the
/// screen.
#[derive(Debug, Clone, Copy)]
struct Painted {
    from_us: u64,
    to_us: Option<u64>,
    from_y: f64,
    to_y: f64,
}

#[tokio::test]
async fn arrows_begin_and_end_where_their_times_belong() -> Result<()> {
    let visit = Visit::to("/e/tcp-lifecycle").await?;
    let page = &visit.page;
    page.resize(Viewport {
        width: 1280,
        height: 900,
    })
    .await?;
    let id = visit.start().await?;
    visit.verdict().await?;
    page.wait_for(SOON, &format!("{LINK} === 'REPLAY'")).await?;
    let recorded = times(&visit.server.events(&id).await?)?;

    let folded = painted(page).await?;
    check(&recorded, &folded, px_per_ms(page).await?);

    // With all idle time shown, one scale holds for the whole run.
    open_all_tears(page).await?;
    let unfolded = painted(page).await?;
    let px_per_ms = px_per_ms(page).await?;
    check(&recorded, &unfolded, px_per_ms);
    let first = unfolded.values().next().context("no arrow")?;
    for (id, arrow) in &unfolded {
        let expected = first.from_y + ms(first.from_us, arrow.from_us) * px_per_ms;
        assert_near(arrow.from_y, expected, *id, "departure");
    }
    page.check()
}

/// Every recorded packet is painted, with its recorded times, as steep as they say.
fn check(
    recorded: &BTreeMap<u64, (u64, Option<u64>)>,
    painted: &BTreeMap<u64, Painted>,
    px_per_ms: f64,
) {
    let ids = |ids: Vec<&u64>| ids.into_iter().copied().collect::<Vec<_>>();
    assert_eq!(
        ids(painted.keys().collect()),
        ids(recorded.keys().collect()),
        "arrows painted, packets recorded"
    );
    for (id, arrow) in painted {
        assert_eq!(
            (arrow.from_us, arrow.to_us),
            recorded[id],
            "times of packet {id}"
        );
        if let Some(to_us) = arrow.to_us {
            let expected = arrow.from_y + ms(arrow.from_us, to_us) * px_per_ms;
            assert_near(arrow.to_y, expected, *id, "arrival");
        }
    }
}

fn assert_near(painted: f64, expected: f64, id: u64, what: &str) {
    assert!(
        (painted - expected).abs() <= TOLERANCE_PX,
        "the {what} of packet {id} is painted at {painted:.2}, and belongs to {expected:.2}"
    );
}

fn ms(from_us: u64, to_us: u64) -> f64 {
    (to_us as f64 - from_us as f64) / 1_000.0
}

async fn px_per_ms(page: &Page) -> Result<f64> {
    page.evaluate("Number(document.querySelector('svg.window').dataset.pxPerMs)")
        .await?
        .as_f64()
        .context("the scale")
}

/// Scrolls through the whole run and measures every arrow on the screen.
async fn painted(page: &Page) -> Result<BTreeMap<u64, Painted>> {
    let mut arrows = BTreeMap::new();
    let mut places = Places::default();
    while places.next(page).await? {
        let seen = page
            .evaluate(
                "(() => {
                    const svg = document.querySelector('svg.window');
                    const top = svg.getBoundingClientRect().top;
                    const scroll = Number(svg.dataset.scroll);
                    return Array.from(svg.querySelectorAll('g.arrow'), arrow => {
                        const line = arrow.querySelector('line');
                        const matrix = line.getScreenCTM();
                        const y = name => {
                            const at = svg.createSVGPoint();
                            at.x = line['x' + name].baseVal.value;
                            at.y = line['y' + name].baseVal.value;
                            return at.matrixTransform(matrix).y - top + scroll;
                        };
                        return [Number(arrow.dataset.id), Number(arrow.dataset.fromUs),
                            arrow.dataset.toUs ? Number(arrow.dataset.toUs) : null, y(1), y(2)];
                    });
                })()",
            )
            .await?;
        let seen: Vec<(u64, u64, Option<u64>, f64, f64)> = serde_json::from_value(seen)?;
        for (id, from_us, to_us, from_y, to_y) in seen {
            let arrow = Painted {
                from_us,
                to_us,
                from_y,
                to_y,
            };
            arrows.insert(id, arrow);
        }
    }
    Ok(arrows)
}

/// Opens everything that is cut out of the picture.
async fn open_all_tears(page: &Page) -> Result<()> {
    let mut places = Places::default();
    while places.next(page).await? {
        let mut opened = false;
        while page
            .evaluate("document.querySelectorAll('g.tear').length")
            .await?
            != 0
        {
            let key = page
                .evaluate("document.querySelector('g.tear').dataset.key")
                .await?;
            page.evaluate(
                "document.querySelector('g.tear').dispatchEvent(new MouseEvent('click', {bubbles: true}))",
            )
            .await?;
            let gone = format!("document.querySelector('g.tear[data-key={key}]') === null");
            page.wait_for(SOON, &gone).await?;
            opened = true;
        }
        if opened {
            // The picture is higher now, so this place was not the last.
            places.done = false;
        }
    }
    Ok(())
}

/// The places to which a window has to be scrolled to see all of a run.
#[derive(Debug, Default)]
struct Places {
    next: f64,
    done: bool,
}

impl Places {
    /// Scrolls to the next place; false where there is none.
    async fn next(&mut self, page: &Page) -> Result<bool> {
        if self.done {
            return Ok(false);
        }
        // The page hears of it at once, as it does of a user's scrolling; the browser itself would
        // say so only in its next frame.
        let at = page
            .evaluate(&format!(
                "(() => {{ const s = document.querySelector('.scroller');
                    s.scrollTop = {};
                    s.dispatchEvent(new Event('scroll'));
                    return s.scrollTop; }})()",
                self.next
            ))
            .await?;
        let painted = format!(
            "Math.abs(Number(document.querySelector('svg.window').dataset.scroll) - {at}) <= 1"
        );
        page.wait_for(SOON, &painted).await?;
        let sizes = page
            .evaluate(
                "(() => { const s = document.querySelector('.scroller');
                    return [s.scrollTop, s.clientHeight, s.scrollHeight]; })()",
            )
            .await?;
        let (at, window, content): (f64, f64, f64) = serde_json::from_value(sizes)?;
        self.done = at + window >= content - 1.0;
        // Half a window at a time, so that every arrow is once far from both edges.
        self.next = at + (window / 2.0).floor();
        Ok(true)
    }
}
