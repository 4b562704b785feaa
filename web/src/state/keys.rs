//! The keyboard: which key means what, and when a key means nothing.

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Hold the picture still, or let it go on. Never the run.
    Pause,
    /// Select the next packet.
    NextPacket,
    /// Select the packet before.
    PreviousPacket,
    /// Go to the next chapter.
    NextChapter,
    /// Go to the chapter before.
    PreviousChapter,
    /// The whole run in the window.
    Fit,
    /// Follow the newest event.
    GoLive,
    /// Larger.
    ZoomIn,
    /// Smaller.
    ZoomOut,
    /// Show the list of keys.
    Help,
    /// Close what is open, or let the selection go.
    Escape,
}

/// A key with its command and its meaning, for the list of keys.
pub const KEYS: [(&str, Command, &str); 11] = [
    (
        "Space",
        Command::Pause,
        "pause or resume the view, never the run",
    ),
    (",", Command::PreviousPacket, "select the packet before"),
    (".", Command::NextPacket, "select the next packet"),
    ("[", Command::PreviousChapter, "go to the chapter before"),
    ("]", Command::NextChapter, "go to the next chapter"),
    ("F", Command::Fit, "fit the whole run into the window"),
    ("G", Command::GoLive, "go live: follow the newest event"),
    ("+", Command::ZoomIn, "zoom in"),
    ("-", Command::ZoomOut, "zoom out"),
    ("?", Command::Help, "show this list"),
    (
        "Esc",
        Command::Escape,
        "close a dialog, or clear the selection",
    ),
];

/// What has the keyboard's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// A field in which one types.
    Typing,
    /// A button or a link, which Space or Enter presses.
    Control,
    /// Anything else.
    Elsewhere,
}

/// A key stroke, as the browser tells it.
#[derive(Debug, Clone, Copy)]
pub struct Stroke<'a> {
    /// The browser's name for the key, such as `g` or `Escape`.
    pub key: &'a str,
    /// Whether Control, Alt or the command key is held: then it belongs to the browser.
    pub modified: bool,
    /// What has the focus.
    pub focus: Focus,
}

/// What a stroke asks for; `None` where it is not the page's business.
///
/// `enabled` is the user's choice about single-key shortcuts (WCAG 2.2, success criterion 2.1.4);
/// Escape is none of them.
pub fn command(stroke: Stroke<'_>, enabled: bool) -> Option<Command> {
    if stroke.modified {
        return None;
    }
    if stroke.key == "Escape" {
        return Some(Command::Escape);
    }
    if !enabled || stroke.focus == Focus::Typing {
        return None;
    }
    match stroke.key {
        " " if stroke.focus == Focus::Control => None,
        " " => Some(Command::Pause),
        "," => Some(Command::PreviousPacket),
        "." => Some(Command::NextPacket),
        "[" => Some(Command::PreviousChapter),
        "]" => Some(Command::NextChapter),
        "f" | "F" => Some(Command::Fit),
        "g" | "G" => Some(Command::GoLive),
        "+" | "=" => Some(Command::ZoomIn),
        "-" | "_" => Some(Command::ZoomOut),
        "?" => Some(Command::Help),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stroke(key: &str) -> Stroke<'_> {
        Stroke {
            key,
            modified: false,
            focus: Focus::Elsewhere,
        }
    }

    #[test]
    fn every_listed_key_does_what_the_list_says() {
        for (name, expected, _) in KEYS {
            let key = match name {
                "Space" => " ",
                "Esc" => "Escape",
                other => other,
            };
            assert_eq!(command(stroke(key), true), Some(expected), "{name}");
        }
    }

    #[test]
    fn typing_is_left_alone_but_escape_still_closes() {
        for key in [" ", "g", "?", "."] {
            let typing = Stroke {
                focus: Focus::Typing,
                ..stroke(key)
            };
            assert_eq!(command(typing, true), None, "{key}");
        }
        let escape = Stroke {
            focus: Focus::Typing,
            ..stroke("Escape")
        };
        assert_eq!(command(escape, true), Some(Command::Escape));
    }

    #[test]
    fn space_on_a_button_presses_the_button() {
        let on_button = Stroke {
            focus: Focus::Control,
            ..stroke(" ")
        };
        assert_eq!(command(on_button, true), None);
    }

    #[test]
    fn the_browsers_own_shortcuts_stay_its_own() {
        let find = Stroke {
            modified: true,
            ..stroke("f")
        };
        assert_eq!(command(find, true), None);
    }

    #[test]
    fn shortcuts_can_be_switched_off() {
        assert_eq!(command(stroke("g"), false), None);
        assert_eq!(command(stroke("Escape"), false), Some(Command::Escape));
    }
}
