//! Panels rendered to text, natively.

use yew::{LocalServerRenderer, prelude::*};

#[derive(Properties, PartialEq)]
struct Props {
    html: Html,
}

#[component]
fn Shell(props: &Props) -> Html {
    props.html.clone()
}

/// The markup of a piece of a page.
pub(crate) async fn render(html: Html) -> String {
    tokio::task::LocalSet::new()
        .run_until(
            LocalServerRenderer::<Shell>::with_props(Props { html })
                .hydratable(false)
                .render(),
        )
        .await
}
