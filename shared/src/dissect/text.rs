//! Bytes of a peer as text that is safe in a terminal, a page and a log.

use std::fmt::Write as _;

/// At most `limit` bytes of text: printable ASCII as it is, everything else as `\x1b`. Ends with
/// `…` where something was left out.
pub(super) fn ascii(bytes: &[u8], limit: usize) -> String {
    let mut text = String::new();
    for (at, &byte) in bytes.iter().enumerate() {
        let before = text.len();
        match byte {
            b' '..=b'~' => text.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(text, "\\x{byte:02x}")),
        }
        if text.len() > limit || (text.len() == limit && at + 1 < bytes.len()) {
            text.truncate(before);
            text.push('…');
            break;
        }
    }
    text
}

/// Text in UTF-8 of which at most `limit` characters are kept; control characters (and what
/// changes the direction of writing) are written as `\u{1b}`, bytes that are no UTF-8 as `�`.
pub(super) fn utf8(bytes: &[u8], limit: usize) -> String {
    // Four bytes make at most one character, so nothing that would be kept is cut away here.
    let cut = &bytes[..bytes.len().min(limit.saturating_mul(4).saturating_add(4))];
    let mut text = String::new();
    // Most text is plain, and then it is taken as it is.
    let start = &cut[..cut.len().min(limit)];
    if let Ok(plain) = std::str::from_utf8(start)
        && plain.bytes().all(|byte| matches!(byte, b' '..=b'~'))
    {
        text.push_str(plain);
        if bytes.len() > limit {
            text.push('…');
        }
        return text;
    }
    for (count, character) in String::from_utf8_lossy(cut).chars().enumerate() {
        if count == limit {
            text.push('…');
            break;
        }
        let hidden = character.is_control()
            || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if hidden {
            text.extend(character.escape_unicode());
        } else {
            text.push(character);
        }
    }
    text
}

/// At most `limit` bytes as hexadecimal digits, with `…` where more follow.
pub(super) fn hex(bytes: &[u8], limit: usize) -> String {
    let mut text = String::with_capacity(bytes.len().min(limit) * 2);
    for byte in bytes.iter().take(limit) {
        let _ = write!(text, "{byte:02x}");
    }
    if bytes.len() > limit {
        text.push('…');
    }
    text
}

/// Names joined by `, `.
pub(super) fn list(items: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut text = String::new();
    for item in items {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(item.as_ref());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_text_is_cut_and_escaped() {
        assert_eq!(ascii(b"abc", 3), "abc");
        assert_eq!(ascii(b"abcd", 3), "ab…");
        assert_eq!(ascii(b"a\n\xff", 20), "a\\x0a\\xff");
        assert_eq!(ascii(b"ab\n", 4), "ab…");
    }

    #[test]
    fn utf8_text_is_cut_and_its_control_characters_are_escaped() {
        assert_eq!(utf8("grüße".as_bytes(), 10), "grüße");
        assert_eq!(utf8(b"plain", 5), "plain");
        assert_eq!(utf8(b"plain", 4), "plai…");
        assert_eq!(utf8("plainü".as_bytes(), 5), "plain…");
        assert_eq!(utf8("grüße".as_bytes(), 3), "grü…");
        assert_eq!(utf8(b"a\x1b[2J\xff", 10), "a\\u{1b}[2J\u{fffd}");
        assert_eq!(utf8("\u{202e}x".as_bytes(), 10), "\\u{202e}x");
    }

    #[test]
    fn hexadecimal_digits_say_when_more_follow() {
        assert_eq!(hex(&[1, 0xab], 2), "01ab");
        assert_eq!(hex(&[1, 0xab], 1), "01…");
    }

    #[test]
    fn lists_are_joined() {
        assert_eq!(list(["a", "b"]), "a, b");
        assert_eq!(list([""; 0]), "");
    }
}
