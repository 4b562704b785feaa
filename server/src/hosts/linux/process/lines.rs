//! What a program writes, as lines of a record: cut where they are too long, left out where there
//! are too many, and never without saying so.

use std::mem;

/// The longest line that is recorded, in bytes; the rest of it is cut off.
const LONGEST: usize = 1_000;

/// What stands for the rest of a line.
const CUT: &str = " [cut]";

/// How many lines of a program are recorded within a second.
const PER_SECOND: u32 = 200;

/// How many lines of a program are recorded in all.
const IN_ALL: u32 = 10_000;

/// How many lines of one program may still be recorded.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    second: u64,
    this_second: u32,
    in_all: u32,
    told_of_speed: bool,
    told_of_number: bool,
}

/// What is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// A line.
    Line(String),
    /// That lines are missing, and why; once for each reason.
    Missing(String),
}

impl Allowance {
    /// Whether a line may be recorded at this time, in microseconds.
    fn take(&mut self, now_us: u64) -> Result<(), Option<String>> {
        if self.in_all >= IN_ALL {
            let first = !mem::replace(&mut self.told_of_number, true);
            return Err(first.then(|| {
                format!("has written {IN_ALL} lines; what it writes from now on is not recorded")
            }));
        }
        let second = now_us / 1_000_000;
        if second != self.second {
            (self.second, self.this_second) = (second, 0);
        }
        if self.this_second >= PER_SECOND {
            let first = !mem::replace(&mut self.told_of_speed, true);
            return Err(first.then(|| {
                format!(
                    "writes more than {PER_SECOND} lines a second; those beyond are not recorded"
                )
            }));
        }
        self.this_second += 1;
        self.in_all += 1;
        Ok(())
    }
}

/// One stream of output, cut into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    /// Whether the line under way is longer than what is kept of it.
    cut: bool,
}

impl Lines {
    /// Takes what was written; gives what is to be recorded.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        now_us: u64,
        allowance: &mut Allowance,
        mut record: impl FnMut(Heard),
    ) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let whole = piece.last() == Some(&b'\n');
            let text = if whole {
                &piece[..piece.len() - 1]
            } else {
                piece
            };
            let room = LONGEST - self.partial.len();
            self.cut |= text.len() > room;
            self.partial
                .extend_from_slice(&text[..text.len().min(room)]);
            if whole {
                self.line(now_us, allowance, &mut record);
            }
        }
    }

    /// Gives the last line, where it has no end.
    pub(super) fn end(
        &mut self,
        now_us: u64,
        allowance: &mut Allowance,
        mut record: impl FnMut(Heard),
    ) {
        if !self.partial.is_empty() {
            self.line(now_us, allowance, &mut record);
        }
    }

    fn line(&mut self, now_us: u64, allowance: &mut Allowance, record: &mut impl FnMut(Heard)) {
        let bytes = mem::take(&mut self.partial);
        let cut = mem::take(&mut self.cut);
        match allowance.take(now_us) {
            Ok(()) => {
                let mut text = plain(&String::from_utf8_lossy(&bytes));
                if cut {
                    text.push_str(CUT);
                }
                record(Heard::Line(text));
            }
            Err(Some(why)) => record(Heard::Missing(why)),
            Err(None) => {}
        }
    }
}

/// What a terminal would be left showing of a line: what a carriage return overwrites is left out,
/// and so are escape sequences (ECMA-48, section 5.4) and other control characters.
fn plain(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let shown = line.rsplit('\r').next().unwrap_or_default();
    let mut text = String::with_capacity(shown.len());
    let mut characters = shown.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' if characters.next_if_eq(&'[').is_some() => {
                // Parameters, then one final byte.
                for parameter in characters.by_ref() {
                    if ('\u{40}'..='\u{7e}').contains(&parameter) {
                        break;
                    }
                }
            }
            '\t' => text.push(' '),
            control if control.is_control() => {}
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(chunks: &[&[u8]]) -> Vec<Heard> {
        let (mut lines, mut allowance) = (Lines::default(), Allowance::default());
        let mut heard = Vec::new();
        for chunk in chunks {
            lines.feed(chunk, 0, &mut allowance, |what| heard.push(what));
        }
        lines.end(0, &mut allowance, |what| heard.push(what));
        heard
    }

    fn line(text: &str) -> Heard {
        Heard::Line(text.to_owned())
    }

    #[test]
    fn lines_are_whole_whatever_the_pieces_in_which_they_come() {
        assert_eq!(
            heard(&[b"on", b"e\ntwo\r\n\nth", b"ree"]),
            [line("one"), line("two"), line(""), line("three")]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_says_so() {
        let long = vec![b'x'; LONGEST + 1];
        let lines = heard(&[&long, b"yy\n", &long[..LONGEST], b"\n"]);
        let kept = "x".repeat(LONGEST);
        assert_eq!(lines, [line(&format!("{kept}{CUT}")), line(&kept)]);
    }

    #[test]
    fn what_steers_a_terminal_steers_nobody_here() {
        assert_eq!(
            heard(&[b"\x1b[1;31mred\x1b[0m\tand\x07 \xff\n 10 %\r 20 %\r\n"]),
            [line("red and \u{fffd}"), line(" 20 %")]
        );
    }

    #[test]
    fn too_many_lines_are_left_out_and_that_is_told_once() {
        let (mut lines, mut allowance) = (Lines::default(), Allowance::default());
        let mut heard = Vec::new();
        let burst = b"a\n".repeat(1_000);
        for second in 0..100 {
            lines.feed(&burst, second * 1_000_000, &mut allowance, |what| {
                heard.push(what);
            });
        }
        let missing = heard
            .iter()
            .filter(|what| matches!(what, Heard::Missing(_)));
        assert_eq!(missing.count(), 2, "too fast, and too many in all");
        assert_eq!(
            heard[PER_SECOND as usize],
            Heard::Missing(
                "writes more than 200 lines a second; those beyond are not recorded".to_owned()
            )
        );
        let recorded = heard.len() - 2;
        assert_eq!(recorded, IN_ALL as usize);
    }
}
