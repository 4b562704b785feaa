//! Reads what test programs say of themselves.

use std::ops::AddAssign;

/// How many tests did what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Succeeded.
    pub(crate) passed: usize,
    /// Failed.
    pub(crate) failed: usize,
    /// Did not run.
    pub(crate) skipped: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Reads the line with which a test program of Rust's own harness ends, and that of wasm-bindgen's:
/// `test result: ok. 12 passed; 0 failed; 1 ignored; ...`. `None` for every other line.
pub(crate) fn of_line(line: &str) -> Option<Tally> {
    let (_, counts) = line
        .trim()
        .strip_prefix("test result: ")?
        .split_once(". ")?;
    let mut tally = Tally::default();
    for count in counts.split("; ") {
        let Some((number, what)) = count.split_once(' ') else {
            continue;
        };
        let Ok(number) = number.parse() else {
            continue;
        };
        match what {
            "passed" => tally.passed = number,
            "failed" => tally.failed = number,
            "ignored" => tally.skipped = number,
            _ => {}
        }
    }
    Some(tally)
}

/// How many tests a source text has, by their attributes; for a stage that cannot be compiled here.
pub(crate) fn tests_in(source: &str) -> usize {
    source
        .lines()
        .map(str::trim_start)
        .filter_map(|line| line.strip_prefix("#["))
        .filter(|attribute| {
            let name: String = attribute
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || "_:".contains(*c))
                .collect();
            matches!(name.as_str(), "test" | "tokio::test" | "wasm_bindgen_test")
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_of_a_test_program_is_read() {
        let tally = |passed, failed, skipped| Tally {
            passed,
            failed,
            skipped,
        };
        for (line, expected) in [
            (
                "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
                tally(12, 0, 1),
            ),
            (
                "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.00s",
                tally(3, 2, 0),
            ),
            (
                "    test result: ok. 4 passed; 0 failed; 0 ignored; 0 filtered out",
                tally(4, 0, 0),
            ),
        ] {
            assert_eq!(of_line(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in [
            "running 12 tests",
            "test result_is_shown ... ok",
            "test result: ok",
            "",
        ] {
            assert_eq!(of_line(line), None, "{line}");
        }
    }

    #[test]
    fn tests_are_counted_in_their_source() {
        let source = "#[test]\nfn a() {}\n  #[tokio::test(flavor = \"multi_thread\")]\nasync fn b() {}\n\
                      #[wasm_bindgen_test]\nfn c() {}\n#[cfg(test)]\nmod d {}\n// #[test]\n#[test_helper]\n";
        assert_eq!(tests_in(source), 3);
    }

    #[test]
    fn tallies_add_up() {
        let mut sum = Tally {
            passed: 1,
            failed: 2,
            skipped: 3,
        };
        sum += Tally {
            passed: 10,
            failed: 20,
            skipped: 30,
        };
        assert_eq!(
            sum,
            Tally {
                passed: 11,
                failed: 22,
                skipped: 33
            }
        );
    }
}
