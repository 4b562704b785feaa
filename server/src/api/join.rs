//! The join code: what a visitor needs where the server is open to a network.
//!
//! The code comes once, in the link that the teacher shares (`/?join=CODE`), in the join page's
//! form, or from a program as `Authorization: Bearer CODE`. A browser gets a pass for it, a random
//! cookie of this server's lifetime, and never shows or sends the code again. Codes and passes are
//! compared in constant time, and neither is ever printed by `Debug`.

use std::fmt;

use axum::http::{HeaderMap, HeaderValue, header};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// What a random code is made of: no letter or digit that is mistaken for another.
const LETTERS: &[u8; 31] = b"ABCDEFGHJKMNPQRSTUVWXYZ23456789";

/// How many of them: 31^8 is 8.5 * 10^11.
const LENGTH: usize = 8;

/// The fewest letters and digits of a code that someone chooses.
const SHORTEST: usize = 8;

/// The most, which also bounds what is read of a guess.
const LONGEST: usize = 64;

/// How long a browser keeps its pass, in seconds: a day's lessons.
const PASS_LASTS: u32 = 12 * 3600;

/// A join code and the pass that it is exchanged for.
#[derive(Clone)]
pub struct JoinCode {
    shown: String,
    plain: String,
    pass: String,
}

impl fmt::Debug for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinCode")
    }
}

/// Why there is no join code.
#[derive(Debug, Error)]
pub enum JoinCodeError {
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    NoRandomness(getrandom::Error),
    /// Anyone could guess it.
    #[error(
        "a join code has {SHORTEST} to {LONGEST} letters and digits, and this one has {length}; \
         without --join-code a random one is made"
    )]
    Length {
        /// How many letters and digits it has.
        length: usize,
    },
    /// It could not be typed or linked to.
    #[error(
        "a join code is made of the letters A to Z, digits and hyphens, and this one has {character:?}"
    )]
    Character {
        /// What it has.
        character: char,
    },
}

impl JoinCode {
    /// A code that nobody can guess, such as `K7WD-2MXQ`.
    ///
    /// # Errors
    /// [`JoinCodeError::NoRandomness`].
    pub fn random() -> Result<Self, JoinCodeError> {
        let mut letters = String::with_capacity(LENGTH);
        while letters.len() < LENGTH {
            let [byte] = random::<1>()?;
            // 248 is the largest multiple of 31 in a byte: every letter is as likely as another.
            if byte < 248 {
                letters.push(char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
            }
        }
        let shown = format!("{}-{}", &letters[..LENGTH / 2], &letters[LENGTH / 2..]);
        Self::with(shown)
    }

    /// The code that someone chose. Case, hyphens and spaces do not matter when it is typed.
    ///
    /// # Errors
    /// [`JoinCodeError::Length`] and [`JoinCodeError::Character`].
    pub fn chosen(text: &str) -> Result<Self, JoinCodeError> {
        if let Some(character) = text
            .chars()
            .find(|c| !c.is_ascii_alphanumeric() && *c != '-')
        {
            return Err(JoinCodeError::Character { character });
        }
        let length = plain(text).len();
        if !(SHORTEST..=LONGEST).contains(&length) {
            return Err(JoinCodeError::Length { length });
        }
        Self::with(text.to_owned())
    }

    fn with(shown: String) -> Result<Self, JoinCodeError> {
        let pass = random::<32>()?
            .iter()
            .fold(String::new(), |mut text, byte| {
                text.push_str(&format!("{byte:02x}"));
                text
            });
        Ok(Self {
            plain: plain(&shown),
            shown,
            pass,
        })
    }

    /// The code as it is shared.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether this is the code.
    pub(super) fn is(&self, typed: &str) -> bool {
        plain(typed).as_bytes().ct_eq(self.plain.as_bytes()).into()
    }

    /// Whether a browser brings a pass of ours.
    pub(super) fn has_pass(&self, headers: &HeaderMap, port: u16) -> bool {
        cookies(headers, &pass_name(port))
            .any(|value| value.as_bytes().ct_eq(self.pass.as_bytes()).into())
    }

    /// Lets a browser in: the pass, and a mark that it has one.
    ///
    /// Other sites' pages cannot make a browser send the pass, so it is not sent either when someone
    /// follows a link from elsewhere to this server. The mark is sent then, and tells that asking
    /// once more, from a page of our own, is worth it.
    pub(super) fn let_in(&self, headers: &mut HeaderMap, port: u16) {
        set(headers, &pass_name(port), &self.pass, PASS_LASTS, "Strict");
        set(headers, &mark_name(port), "1", PASS_LASTS, "Lax");
    }
}

/// Whether the browser says that it has been let in before.
pub(super) fn has_mark(headers: &HeaderMap, port: u16) -> bool {
    cookies(headers, &mark_name(port)).next().is_some()
}

/// Takes the mark back.
pub(super) fn unmark(headers: &mut HeaderMap, port: u16) {
    set(headers, &mark_name(port), "", 0, "Lax");
}

/// The code that a program sends (RFC 6750, section 2.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, code) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(code.trim())
}

/// Cookies are shared by all ports of a host, so the port is part of the name.
fn pass_name(port: u16) -> String {
    format!("linger-pass-{port}")
}

fn mark_name(port: u16) -> String {
    format!("linger-joined-{port}")
}

fn set(headers: &mut HeaderMap, name: &str, value: &str, seconds: u32, same_site: &str) {
    let cookie =
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite={same_site}");
    // Names and values are letters, digits and hyphens.
    if let Ok(mut cookie) = HeaderValue::try_from(cookie) {
        cookie.set_sensitive(true);
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// The values of a cookie (RFC 6265, section 5.4).
fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(move |pair| pair.trim().split_once('='))
        .filter(move |(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// A code without what does not matter.
fn plain(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_alphanumeric)
        .take(LONGEST + 1)
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

fn random<const N: usize>() -> Result<[u8; N], JoinCodeError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(JoinCodeError::NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_codes_are_short_plain_and_never_the_same() {
        let codes: Vec<String> = (0..200)
            .map(|_| JoinCode::random().unwrap().shown)
            .collect();
        for code in &codes {
            let (first, second) = code.split_once('-').unwrap();
            assert_eq!((first.len(), second.len()), (4, 4), "{code}");
            for letter in first.bytes().chain(second.bytes()) {
                assert!(LETTERS.contains(&letter), "{code}");
                assert!(!b"0O1IL".contains(&letter), "{code}");
            }
        }
        let mut different = codes.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), codes.len());
        // Each of the 31 is there among 1,600: one is missing once in 10^21 times.
        for letter in LETTERS {
            let letter = char::from(*letter);
            assert!(codes.iter().any(|code| code.contains(letter)), "{letter}");
        }
    }

    #[test]
    fn a_code_is_known_however_it_is_typed() {
        let code = JoinCode::chosen("abcd-EFGH").unwrap();
        assert_eq!(code.shown(), "abcd-EFGH");
        for typed in ["ABCD-EFGH", "abcdefgh", " abcd efgh ", "AB-CD-EF-GH"] {
            assert!(code.is(typed), "{typed}");
        }
        for typed in ["", "ABCD-EFG", "ABCD-EFGHH", "ABCD-EFGJ", "-"] {
            assert!(!code.is(typed), "{typed}");
        }
        assert!(!code.is(&"A".repeat(100_000)));
    }

    #[test]
    fn a_chosen_code_is_long_enough_and_can_be_typed() {
        for (text, error) in [
            ("ABC-DEFG", "this one has 7"),
            ("", "this one has 0"),
            ("ABCD EFGH", "' '"),
            ("ABCDEFG\u{e9}", "'\u{e9}'"),
            ("ABCD&EFGH", "'&'"),
        ] {
            let message = JoinCode::chosen(text).unwrap_err().to_string();
            assert!(message.contains(error), "{text}: {message}");
        }
        assert!(JoinCode::chosen(&"A".repeat(65)).is_err());
    }

    #[test]
    fn a_pass_is_good_for_its_server_and_says_nothing_of_the_code() {
        let code = JoinCode::chosen("ABCD-EFGH").unwrap();
        let other = JoinCode::chosen("ABCD-EFGH").unwrap();
        let mut answer = HeaderMap::new();
        code.let_in(&mut answer, 8080);
        let set: Vec<&str> = answer
            .get_all(header::SET_COOKIE)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        assert!(set[0].contains("HttpOnly; SameSite=Strict"), "{set:?}");
        assert!(set.iter().all(|cookie| !cookie.contains("ABCD")), "{set:?}");
        let brought: Vec<&str> = set.iter().map(|c| c.split(';').next().unwrap()).collect();
        let mut headers = HeaderMap::new();
        headers.insert(
            header::COOKIE,
            format!("a=b; {}", brought.join("; ")).parse().unwrap(),
        );
        assert!(code.has_pass(&headers, 8080));
        assert!(has_mark(&headers, 8080));
        assert!(
            !code.has_pass(&headers, 8081),
            "another server of this host"
        );
        assert!(!other.has_pass(&headers, 8080), "another server's pass");
        assert!(!code.has_pass(&HeaderMap::new(), 8080));
        assert_eq!(format!("{code:?}"), "JoinCode");
    }

    #[test]
    fn programs_send_the_code_as_a_bearer_token() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers), None);
        headers.insert(header::AUTHORIZATION, "bearer ABCD-EFGH".parse().unwrap());
        assert_eq!(bearer(&headers), Some("ABCD-EFGH"));
        headers.insert(header::AUTHORIZATION, "Basic QUJDRA==".parse().unwrap());
        assert_eq!(bearer(&headers), None);
    }
}
