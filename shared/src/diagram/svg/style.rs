//! The document's style sheet, with the colours of the page's light theme.
//!
//! The page's own sheet uses variables and mixes, which programs other than browsers do not know; so
//! the tokens are read here, and what is mixed there is mixed here the same way.

use std::fmt::Write as _;

/// Every colour of the page, by name.
const TOKENS: &str = include_str!("../../../../static/css/tokens.css");

/// The fonts that most machines have one of.
const SANS: &str = "\"Helvetica Neue\",Helvetica,Arial,\"Liberation Sans\",\"Noto Sans\",\
                    \"DejaVu Sans\",sans-serif";
const MONO: &str = "\"DejaVu Sans Mono\",\"Liberation Mono\",Menlo,Consolas,monospace";

/// The tallest sheet that PDF knows, in CSS pixels (14,400 points).
const TALLEST_PX: f64 = 19_200.0;

/// A colour of the light theme; black where there is none of that name, which a test forbids.
pub(super) fn token(name: &str) -> String {
    find(name).unwrap_or_else(|| "#000000".to_owned())
}

fn find(name: &str) -> Option<String> {
    let (_, rest) = TOKENS.split_once(&format!("--{name}:"))?;
    let (value, _) = rest.split_once(';')?;
    let value = value.trim();
    let light = value
        .strip_prefix("light-dark(")
        .and_then(|both| both.split(',').next())
        .unwrap_or(value);
    Some(light.trim().to_owned())
}

/// As CSS mixes two colours in sRGB, `share` of the first.
fn mix(first: &str, share: f64, second: &str) -> String {
    let channel = |colour: &str, at: usize| {
        let digits = colour.get(at..at + 2).unwrap_or("00");
        f64::from(u8::from_str_radix(digits, 16).unwrap_or(0))
    };
    let mut mixed = "#".to_owned();
    for at in [1, 3, 5] {
        let value = channel(first, at) * share + channel(second, at) * (1.0 - share);
        // Writing to a String cannot fail.
        let _ = write!(mixed, "{:02x}", value.round() as u8);
    }
    mixed
}

/// The sheet of a document of this size, in pixels.
pub(super) fn sheet(width: f64, height: f64) -> String {
    let (ink, ink2, surface) = (token("ink"), token("ink-2"), token("surface"));
    let (line, strong) = (token("line"), token("line-strong"));
    let (timers, loss) = (token("timers"), token("loss"));
    let tcp = token("tcp");
    let mut sheet = format!(
        "text{{font:12px {SANS};fill:{ink};white-space:pre}}\
         .paper{{fill:{surface}}}\
         .heading{{font-size:21px;font-weight:700}}\
         .small{{fill:{ink2}}}\
         .outcome{{font-size:14px;font-weight:600}}\
         .bar{{fill:{timers}}}.failed .bar{{fill:{loss}}}\
         .lane{{font-size:14px;font-weight:600;text-anchor:middle}}\
         .address{{font:11px {MONO};fill:{ink2};text-anchor:middle}}\
         .edge{{stroke:{line};stroke-width:1}}\
         .halo text{{paint-order:stroke;stroke:{surface};stroke-width:3.5px;stroke-linejoin:round}}\
         .ticks line{{stroke:{line}}}.ticks text{{fill:{ink2};font-size:11px;text-anchor:end}}\
         .chapters line{{stroke:{strong}}}.titles text{{fill:{ink2};font-weight:600}}\
         .lifelines path{{fill:none;stroke:{strong};stroke-width:1.5}}\
         .band rect{{fill:{};stroke:{tcp};stroke-width:.75}}\
         .band.established rect{{fill:{}}}\
         .band.time-wait rect{{fill:{};stroke:{timers}}}\
         .band.close-wait rect{{fill:{};stroke:{loss}}}\
         .band text{{font-size:8.5px;font-weight:600;letter-spacing:.05em;text-anchor:middle;\
         stroke:none}}\
         .tear rect{{fill:{}}}.tear text{{fill:{ink2};text-anchor:middle}}\
         .rule line{{stroke:{timers};stroke-width:1.75}}\
         .rule.predicted line{{stroke-width:1.25;stroke-dasharray:7 5}}\
         .rule text{{fill:{};text-anchor:end}}.name{{font-weight:600}}\
         .arrow line{{stroke-width:1.25}}.arrow.thick line{{stroke-width:2.25}}\
         .arrow.dashed line{{stroke-dasharray:7 4}}\
         .head{{fill:none;stroke-width:1.75;stroke-linejoin:round}}\
         .head.filled{{stroke-width:.75}}.head.hollow{{fill:{surface};stroke-width:1.5}}\
         .label{{text-anchor:middle}}\
         .note circle{{fill:{ink};stroke:{surface};stroke-width:1.5}}\
         .note path{{fill:none;stroke:{strong};stroke-width:.75}}\
         .note.wire text{{fill:{ink2};font-style:italic}}\
         .note.error text{{fill:{}}}.note.error circle{{fill:{loss}}}",
        mix(&tcp, 0.34, &surface),
        mix(&tcp, 0.13, &surface),
        mix(&timers, 0.26, &surface),
        mix(&loss, 0.22, &surface),
        mix(&token("surface-2"), 0.7, &surface),
        token("timers-text"),
        token("loss-text"),
    );
    for layer in ["tcp", "tls", "http", "websocket"] {
        let (stroke, text) = (token(layer), token(&format!("{layer}-text")));
        let _ = write!(
            sheet,
            ".{layer} line,.{layer} .head{{stroke:{stroke}}}.{layer} .head.filled{{fill:{stroke}}}\
             .{layer} text{{fill:{text}}}"
        );
    }
    // After the layers, so that a loss is told from its layer.
    let _ = write!(
        sheet,
        ".arrow.lost .head{{stroke:{loss};stroke-width:2.25}}.arrow .reason{{fill:{}}}\
         .arrow .head.hollow{{fill:{surface}}}",
        token("loss-text")
    );
    // A sheet of the document's own size: a diagram has no place where it may be broken.
    if height <= TALLEST_PX {
        let _ = write!(sheet, "@page{{size:{width}px {height}px;margin:0}}");
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_of_the_page_are_found() {
        for name in [
            "surface",
            "surface-2",
            "ink",
            "ink-2",
            "line",
            "line-strong",
            "tcp",
            "tls",
            "http",
            "websocket",
            "timers",
            "loss",
            "tcp-text",
            "tls-text",
            "http-text",
            "websocket-text",
            "timers-text",
            "loss-text",
        ] {
            let colour = find(name).unwrap_or_else(|| panic!("--{name} is not there"));
            assert!(
                colour.len() == 7 && colour.starts_with('#'),
                "--{name}: {colour}"
            );
        }
        assert_eq!(token("surface"), "#ffffff");
    }

    #[test]
    fn colours_mix_as_css_mixes_them() {
        assert_eq!(mix("#000000", 0.5, "#ffffff"), "#808080");
        assert_eq!(mix("#5b6470", 1.0, "#ffffff"), "#5b6470");
    }

    #[test]
    fn the_sheet_needs_nothing_that_only_browsers_know() {
        let sheet = sheet(1_000.0, 800.0);
        for word in ["var(", "color-mix", "light-dark", "url(", "@import"] {
            assert!(!sheet.contains(word), "{word}");
        }
        assert!(sheet.contains("@page{size:1000px 800px"));
        assert!(!super::sheet(1_000.0, 20_000.0).contains("@page"));
    }
}
