//! One tab of a browser: goes places, presses and types, evaluates, waits, takes pictures.
//!
//! Whatever the page reports as an error (an exception that nobody caught, an error on the console,
//! a resource that failed to load, a violated content security policy) fails the test, at the
//! latest when the page is dropped.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{Scratch, devtools::Connection};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(30);

/// The size of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewport {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
}

#[derive(Debug, Default)]
struct Problems {
    found: Vec<String>,
    tolerated: Vec<&'static str>,
}

/// A tab.
#[derive(Debug)]
pub struct Page {
    connection: Connection,
    session: String,
    problems: Arc<Mutex<Problems>>,
}

impl Page {
    pub(crate) async fn attach(connection: Connection, session: String) -> Result<Self> {
        let problems = Arc::new(Mutex::new(Problems::default()));
        let collected = Arc::clone(&problems);
        connection.listen(
            &session,
            Box::new(move |method, params| {
                if let Some(problem) = problem(method, params) {
                    let mut problems = collected.lock().unwrap_or_else(PoisonError::into_inner);
                    if !problems
                        .tolerated
                        .iter()
                        .any(|known| problem.contains(known))
                    {
                        problems.found.push(problem);
                    }
                }
            }),
        );
        let page = Self {
            connection,
            session,
            problems,
        };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({})).await?;
        }
        page.resize(Viewport {
            width: 1280,
            height: 800,
        })
        .await?;
        Ok(page)
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value> {
        self.connection
            .call(Some(&self.session), method, params)
            .await
    }

    /// Errors that contain this text are expected from now on, such as those of a connection that
    /// the test itself cuts.
    pub fn tolerate(&self, text: &'static str) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.tolerated.push(text);
    }

    /// Goes to an address.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub async fn goto(&self, url: &str) -> Result<()> {
        let answer = self.call("Page.navigate", json!({"url": url})).await?;
        match answer["errorText"].as_str() {
            Some(error) => bail!("{url} cannot be loaded: {error}"),
            None => Ok(()),
        }
    }

    /// Loads the page again.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn reload(&self) -> Result<()> {
        self.call("Page.reload", json!({})).await.map(drop)
    }

    /// Sets the window's size.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn resize(&self, viewport: Viewport) -> Result<()> {
        let Viewport { width, height } = viewport;
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        )
        .await
        .map(drop)
    }

    /// Lets the page believe that the user prefers something: names and values of media features,
    /// such as `prefers-color-scheme` and `dark`. What was said before is forgotten.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn prefer(&self, features: &[(&str, &str)]) -> Result<()> {
        let features: Vec<Value> = features
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        self.call("Emulation.setEmulatedMedia", json!({"features": features}))
            .await
            .map(drop)
    }

    /// Moves the mouse to the window's corner, off whatever it was on.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn put_mouse_away(&self) -> Result<()> {
        let place = json!({"type": "mouseMoved", "x": 0, "y": 0});
        self.call("Input.dispatchMouseEvent", place).await.map(drop)
    }

    /// Evaluates an expression, waits for it where it is a promise, and gives its value as JSON.
    ///
    /// # Errors
    /// When it throws, or the page is being replaced.
    pub async fn evaluate(&self, expression: &str) -> Result<Value> {
        let answer = self
            .call(
                "Runtime.evaluate",
                json!({"expression": expression, "awaitPromise": true, "returnByValue": true}),
            )
            .await?;
        if let Some(exception) = answer.get("exceptionDetails") {
            bail!("{expression}\nthrew {}", thrown(exception));
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Evaluates an expression until its value is true in the sense of JavaScript, and gives that.
    ///
    /// # Errors
    /// When it is still not after `patience`: tells the last value, or the last error.
    pub async fn wait_for(&self, patience: Duration, expression: &str) -> Result<Value> {
        let deadline = Instant::now() + patience;
        loop {
            let last = self.evaluate(expression).await;
            if let Ok(value) = &last
                && is_truthy(value)
            {
                return last;
            }
            if Instant::now() > deadline {
                let text = self
                    .evaluate("document.body.innerText")
                    .await
                    .unwrap_or_default();
                bail!(
                    "after {patience:?} there is still no\n{expression}\nbut {last:?}\n\
                     The page reads:\n{}",
                    text.as_str().unwrap_or_default()
                );
            }
            sleep(INTERVAL).await;
        }
    }

    /// Presses the primary button of the mouse on the element that an expression gives.
    ///
    /// # Errors
    /// When there is no such element, or another one covers it.
    pub async fn click(&self, element: &str) -> Result<()> {
        let place = self
            .evaluate(&format!(
                "(() => {{
                    const element = {element};
                    if (!element) return 'there is no such element';
                    element.scrollIntoView({{block: 'nearest', inline: 'nearest'}});
                    const box = element.getBoundingClientRect();
                    const x = box.x + box.width / 2, y = box.y + box.height / 2;
                    const top = document.elementFromPoint(x, y);
                    if (!top || !(element.contains(top) || top.contains(element)))
                        return 'it is covered by ' + (top ? top.outerHTML.slice(0, 200) : 'nothing');
                    return [x, y];
                }})()"
            ))
            .await?;
        let (Some(x), Some(y)) = (place[0].as_f64(), place[1].as_f64()) else {
            bail!("{element} cannot be clicked: {place}");
        };
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let button = if kind == "mouseMoved" { "none" } else { "left" };
            self.call(
                "Input.dispatchMouseEvent",
                json!({"type": kind, "x": x, "y": y, "button": button, "clickCount": 1}),
            )
            .await?;
        }
        Ok(())
    }

    /// Clicks on an element that makes the browser save a file, and gives the file's name and content.
    ///
    /// # Errors
    /// As [`click`](Self::click), and when no file was saved after `patience`.
    pub async fn download(&self, patience: Duration, element: &str) -> Result<(String, Vec<u8>)> {
        let folder = Scratch::new("download")?;
        let allowed = json!({"behavior": "allow", "downloadPath": folder.0});
        self.connection
            .call(None, "Browser.setDownloadBehavior", allowed)
            .await?;
        self.click(element).await?;
        let deadline = Instant::now() + patience;
        loop {
            // The browser gives a file its name when all of it is there.
            for entry in std::fs::read_dir(&folder.0)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if !name.starts_with('.') && !name.ends_with(".crdownload") {
                    return Ok((name, std::fs::read(entry.path())?));
                }
            }
            if Instant::now() > deadline {
                bail!("after {patience:?} {element} has made the browser save nothing");
            }
            sleep(INTERVAL).await;
        }
    }

    /// Presses and releases a key: a character, or a name such as `Tab`, `Enter`, `Escape`.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn press(&self, key: &str) -> Result<()> {
        let text = match key {
            "Enter" => "\r",
            other if other.chars().count() == 1 => other,
            _ => "",
        };
        let code: u32 = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            _ => key
                .chars()
                .next()
                .map_or(0, |c| c.to_ascii_uppercase().into()),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// Types text into what has the focus.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn type_text(&self, text: &str) -> Result<()> {
        self.call("Input.insertText", json!({"text": text}))
            .await
            .map(drop)
    }

    /// Writes what the window shows as a PNG.
    ///
    /// # Errors
    /// When the browser does not answer or the file cannot be written.
    pub async fn screenshot(&self, path: &Path) -> Result<()> {
        let picture = self
            .call("Page.captureScreenshot", json!({"format": "png"}))
            .await?;
        let picture = picture["data"].as_str().context("no picture")?;
        let picture = base64::engine::general_purpose::STANDARD.decode(picture)?;
        std::fs::write(path, picture).with_context(|| format!("write {}", path.display()))
    }

    /// Fails where the page reported an error; what was reported is then forgotten.
    ///
    /// # Errors
    /// Lists the errors.
    pub fn check(&self) -> Result<()> {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        let found = std::mem::take(&mut problems.found);
        if found.is_empty() {
            return Ok(());
        }
        bail!("the page reported errors:\n{}", found.join("\n"))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Err(error) = self.check() {
            if std::thread::panicking() {
                eprintln!("{error}");
            } else {
                panic!("{error}");
            }
        }
    }
}

/// What an event reports as an error.
fn problem(method: &str, params: &Value) -> Option<String> {
    match method {
        "Runtime.exceptionThrown" => Some(thrown(&params["exceptionDetails"])),
        "Runtime.consoleAPICalled" if params["type"] == "error" || params["type"] == "assert" => {
            let words: Vec<String> = params["args"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|argument| match argument["value"].as_str() {
                    Some(text) => text.to_owned(),
                    None => argument["description"].as_str().unwrap_or("?").to_owned(),
                })
                .collect();
            Some(format!("console: {}", words.join(" ")))
        }
        "Log.entryAdded" if params["entry"]["level"] == "error" => {
            let entry = &params["entry"];
            let text = entry["text"].as_str().unwrap_or("?");
            Some(format!(
                "log: {text} ({})",
                entry["url"].as_str().unwrap_or("")
            ))
        }
        _ => None,
    }
}

fn thrown(details: &Value) -> String {
    let exception = &details["exception"];
    exception["description"]
        .as_str()
        .or(exception["value"].as_str())
        .or(details["text"].as_str())
        .unwrap_or("something")
        .to_owned()
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}
