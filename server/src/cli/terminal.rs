//! How wide the output may be, and text that fits into it.

use std::{
    env,
    io::{self, IsTerminal},
};

use terminal_size::{Width, terminal_size_of};

/// Columns where nothing tells: enough for a diagram of two hosts.
const DEFAULT: usize = 100;

/// Columns of the output: what `COLUMNS` says, or the terminal.
pub(super) fn columns() -> usize {
    let told = env::var("COLUMNS")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let measured = || terminal_size_of(std::io::stdout()).map(|(Width(width), _)| width.into());
    told.filter(|&columns| columns > 0)
        .or_else(measured)
        .unwrap_or(DEFAULT)
}

/// Text for standard error that steps back, where that is a terminal which can show it so.
pub(super) fn dim(text: &str) -> String {
    if io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none() {
        format!("\x1b[2m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Breaks text between words into lines of at most `columns` characters, each after `indent`. A
/// word that is too long has a line of its own.
pub(super) fn wrap(text: &str, columns: usize, indent: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{indent}{word}")),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrap("one two three", 9, ""), "one two\nthree");
        assert_eq!(wrap("one two three", 9, "  "), "  one two\n  three");
        assert_eq!(wrap("one\n two", 80, ""), "one two");
        assert_eq!(wrap("incomprehensible", 5, " "), " incomprehensible");
        assert_eq!(wrap("", 5, " "), "");
    }
}
