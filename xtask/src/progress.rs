//! What a long task says while it works: which step of how many, and how long it took.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

/// Numbers the steps of a task.
#[derive(Debug)]
pub(crate) struct Steps {
    total: usize,
    current: usize,
    began: Instant,
}

impl Steps {
    /// A task of so many steps.
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            current: 0,
            began: Instant::now(),
        }
    }

    /// Announces the next step.
    pub(crate) fn begin(&mut self, what: &str) -> Step {
        self.current += 1;
        let label = format!("[{}/{}]", self.current, self.total);
        eprintln!(
            "{label} {what} ({} since the start)",
            seconds(self.began.elapsed())
        );
        Step {
            label,
            began: Instant::now(),
        }
    }
}

/// A step that was announced.
#[derive(Debug)]
pub(crate) struct Step {
    label: String,
    began: Instant,
}

impl Step {
    /// Says something about the step that goes on.
    pub(crate) fn note(&self, text: &str) {
        eprintln!("{} {text}, {}", self.label, seconds(self.began.elapsed()));
    }

    /// Says how the step ended.
    pub(crate) fn done(self, result: &str) {
        self.note(result);
    }
}

/// A span of time for people: `0.4 s`, `42 s`, `3 min 5 s`.
pub(crate) fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..=9 => format!("{:.1} s", time.as_secs_f64()),
        whole @ 10..=119 => format!("{whole} s"),
        whole => format!("{} min {} s", whole / 60, whole % 60),
    }
}

/// A size for people.
pub(crate) fn kilobytes(bytes: u64) -> String {
    format!("{:.1} KB", bytes as f64 / 1000.0)
}

/// Whether cargo can show its own progress bar.
pub(crate) fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_short() {
        assert_eq!(seconds(Duration::from_millis(420)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(42)), "42 s");
        assert_eq!(seconds(Duration::from_secs(185)), "3 min 5 s");
        assert_eq!(kilobytes(94_321), "94.3 KB");
    }
}
