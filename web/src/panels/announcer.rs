//! Tells screen readers what is new: politely, the newest thing only, at most once in two seconds.

use std::cell::Cell;

use gloo_timers::callback::Timeout;
use yew::prelude::*;

use crate::{services::page, state::announce::hold_ms};

/// What the announcer is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// What is new.
    pub(crate) news: Option<AttrValue>,
}

/// The announcer. See the module.
#[component]
pub(crate) fn Announcer(props: &Props) -> Html {
    let spoken = use_state_eq(AttrValue::default);
    let last_ms = use_memo((), |()| Cell::new(None::<f64>));
    {
        let spoken = spoken.clone();
        use_effect_with(props.news.clone(), move |news| {
            // News that is overtaken before its time has come is dropped with its timer.
            let timer = news.clone().map(|news| {
                let wait = hold_ms(last_ms.get(), page::now_ms());
                Timeout::new(wait, move || {
                    last_ms.set(Some(page::now_ms()));
                    spoken.set(news);
                })
            });
            move || drop(timer)
        });
    }
    html! { <p class="sr-only" role="status" aria-live="polite">{ (*spoken).clone() }</p> }
}
