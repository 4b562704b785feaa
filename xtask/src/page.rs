//! From `static/index.html`, as Trunk reads it, to the page that the server carries.
//!
//! Trunk's `<link data-trunk rel=...>` elements say what belongs to the page. [`compose`] replaces
//! each by what a browser needs and tells which files go along with it. Only the kinds that Linger
//! uses are known; any other is an error, so that nothing works under `trunk serve` and is missing
//! in the server. Pure functions; no file is read or written here.

use anyhow::{Context, Result, bail};

/// The module script that loads the front-end. A file of its own, because the server's content
/// security policy allows no inline script.
pub(crate) const START_SCRIPT: &str = "start.js";

/// A `<link data-trunk>` element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its `rel`: `rust`, `css`, `icon`, `copy-file` or `copy-dir`.
    pub(crate) rel: String,
    /// All attributes, in order; one without a value has an empty one.
    attributes: Vec<(String, String)>,
    /// Where the element begins in the page, in bytes.
    start: usize,
    /// Where it ends.
    end: usize,
}

impl Link {
    /// The value of an attribute.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn href(&self) -> Result<&str> {
        self.attribute("href")
            .filter(|href| !href.is_empty())
            .with_context(|| format!("a link with rel=\"{}\" has no href", self.rel))
    }

    /// The path below the page's root at which the linked file is served.
    fn served_at(&self) -> Result<String> {
        let href = self.href()?;
        let name = href
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or(href);
        Ok(match self.attribute("data-target-path") {
            Some(folder) if self.rel == "copy-dir" => folder.trim_matches('/').to_owned(),
            Some(folder) => format!("{}/{name}", folder.trim_matches('/')),
            None => name.to_owned(),
        })
    }
}

/// A file or folder that goes along with the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asset {
    /// Its path relative to the page's source.
    pub(crate) from: String,
    /// Its path below the root of the finished front-end.
    pub(crate) to: String,
}

/// The finished page and what goes along with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Composed {
    /// The page's text.
    pub(crate) html: String,
    /// What it needs beside the WebAssembly module and its script.
    pub(crate) assets: Vec<Asset>,
}

/// Replaces every `<link data-trunk>` by what a browser needs.
///
/// `module` is the name of the front-end's script and WebAssembly file, without their endings.
///
/// # Errors
/// Names the element that is malformed or of a kind that is not known here.
pub(crate) fn compose(source: &str, module: &str) -> Result<Composed> {
    let mut html = String::with_capacity(source.len() + 512);
    let mut assets = Vec::new();
    let mut copied = 0;
    for link in links(source)? {
        html.push_str(&source[copied..link.start]);
        copied = link.end;
        let mut element = String::new();
        if link.rel == "rust" {
            element = format!(
                "<link rel=\"modulepreload\" href=\"/{module}.js\">\
                 <link rel=\"preload\" href=\"/{module}_bg.wasm\" as=\"fetch\" \
                 type=\"application/wasm\" crossorigin>\
                 <script type=\"module\" src=\"/{START_SCRIPT}\"></script>"
            );
        } else {
            let to = link.served_at()?;
            match link.rel.as_str() {
                "css" => element = format!("<link rel=\"stylesheet\" href=\"/{to}\">"),
                "icon" => element = icon(&link, &to),
                "copy-file" | "copy-dir" => {}
                other => bail!(
                    "a link with rel=\"{other}\" is not known to xtask: \
                     use rust, css, icon, copy-file or copy-dir, or teach xtask/src/page.rs"
                ),
            }
            assets.push(Asset {
                from: link.href()?.to_owned(),
                to,
            });
        }
        html.push_str(&element);
    }
    html.push_str(&source[copied..]);
    Ok(Composed { html, assets })
}

/// An icon keeps the attributes that are not Trunk's own, such as its type and sizes.
fn icon(link: &Link, to: &str) -> String {
    let kept: String = link
        .attributes
        .iter()
        .filter(|(name, _)| name != "rel" && name != "href" && !name.starts_with("data-"))
        .map(|(name, value)| format!(" {name}=\"{value}\""))
        .collect();
    format!("<link rel=\"icon\" href=\"/{to}\"{kept}>")
}

/// The script that loads the front-end.
pub(crate) fn start_script(module: &str) -> String {
    format!(
        "import init from \"/{module}.js\";\nawait init({{ module_or_path: \"/{module}_bg.wasm\" }});\n"
    )
}

/// Every `<link data-trunk>` of a page, in order; what is commented out is left alone.
///
/// # Errors
/// Says which element has no end or no `rel`, or that a `<script data-trunk>` is there.
pub(crate) fn links(source: &str) -> Result<Vec<Link>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = source[at..].find('<') {
        let start = at + offset;
        let rest = &source[start..];
        if rest.starts_with("<!--") {
            let length = rest.find("-->").context("a comment has no end")?;
            at = start + length + 3;
            continue;
        }
        let name: String = rest[1..]
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        let name = name.to_ascii_lowercase();
        if name != "link" && name != "script" {
            at = start + 1;
            continue;
        }
        let (attributes, length) = attributes(&rest[1 + name.len()..])
            .with_context(|| format!("<{name} at byte {start} has no end"))?;
        let end = start + 1 + name.len() + length;
        at = end;
        if !attributes.iter().any(|(key, _)| key == "data-trunk") {
            continue;
        }
        if name == "script" {
            bail!("<script data-trunk> is not known to xtask: the front-end is written in Rust");
        }
        let rel = attributes
            .iter()
            .find(|(key, _)| key == "rel")
            .map(|(_, value)| value.clone())
            .with_context(|| format!("<link data-trunk> at byte {start} has no rel"))?;
        found.push(Link {
            rel,
            attributes,
            start,
            end,
        });
    }
    Ok(found)
}

/// Attributes up to the end of an element, and how many bytes they and the closing `>` take.
fn attributes(text: &str) -> Option<(Vec<(String, String)>, usize)> {
    let bytes = text.as_bytes();
    let mut attributes = Vec::new();
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            b'>' => return Some((attributes, at + 1)),
            b'/' => at += 1,
            byte if byte.is_ascii_whitespace() => at += 1,
            _ => {
                let name_end =
                    at + text[at..].find(|c: char| "=/>".contains(c) || c.is_whitespace())?;
                let name = text[at..name_end].to_ascii_lowercase();
                if name_end == at {
                    return None;
                }
                at = name_end;
                let mut value = String::new();
                if bytes.get(at) == Some(&b'=') {
                    at += 1;
                    let quote = *bytes.get(at)? as char;
                    let (begin, length) = if quote == '"' || quote == '\'' {
                        (at + 1, text[at + 1..].find(quote)?)
                    } else {
                        (
                            at,
                            text[at..].find(|c: char| c == '>' || c.is_whitespace())?,
                        )
                    };
                    value = text[begin..begin + length].to_owned();
                    at = begin + length + usize::from(begin > at);
                }
                attributes.push((name, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_link_becomes_what_a_browser_needs() {
        let composed = compose(
            "<head>\n\
             <link data-trunk rel=\"rust\" href=\"../web\" data-bin=\"linger-web\" />\n\
             <link data-trunk rel=\"css\" href=\"css/app.css\">\n\
             <link data-trunk rel='icon' href='icons/linger.svg' type=image/svg+xml>\n\
             <link data-trunk rel=\"copy-dir\" href=\"runs\" data-target-path=\"recorded\"/>\n\
             <link data-trunk rel=\"copy-file\" href=\"robots.txt\"/>\n\
             </head>",
            "linger-web",
        )
        .unwrap();
        assert_eq!(
            composed.html,
            "<head>\n\
             <link rel=\"modulepreload\" href=\"/linger-web.js\">\
             <link rel=\"preload\" href=\"/linger-web_bg.wasm\" as=\"fetch\" \
             type=\"application/wasm\" crossorigin>\
             <script type=\"module\" src=\"/start.js\"></script>\n\
             <link rel=\"stylesheet\" href=\"/app.css\">\n\
             <link rel=\"icon\" href=\"/linger.svg\" type=\"image/svg+xml\">\n\
             \n\
             \n\
             </head>"
        );
        let asset = |from: &str, to: &str| Asset {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        assert_eq!(
            composed.assets,
            [
                asset("css/app.css", "app.css"),
                asset("icons/linger.svg", "linger.svg"),
                asset("runs", "recorded"),
                asset("robots.txt", "robots.txt"),
            ]
        );
    }

    #[test]
    fn what_is_not_trunks_stays_as_it_is() {
        let page = "<!doctype html><link rel=\"canonical\" href=\"/\">\
                    <!-- <link data-trunk rel=\"css\" href=\"old.css\"> -->\
                    <script type=\"module\" src=\"/a.js\"></script><p>1 < 2</p>";
        let composed = compose(page, "m").unwrap();
        assert_eq!(composed.html, page);
        assert!(composed.assets.is_empty());
    }

    #[test]
    fn what_the_server_would_lack_is_an_error() {
        for (page, word) in [
            ("<link data-trunk rel=\"scss\" href=\"a.scss\">", "scss"),
            ("<link data-trunk href=\"a.css\">", "no rel"),
            ("<link data-trunk rel=\"css\">", "no href"),
            ("<link data-trunk rel=\"css\" href=\"a.css\"", "no end"),
            ("<script data-trunk src=\"a.js\"></script>", "script"),
            ("<!-- ", "comment"),
        ] {
            let error = compose(page, "m").unwrap_err().to_string();
            assert!(error.contains(word), "{page}: {error}");
        }
    }
}
