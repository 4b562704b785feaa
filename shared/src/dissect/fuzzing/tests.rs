use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::dissect::testing::Random;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz")
        .join(name)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

#[test]
fn every_input_that_is_kept_is_tried() {
    for (name, target) in TARGETS {
        let inputs = entries(&folder("corpus").join(name));
        assert!(inputs.len() >= 3, "{name} has {} inputs", inputs.len());
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            let result = std::panic::catch_unwind(|| target(&bytes));
            assert!(result.is_ok(), "{} breaks {name}", input.display());
        }
    }
}

#[test]
fn every_target_has_its_program_and_its_corpus_and_no_other_is_there() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for place in ["fuzz_targets", "corpus"] {
        let there: BTreeSet<String> = entries(&folder(place))
            .iter()
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        assert_eq!(there, targets, "{place}");
    }
}

#[test]
fn damaged_inputs_are_tried_without_a_fuzzer_too() {
    let mut random = Random(1);
    for (name, target) in TARGETS {
        for input in entries(&folder("corpus").join(name)) {
            let model = fs::read(input).unwrap();
            if model.is_empty() {
                continue;
            }
            for _ in 0..40 {
                let mut bytes = model.clone();
                for _ in 0..=random.below(6) {
                    let at = random.below(bytes.len());
                    bytes[at] = random.next() as u8;
                }
                bytes.truncate(1 + random.below(bytes.len() * 2));
                target(&bytes);
            }
        }
    }
}
