//! Text that comes from a run, as XML takes it.

use std::borrow::Cow;

/// Escapes a text for element content and attribute values alike. What XML 1.0 has no character for
/// (section 2.2) becomes U+FFFD.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    let plain = |c: char| !matches!(c, '&' | '<' | '>' | '"' | '\'') && is_xml(c);
    if text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if is_xml(c) => escaped.push(c),
            _ => escaped.push('\u{FFFD}'),
        }
    }
    Cow::Owned(escaped)
}

fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{7E}' | '\u{A0}'..='\u{FFFD}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_text() {
        assert_eq!(escape("SYN, ACK"), "SYN, ACK");
        assert_eq!(
            escape("</text><script>'\"&"),
            "&lt;/text&gt;&lt;script&gt;&#39;&quot;&amp;"
        );
    }

    #[test]
    fn what_is_no_character_of_xml_is_replaced() {
        assert_eq!(
            escape("a\0b\u{1b}[31m\u{FFFF}\u{85}"),
            "a\u{FFFD}b\u{FFFD}[31m\u{FFFD}\u{FFFD}"
        );
        assert_eq!(escape("é 漢 🙂"), "é 漢 🙂");
    }
}
