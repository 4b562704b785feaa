//! Shapes to SVG elements, in the order in which they cover each other.
//!
//! Elements are placed in content pixels relative to a base that moves in large steps, inside one
//! group that is shifted: while the window scrolls, only the group's shift changes. (The base keeps
//! numbers small, because SVG's own arithmetic has single precision.)
//!
//! Every arrow is a `<g class="arrow">` with `data-id`, `data-from-us`, `data-to-us` (absent while
//! in flight) and `data-from-y`, `data-to-y` in content pixels from the top of the whole run; the
//! `<svg>` itself has `data-scroll` and `data-px-per-ms`. So a test can compare what is painted
//! with what was recorded.

use linger_shared::{
    diagram::{
        marks::{head, lifeline, px},
        scene::{Arrow, Band, ChapterMark, Head, Note, NoteSource, Rule, Scene, Tear, Weight},
    },
    event::TcpState,
};
use yew::{Html, classes, html};

/// How far apart bases are, in pixels.
const BASE_PX: f64 = 4_096.0;

/// Where texts at the right edge end, in pixels from it.
const EDGE_PX: f64 = 10.0;

/// Where a chapter's title begins, in pixels right of the first lifeline.
const TITLE_PX: f64 = 12.0;

/// Where ticks end, in pixels from the left edge.
const TICK_X: f64 = 50.0;

/// What is painted differently from the rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marked {
    /// The packet that is selected.
    pub selected: Option<u64>,
    /// The packet under the pointer.
    pub hovered: Option<u64>,
    /// Packets that belong to the one under the pointer, or else to the selected one: its
    /// acknowledgment and its other transmissions.
    pub related: Vec<u64>,
}

/// The content of the diagram's `<svg>` for a window whose top is at the content pixel `scroll`.
pub fn scene(scene: &Scene, scroll: f64, marked: &Marked) -> Html {
    scene_with(scene, scroll, marked, true)
}

fn scene_with(scene: &Scene, scroll: f64, marked: &Marked, alive: bool) -> Html {
    let lift = scroll - (scroll / BASE_PX).floor() * BASE_PX;
    let brush = Brush { lift, scroll };
    html! {
        <g class="content" transform={format!("translate(0 {})", px(-lift))}>
            <g class="tears">
                { for scene.tears.iter().map(|tear| brush.tear(tear, scene, alive)) }
            </g>
            { brush.axis(scene) }
            { brush.chapters(scene) }
            { brush.lifelines(scene) }
            <g class="bands">{ for scene.bands.iter().map(|band| brush.band(band)) }</g>
            <g class="rules">
                { for scene.rules.iter().map(|rule| brush.rule(rule, scene.width)) }
            </g>
            <g class="arrows">
                { for scene.arrows.iter().map(|arrow| brush.arrow(arrow, marked)) }
            </g>
            { brush.titles(scene) }
            <g class="notes">{ for scene.notes.iter().map(|note| brush.note(note)) }</g>
        </g>
    }
}

/// A scene that is only to be looked at: the tears in it are no buttons.
pub fn still(picture: &Scene) -> Html {
    html! { <g class="still" aria-hidden="true">{ scene_with(picture, 0.0, &Marked::default(), false) }</g> }
}

/// Turns the window's pixels into those of the group.
struct Brush {
    lift: f64,
    scroll: f64,
}

impl Brush {
    fn y(&self, y: f64) -> String {
        px(y + self.lift)
    }

    fn axis(&self, scene: &Scene) -> Html {
        let tick = |tick: &linger_shared::diagram::scene::Tick| {
            let y = self.y(tick.y);
            html! {
                <g key={tick.text.clone()} class="tick">
                    <line x1={px(TICK_X + 6.0)} y1={y.clone()} x2={px(scene.width)} y2={y} />
                    <text x={px(TICK_X)} y={self.y(tick.y + 4.0)} text-anchor="end">
                        { tick.text.clone() }
                    </text>
                </g>
            }
        };
        html! { <g class="ticks">{ for scene.ticks.iter().map(tick) }</g> }
    }

    fn chapters(&self, scene: &Scene) -> Html {
        let chapter = |chapter: &ChapterMark| {
            let y = self.y(chapter.y);
            html! {
                <g key={format!("{} {}", chapter.at_us, chapter.title)} class="chapter">
                    <line x1={px(TICK_X + 6.0)} y1={y.clone()} x2={px(scene.width)} y2={y} />
                </g>
            }
        };
        html! { <g class="chapters">{ for scene.chapters.iter().map(chapter) }</g> }
    }

    /// The titles of chapters, above the arrows: a title is read even where arrows are dense.
    fn titles(&self, scene: &Scene) -> Html {
        let left = scene.lanes.first().map_or(0.0, |lane| lane.x);
        let title = |chapter: &ChapterMark| {
            html! {
                <text
                    key={format!("{} {}", chapter.at_us, chapter.title)}
                    x={px(left + TITLE_PX)}
                    y={self.y(chapter.y - 5.0)}
                >
                    { chapter.title.clone() }
                </text>
            }
        };
        html! { <g class="titles">{ for scene.chapters.iter().map(title) }</g> }
    }

    fn lifelines(&self, scene: &Scene) -> Html {
        let tears: Vec<(f64, f64)> = scene
            .tears
            .iter()
            .map(|tear| (tear.y + self.lift, tear.height))
            .collect();
        let top = (-self.scroll).max(-48.0) + self.lift;
        let bottom = (scene.content_height - self.scroll).min(scene.height + 48.0) + self.lift;
        html! {
            <g class="lifelines">
                { for scene.lanes.iter().map(|lane| html! {
                    <path key={lane.host.as_str()} d={lifeline(lane.x, top, bottom, &tears)} />
                }) }
            </g>
        }
    }

    fn band(&self, band: &Band) -> Html {
        let (x, y) = (band.x + band.width / 2.0 + 3.0, band.y + band.height / 2.0);
        // A connection may come back to the same state; so its place is part of the key.
        let key = format!(
            "{} {} {} {}",
            band.host,
            band.connection,
            band.state.as_str(),
            px((band.y + self.scroll).round())
        );
        html! {
            <g {key} class={classes!("band", state_class(band.state))}>
                <rect
                    x={px(band.x)}
                    y={self.y(band.y)}
                    width={px(band.width)}
                    height={px(band.height)}
                    rx="2"
                />
                if let Some(label) = &band.label {
                    <text
                        transform={format!("translate({} {}) rotate(90)", px(x - 6.5), self.y(y))}
                        text-anchor="middle"
                    >
                        { label.clone() }
                    </text>
                }
            </g>
        }
    }

    fn tear(&self, tear: &Tear, scene: &Scene, alive: bool) -> Html {
        let y = self.y(tear.y);
        let words = format!("{} of idle time cut out. Show it.", tear.text);
        html! {
            <g
                key={tear.key}
                class="tear"
                role={alive.then_some("button")}
                tabindex={alive.then_some("0")}
                data-key={tear.key.to_string()}
                aria-label={alive.then_some(words)}
            >
                <rect
                    x="0"
                    y={y}
                    width={px(scene.width)}
                    height={px(tear.height)}
                />
                <text
                    x={px(middle(scene))}
                    y={self.y(tear.y + tear.height / 2.0 + 4.0)}
                    text-anchor="middle"
                >
                    { tear.text.clone() }
                </text>
            </g>
        }
    }

    fn rule(&self, rule: &Rule, width: f64) -> Html {
        let y = self.y(rule.y);
        let kind = if rule.predicted {
            "predicted"
        } else {
            "measured"
        };
        html! {
            <g
                key={format!("{kind} {} {}", rule.name, px((rule.y + self.scroll).round()))}
                class={classes!("rule", kind)}
            >
                <line x1={px(TICK_X + 6.0)} y1={y.clone()} x2={px(width)} y2={y} />
                <text x={px(width - EDGE_PX)} y={self.y(rule.text_y)} text-anchor="end">
                    <tspan class="name">{ rule.name.clone() }</tspan>
                    { format!(" {}", rule.text) }
                </text>
            </g>
        }
    }

    fn arrow(&self, arrow: &Arrow, marked: &Marked) -> Html {
        let class = classes!(
            "arrow",
            arrow.layer.as_str(),
            (arrow.weight == Weight::Thick).then_some("thick"),
            arrow.dashed.then_some("dashed"),
            (arrow.head == Head::Cross).then_some("lost"),
            arrow.to_us.is_none().then_some("flying"),
            (marked.selected == Some(arrow.id)).then_some("selected"),
            (marked.hovered == Some(arrow.id)).then_some("hovered"),
            marked.related.contains(&arrow.id).then_some("related"),
        );
        let hollow = matches!(arrow.head, Head::Hollow | Head::Diamond);
        let filled = arrow.head == Head::Filled;
        html! {
            <g
                key={arrow.id}
                {class}
                data-id={arrow.id.to_string()}
                data-from-us={arrow.from_us.to_string()}
                data-to-us={arrow.to_us.map(|at_us| at_us.to_string())}
                data-from-y={px(arrow.from.y + self.scroll)}
                data-to-y={px(arrow.to.y + self.scroll)}
            >
                <line
                    x1={px(arrow.from.x)}
                    y1={self.y(arrow.from.y)}
                    x2={px(arrow.to.x)}
                    y2={self.y(arrow.to.y)}
                />
                <path
                    class={classes!(
                        "head",
                        hollow.then_some("hollow"),
                        filled.then_some("filled"),
                    )}
                    d={head(arrow.head, self.lifted(arrow.from), self.lifted(arrow.to))}
                />
                if let Some(label) = &arrow.label {
                    <text
                        text-anchor="middle"
                        transform={format!(
                            "translate({} {}) rotate({})",
                            px(label.at.x), self.y(label.at.y), px(label.angle)
                        )}
                    >
                        { label.text.clone() }
                    </text>
                }
                if let Some(reason) = &arrow.drop {
                    { self.reason(arrow, reason) }
                }
            </g>
        }
    }

    fn reason(&self, arrow: &Arrow, reason: &str) -> Html {
        let leftwards = arrow.to.x < arrow.from.x;
        html! {
            <text
                class="reason"
                x={px(arrow.to.x + if leftwards { -10.0 } else { 10.0 })}
                y={self.y(arrow.to.y + 4.0)}
                text-anchor={if leftwards { "end" } else { "start" }}
            >
                { reason.to_owned() }
            </text>
        }
    }

    fn lifted(
        &self,
        point: linger_shared::diagram::scene::Point,
    ) -> linger_shared::diagram::scene::Point {
        linger_shared::diagram::scene::Point {
            x: point.x,
            y: point.y + self.lift,
        }
    }

    fn note(&self, note: &Note) -> Html {
        let class = classes!(
            "note",
            note.error.then_some("error"),
            (note.source == NoteSource::Wire).then_some("wire"),
        );
        // The leader goes from the anchor to the text's middle, where the text had to give way.
        let middle = note.text_at.y - 4.0;
        let displaced = (middle - note.at.y).abs() > 3.0;
        html! {
            <g key={note.seq} {class}>
                if displaced {
                    <path
                        d={format!(
                            "M{} {}L{} {}",
                            px(note.at.x), self.y(note.at.y), px(note.text_at.x), self.y(middle)
                        )}
                    />
                }
                <circle cx={px(note.at.x)} cy={self.y(note.at.y)} r="2.75" />
                <text
                    x={px(note.text_at.x)}
                    y={self.y(note.text_at.y)}
                    text-anchor={if note.right_aligned { "end" } else { "start" }}
                >
                    { note.text.clone() }
                    if note.text != note.description {
                        <title>{ note.description.clone() }</title>
                    }
                </text>
            </g>
        }
    }
}

/// The middle between the outermost lifelines.
fn middle(scene: &Scene) -> f64 {
    match (scene.lanes.first(), scene.lanes.last()) {
        (Some(first), Some(last)) => f64::midpoint(first.x, last.x),
        _ => scene.width / 2.0,
    }
}

/// The style class of a state: states that pass, the one in which data flows, and the one that
/// waits for time alone.
fn state_class(state: TcpState) -> &'static str {
    match state {
        TcpState::Established => "established",
        TcpState::TimeWait => "time-wait",
        TcpState::CloseWait => "close-wait",
        _ => "passing",
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::{diagram::sample, panels::tests::render};

    async fn painted(scroll: f64) -> String {
        let sample = sample::scene(600.0);
        render(scene(&sample, scroll, &Marked::default())).await
    }

    #[tokio::test]
    async fn every_arrow_says_its_times_and_its_place() {
        let text = painted(0.0).await;
        let arrow = &sample::scene(600.0).arrows[0];
        for attribute in [
            format!("data-id=\"{}\"", arrow.id),
            format!("data-from-us=\"{}\"", arrow.from_us),
            format!("data-to-us=\"{}\"", arrow.to_us.unwrap()),
            format!("data-from-y=\"{}\"", px(arrow.from.y)),
            format!("y2=\"{}\"", px(arrow.to.y)),
        ] {
            assert!(text.contains(&attribute), "{attribute} in {text}");
        }
    }

    #[tokio::test]
    async fn far_down_a_run_coordinates_stay_small() {
        let text = painted(BASE_PX * 1_000.0 + 10.0).await;
        assert!(text.contains("translate(0 -10)"));
        let y = sample::scene(600.0).arrows[0].from.y;
        assert!(text.contains(&format!("y1=\"{}\"", px(y + 10.0))));
        assert!(text.contains(&format!("data-from-y=\"{}\"", px(y + 4_096_010.0))));
    }

    #[tokio::test]
    async fn a_drop_is_a_cross_with_a_word() {
        let text = painted(0.0).await;
        assert!(text.contains("class=\"arrow tcp lost\""), "{text}");
        assert!(text.contains(">lost</text>"), "{text}");
    }

    #[tokio::test]
    async fn a_tear_is_a_button_that_says_what_it_hides() {
        let text = painted(0.0).await;
        assert!(text.contains("role=\"button\""));
        assert!(text.contains("aria-label=\"1.98 s of idle time cut out. Show it.\""));
    }
}
