//! The small pages that need no script: the join form, a problem in words, nothing here.
//!
//! They are written by the server and styled by one file that it carries itself, with the tokens of
//! the large page, so that they work in a server without a front-end, and before a visitor is let
//! in.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::kinds::Kind;

/// Where their style is.
pub(super) const STYLE_PATH: &str = "/plain.css";

/// The tokens of the large page, and what the small pages do with them.
const STYLE: &str = concat!(
    include_str!("../../../static/css/tokens.css"),
    include_str!("../../../static/css/plain.css")
);

/// The icon that browsers ask for on their own.
const ICON: &str = include_str!("../../../static/icons/favicon.svg");

/// The style of the small pages.
pub(super) async fn style() -> Response {
    kept("text/css; charset=utf-8", STYLE)
}

/// The icon.
pub(super) async fn icon() -> Response {
    kept("image/svg+xml", ICON)
}

fn kept(media_type: &'static str, body: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, "max-age=3600"),
    ];
    (headers, body).into_response()
}

/// Whether whoever asks would rather have a page than a document: a browser that goes somewhere.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| {
            let kind = item.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("text/html")
        })
}

/// What the join page has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JoinNote {
    /// Nothing yet.
    Welcome,
    /// The code was wrong.
    Wrong,
    /// Too many codes were wrong.
    Wait {
        /// When the next one may be tried, in seconds.
        seconds: u64,
    },
}

/// Asks for the join code; goes on to `to`, a path of this server.
pub(super) fn join(status: StatusCode, note: JoinNote, to: &str) -> Response {
    let alert = match note {
        JoinNote::Welcome => String::new(),
        JoinNote::Wrong => "<p class=\"alert\" id=\"note\" role=\"alert\">That is not the code of \
            this server. Compare it with the one that you were given.</p>"
            .to_owned(),
        JoinNote::Wait { seconds } => format!(
            "<p class=\"alert\" id=\"note\" role=\"alert\">Too many wrong codes came from your \
             address. The next one can be tried in {seconds} second{}.</p>",
            if seconds == 1 { "" } else { "s" }
        ),
    };
    let (invalid, title) = match note {
        JoinNote::Welcome => ("", "Join"),
        _ => (" aria-invalid=\"true\"", "Not joined"),
    };
    let body = format!(
        "<h1>Join this laboratory</h1>\
         <p>Linger runs experiments on long-lived connections and draws every packet. This server \
         is open to a network, so it asks each visitor for the code that its owner has shared.</p>\
         {alert}\
         <form method=\"post\" action=\"/join\">\
         <input type=\"hidden\" name=\"to\" value=\"{}\">\
         <label for=\"code\">Join code</label>\
         <input id=\"code\" name=\"code\" type=\"text\" required autofocus maxlength=\"80\" \
         autocomplete=\"off\" autocapitalize=\"characters\" spellcheck=\"false\" \
         aria-describedby=\"hint{}\"{invalid}>\
         <p class=\"hint\" id=\"hint\">Such as K7WD-2MXQ. Capitals and the hyphen do not matter.</p>\
         <button type=\"submit\">Join</button>\
         </form>",
        escaped(to),
        if alert.is_empty() { "" } else { " note" },
    );
    document(status, title, "", &body)
}

/// Asks for a page once more, from a page of our own.
pub(super) fn once_more(to: &str) -> Response {
    let to = escaped(to);
    let refresh = format!("<meta http-equiv=\"refresh\" content=\"0; url={to}\">");
    let body = format!("<p>Opening <a href=\"{to}\">the page</a> &hellip;</p>");
    document(StatusCode::OK, "Opening", &refresh, &body)
}

/// There is nothing at this address.
pub(super) fn nothing_here(path: &str) -> Response {
    let body = format!(
        "<h1>Nothing is here</h1>\
         <p>This server has nothing at <code>{}</code>.</p>\
         <p><a href=\"/\">To the experiments</a></p>",
        escaped(path)
    );
    document(StatusCode::NOT_FOUND, "Nothing is here", "", &body)
}

/// What a kind of problem means.
pub(super) fn problem(kind: Kind) -> Response {
    let about = kind.about();
    let body = format!(
        "<h1>{}</h1>\
         <p class=\"hint\">Status {}, type <code>/problems/{}</code></p>\
         <p>{}</p>\
         <p><a href=\"/problems\">All kinds of problems</a></p>",
        escaped(about.title),
        about.status.as_u16(),
        about.name,
        escaped(about.meaning),
    );
    document(StatusCode::OK, about.title, "", &body)
}

/// Every kind of problem.
pub(super) fn problems() -> Response {
    let rows: String = Kind::ALL
        .iter()
        .map(|kind| {
            let about = kind.about();
            format!(
                "<tr><td>{}</td><td><a href=\"/problems/{}\">{}</a></td><td>{}</td></tr>",
                about.status.as_u16(),
                about.name,
                about.name,
                escaped(about.title)
            )
        })
        .collect();
    let body = format!(
        "<h1>Problems</h1>\
         <p>An error of the API is a problem document (RFC 9457). Its <code>type</code> is one of \
         these.</p>\
         <table><thead><tr><th scope=\"col\">Status</th><th scope=\"col\">Type</th>\
         <th scope=\"col\">What it says</th></tr></thead><tbody>{rows}</tbody></table>"
    );
    document(StatusCode::OK, "Problems", "", &body)
}

fn document(status: StatusCode, title: &str, head: &str, body: &str) -> Response {
    let text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{} - Linger</title>\n{head}\
         <link rel=\"icon\" href=\"/favicon.ico\" type=\"image/svg+xml\">\n\
         <link rel=\"stylesheet\" href=\"{STYLE_PATH}\">\n</head>\n\
         <body>\n<main>\n<p class=\"brand\">Linger</p>\n{body}\n</main>\n</body>\n</html>\n",
        escaped(title)
    );
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        // With `no-referrer` a browser would send the form with `Origin: null`.
        (header::REFERRER_POLICY, "same-origin"),
        (header::VARY, "accept, cookie"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Text as it stands in HTML, between tags and in quoted attributes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn nothing_that_a_visitor_wrote_becomes_markup() {
        let hostile = "/\"><script>alert('x')</script>&";
        for page in [
            join(StatusCode::UNAUTHORIZED, JoinNote::Welcome, hostile),
            once_more(hostile),
            nothing_here(hostile),
        ] {
            let text = text(page).await;
            assert!(!text.contains("<script"), "{text}");
            assert!(text.contains("&lt;script&gt;"), "{text}");
        }
    }

    #[tokio::test]
    async fn pages_bring_neither_scripts_nor_styles_of_their_own() {
        for page in [
            join(StatusCode::UNAUTHORIZED, JoinNote::Wrong, "/"),
            problem(Kind::NotFound),
            problems(),
        ] {
            let text = text(page).await;
            for inline in ["<script", "<style", " style=", " onclick=", " onload="] {
                assert!(!text.contains(inline), "{inline} in {text}");
            }
        }
    }

    #[tokio::test]
    async fn a_wrong_code_is_said_where_a_screen_reader_hears_it() {
        let text = text(join(StatusCode::UNAUTHORIZED, JoinNote::Wrong, "/r/1")).await;
        for part in [
            "role=\"alert\"",
            "aria-describedby=\"hint note\"",
            "aria-invalid=\"true\"",
            "<label for=\"code\">",
            "name=\"to\" value=\"/r/1\"",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn browsers_that_go_somewhere_want_a_page() {
        let wants = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            wants_html(&headers)
        };
        assert!(wants("text/html,application/xhtml+xml,*/*;q=0.8"));
        assert!(wants("application/json, Text/HTML;q=0.1"));
        assert!(!wants("*/*"));
        assert!(!wants("application/json"));
        assert!(!wants_html(&HeaderMap::new()));
    }
}
