//! The diagram in words, for those who do not see it.

use linger_shared::{diagram::Model, event::Mode, units};

/// What the diagram is of.
pub fn title(model: &Model) -> String {
    format!("Sequence diagram of {}", model.header().title)
}

/// What happened so far, in a few sentences.
pub fn summary(model: &Model) -> String {
    let counts = model.counts();
    let what = match model.header().mode {
        Mode::Packets => "packet",
        Mode::Relay => "chunk",
    };
    let mut text = format!(
        "{} between {}: {} arrived, {} dropped, {}. {} so far.",
        counted(counts.packets, what),
        hosts(model),
        counts.arrived,
        counts.dropped,
        counted(counts.connections, "connection"),
        units::human(model.last_us()),
    );
    if let Some(chapter) = model.chapters().last() {
        text.push_str(&format!(" Last chapter: {}.", chapter.title));
    }
    if let Some(verdict) = model.verdict() {
        text.push_str(&format!(" Outcome: {}", verdict.summary));
    }
    text
}

fn hosts(model: &Model) -> String {
    let names: Vec<&str> = model
        .header()
        .hosts
        .iter()
        .map(|host| host.name.as_str())
        .collect();
    names.join(" and ")
}

/// A number with its noun: `1 packet`, `7 packets`.
pub fn counted(number: u64, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::samples;

    #[test]
    fn the_summary_tells_counts_chapter_and_outcome() {
        let mut model = Model::new(&samples::header());
        for event in samples::dead_peer() {
            model.push(&event);
        }
        let text = summary(&model);
        assert!(text.starts_with(
            "7 packets between client and server: 3 arrived, 4 dropped, 1 connection."
        ));
        assert!(text.contains("Last chapter: Cut the path."));
        assert!(text.ends_with("gave the peer up after 5.000 s."));
    }
}
