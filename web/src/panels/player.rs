//! Plays a recorded run again: play and hold, where it stands, how fast.

use gloo_timers::callback::Interval;
use linger_shared::units::human;
use web_sys::{HtmlInputElement, HtmlSelectElement};
use yew::prelude::*;

use crate::{
    services::page,
    state::{
        app::{Action, App},
        replay::{Replay, ReplayAction, SPEEDS},
        run::Run,
    },
};

/// How often the place is shown anew while it moves, in milliseconds.
const REPAINT_MS: u32 = 50;

/// What the player is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// A run that is over.
    pub(crate) run: Run,
    /// Where what the user does goes.
    pub(crate) dispatch: UseReducerDispatcher<App>,
}

/// The player. See the module.
#[component]
pub(crate) fn Player(props: &Props) -> Html {
    let replay = props.run.replay.as_ref();
    let playing = replay.is_some_and(Replay::is_playing);
    let redraw = use_force_update();
    use_effect_with(playing, move |playing| {
        let interval = playing.then(|| Interval::new(REPAINT_MS, move || redraw.force_update()));
        move || drop(interval)
    });
    let play = {
        let dispatch = props.dispatch.clone();
        move |action| {
            let page_ms = page::now_ms();
            dispatch.dispatch(Action::Replay { action, page_ms });
        }
    };
    let end_us = props
        .run
        .record
        .as_ref()
        .map_or(0, |record| record.borrow().model().last_us());
    let at_us = replay.map_or(end_us, |replay| replay.at_us(page::now_ms()));
    let speed = replay.map_or(1.0, Replay::speed);
    let onclick = {
        let play = play.clone();
        move |_: MouseEvent| play(ReplayAction::Toggle)
    };
    let oninput = {
        let play = play.clone();
        move |event: InputEvent| {
            let field: HtmlInputElement = event.target_unchecked_into();
            let to_us = field.value_as_number().max(0.0) as u64;
            play(ReplayAction::Seek { to_us });
        }
    };
    let onchange = move |event: Event| {
        let choice: HtmlSelectElement = event.target_unchecked_into();
        if let Ok(speed) = choice.value().parse() {
            play(ReplayAction::Speed(speed));
        }
    };
    let place = format!("{} of {}", clock(at_us), clock(end_us));
    html! {
        <div class="player" role="group" aria-label="Replay">
            <button type="button" {onclick} title="Play or hold (Space)">
                { if playing { "Hold" } else { "Play" } }
            </button>
            <input type="range" min="0" max={end_us.to_string()} step="1000"
                value={at_us.to_string()} {oninput}
                aria-label="Place in the run" aria-valuetext={place.clone()} />
            <span class="place">{ place }</span>
            <label>
                { "Speed " }
                <select {onchange}>
                    { for SPEEDS.iter().map(|choice| html! {
                        <option value={choice.to_string()} selected={*choice == speed}>
                            { format!("{choice}\u{d7}") }
                        </option>
                    }) }
                </select>
            </label>
        </div>
    }
}

/// A moment of the run: to the millisecond, and in the same width while it moves.
fn clock(micros: u64) -> String {
    match micros {
        0..120_000_000 => format!("{:.3} s", micros as f64 / 1e6),
        _ => human(micros),
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_to_the_millisecond() {
        assert_eq!(clock(1_234_567), "1.235 s");
        assert_eq!(clock(0), "0.000 s");
        assert_eq!(clock(7_875_000_000), "2 h 11 min");
    }
}
