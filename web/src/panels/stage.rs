//! The middle of the page when there is no picture to show, and the words around one that is
//! incomplete: before a run, while it waits, when the laboratory failed, when a run is unknown.

use linger_shared::protocol::RunState;
use yew::prelude::*;

use super::{Order, trouble};
use crate::{
    diagram::{paint, sample, summary::counted},
    state::{load::Trouble, run::Run, stream::Link},
};

/// What the notice is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// The run.
    pub(crate) run: Run,
    /// What only the server can do.
    pub(crate) order: Callback<Order>,
    /// Whether the experiment can be run again.
    pub(crate) can_start: bool,
}

/// The words above the picture, where there is something to say of the run as a whole.
#[component]
pub(crate) fn RunNotice(props: &Props) -> Html {
    let run = &props.run;
    let record = run.record.as_ref().map(|record| record.borrow());
    let model = record.as_ref().map(|record| record.model());
    if run.state() == Some(RunState::Failed) {
        let message = model
            .and_then(|model| model.failure())
            .unwrap_or("The server did not say at what. Its log knows more.");
        let order = props.order.clone();
        return html! {
            <div class="notice failure" role="alert">
                <strong>{ "The laboratory failed" }</strong>
                <p>{ message.to_owned() }</p>
                <p>
                    { "This is a fault of the set-up, not a result: nothing may be concluded from \
                       run " }<code>{ run.id.clone() }</code>{ "." }
                </p>
                <button type="button" disabled={!props.can_start}
                    onclick={move |_| order.emit(Order::Start)}>{ "Run again" }</button>
            </div>
        };
    }
    match run.link {
        Link::Offline | Link::Outdated => html! {
            <div class="notice trouble">
                <strong>{ if run.link == Link::Offline { "Offline" } else { "Outdated" } }</strong>
                <p>{ format!("{}.", run.link.meaning()) }</p>
            </div>
        },
        _ => match model.and_then(|model| Some((model.stopped()?, model.verdict().is_none()))) {
            Some((reason, true)) => html! {
                <div class="notice"><p>{ format!("The run was ended early: {reason}.") }</p></div>
            },
            _ => Html::default(),
        },
    }
}

/// What stands in the place of the picture while a run has none.
pub(crate) fn waiting(run: &Run) -> Html {
    if let Some(why) = &run.trouble {
        return html! {
            <div class="empty">
                <div class="notice trouble">{ trouble(why) }</div>
                <p>
                    { "A server keeps its recent runs for as long as it runs, and with --data beyond that. " }
                    <a href="/">{ "Choose an experiment" }</a>{ " and run it again." }
                </p>
            </div>
        };
    }
    let text = match (run.link, run.state()) {
        // The notice above says what is the matter.
        (Link::Offline | Link::Outdated, _) => String::new(),
        (_, Some(RunState::Queued)) => {
            let before = run.info.as_ref().map_or(0, |info| info.queue_position);
            match before {
                0 => "Next in the queue: the run starts as soon as the one before it is done."
                    .to_owned(),
                1 => "Waiting for its turn: 1 run is before this one.".to_owned(),
                _ => format!("Waiting for its turn: {before} runs are before this one."),
            }
        }
        (_, Some(RunState::Running)) => "Setting up the hosts \u{2026}".to_owned(),
        (_, Some(RunState::Failed)) => String::new(),
        (_, Some(_)) => "The run ended before its hosts were up.".to_owned(),
        (_, None) => "Asking the server for the run \u{2026}".to_owned(),
    };
    html! { <div class="empty"><p class="large" role="status">{ text }</p></div> }
}

/// What stands in the place of the picture before there is a run: the question, and the key to
/// the marks.
pub(crate) fn invitation(question: &str, unavailable: Option<&str>) -> Html {
    const WIDTH: f64 = 560.0;
    let scene = sample::scene(WIDTH);
    html! {
        <div class="empty">
            <p class="large question">{ question.to_owned() }</p>
            if let Some(reason) = unavailable {
                <div class="notice">
                    <strong>{ "Not on this machine" }</strong>
                    <p>{ reason.to_owned() }</p>
                </div>
            } else {
                <p class="hint">
                    { "Press Run. Real packets of two kernels are drawn here while they travel: \
                       time runs downwards, and each arrow leaves and arrives when its packet did." }
                </p>
            }
            <figure class="legend">
                <svg viewBox={format!("0 0 {WIDTH} {}", sample::HEIGHT)} role="img"
                    aria-label={legend_in_words()}>
                    { paint::still(&scene) }
                </svg>
                <figcaption>{ "The key to the marks. Nothing here was measured." }</figcaption>
            </figure>
        </div>
    }
}

fn legend_in_words() -> String {
    let arrows = sample::scene(1.0).arrows.len() as u64;
    format!(
        "The key to the diagram's marks: {} for bare acknowledgments, data, probes, losses, \
         retransmissions, FIN, RST and packets on their way; bands for TCP states; a torn lifeline \
         for idle time that is cut out; a dashed rule for a predicted moment and a solid one for a \
         measured moment.",
        counted(arrows, "arrow")
    )
}

/// What stands in the place of the picture at an address that means nothing.
pub(crate) fn nowhere(path: &str) -> Html {
    html! {
        <div class="empty">
            <p class="large">{ "There is nothing here" }</p>
            <p>
                <code>{ path.to_owned() }</code>{ " is no address of this page. " }
                <a href="/">{ "Go to the experiments" }</a>{ "." }
            </p>
        </div>
    }
}

/// A refusal that the user has not put away yet.
pub(crate) fn refusal(why: &Trouble, dismiss: Callback<MouseEvent>) -> Html {
    html! {
        <div class="notice trouble" role="alert">
            { trouble(why) }
            <button type="button" onclick={dismiss}>{ "Put away" }</button>
        </div>
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::{
        panels::tests::render,
        state::{samples, stream::Report},
    };

    fn run(state: RunState) -> Run {
        let mut run = Run::new("r1");
        run.take(Report::Run {
            info: Box::new(samples::info(state)),
            page_ms: 0.0,
        });
        run
    }

    #[tokio::test]
    async fn a_failure_of_the_laboratory_is_no_result() {
        let html = html! {
            <RunNotice run={run(RunState::Failed)} order={Callback::noop()} can_start={true} />
        };
        let text = render(html).await;
        assert!(text.contains("The laboratory failed"));
        assert!(text.contains("nothing may be concluded"));
        assert!(text.contains("<code>r1</code>") && text.contains("Run again"));
    }

    #[tokio::test]
    async fn a_queued_run_tells_its_place() {
        let text = render(waiting(&run(RunState::Queued))).await;
        assert!(text.contains("2 runs are before this one"), "{text}");
    }

    #[tokio::test]
    async fn a_finished_run_needs_no_notice() {
        let html = html! {
            <RunNotice run={run(RunState::Finished)} order={Callback::noop()} can_start={true} />
        };
        assert_eq!(render(html).await, "");
    }

    #[tokio::test]
    async fn an_unavailable_experiment_says_why() {
        let text = render(invitation("Why?", Some("needs /dev/net/tun"))).await;
        assert!(text.contains("Not on this machine") && text.contains("needs /dev/net/tun"));
        assert!(!text.contains("Press Run"));
    }
}
