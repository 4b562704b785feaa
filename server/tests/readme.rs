//! The README's list of experiments is the one that there is.

use std::{fs, path::Path};

use linger::experiments;

/// The rows of the tables whose first cell is an id: the id, and the question.
fn rows(page: &str) -> Vec<(String, String)> {
    page.lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            match cells.as_slice() {
                ["", id, question, ""] => {
                    let id = id.strip_prefix('`')?.strip_suffix('`')?;
                    question
                        .ends_with('?')
                        .then(|| (id.to_owned(), (*question).to_owned()))
                }
                _ => None,
            }
        })
        .collect()
}

#[test]
fn the_readme_asks_every_experiments_question_in_the_lists_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("README.md")).expect("the README is there");
    let listed: Vec<(String, String)> = experiments::ALL
        .iter()
        .map(|experiment| {
            let about = experiment.descriptor();
            (about.id, about.question)
        })
        .collect();
    assert_eq!(rows(&page), listed);
}
