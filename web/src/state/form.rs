//! The parameter form: what is written in each field, and what the experiment says to it.
//!
//! Fields hold text, valid or not, so that nothing is taken away while someone types. The check is
//! [`Param::check`], the same that the server makes.

use std::collections::BTreeMap;

use linger_shared::experiment::{Descriptor, Param, Preset, Value};

/// The fields of one experiment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Form {
    /// Whose parameters these are; empty before any experiment is known.
    pub experiment: String,
    /// What differs from the defaults, by parameter name, as it is written.
    texts: BTreeMap<String, String>,
}

impl Form {
    /// The form of an experiment, with some of the fields filled; names it does not have are left
    /// out.
    pub fn new(descriptor: &Descriptor, given: &BTreeMap<String, String>) -> Self {
        let mut form = Self {
            experiment: descriptor.id.clone(),
            texts: BTreeMap::new(),
        };
        for param in &descriptor.params {
            if let Some(text) = given.get(&param.name) {
                form.set(param, text.clone());
            }
        }
        form
    }

    /// What is written in a field.
    pub fn text(&self, param: &Param) -> String {
        self.texts
            .get(&param.name)
            .cloned()
            .unwrap_or_else(|| param.default.to_string())
    }

    /// Writes into a field.
    pub fn set(&mut self, param: &Param, text: String) {
        if text == param.default.to_string() {
            self.texts.remove(&param.name);
        } else {
            self.texts.insert(param.name.clone(), text);
        }
    }

    /// Writes a preset's values; every other field goes back to its default, because a preset
    /// stands for a whole situation.
    pub fn apply(&mut self, descriptor: &Descriptor, preset: &Preset) {
        self.texts.clear();
        for param in &descriptor.params {
            if let Some(value) = preset.values.get(&param.name) {
                self.set(param, value.to_string());
            }
        }
    }

    /// Whether the fields are exactly what a preset would write.
    pub fn matches(&self, descriptor: &Descriptor, preset: &Preset) -> bool {
        let mut other = self.clone();
        other.apply(descriptor, preset);
        other == *self
    }

    /// Every field back to its default.
    pub fn reset(&mut self) {
        self.texts.clear();
    }

    /// Whether every field has its default.
    pub fn is_default(&self) -> bool {
        self.texts.is_empty()
    }

    /// What is wrong with a field: the bound and the value; `None` where it is accepted.
    pub fn error(&self, param: &Param) -> Option<String> {
        param
            .check(&Value::Text(self.text(param)))
            .err()
            .map(|error| error.to_string())
    }

    /// Whether every field is accepted.
    pub fn is_valid(&self, descriptor: &Descriptor) -> bool {
        descriptor
            .params
            .iter()
            .all(|param| self.error(param).is_none())
    }

    /// The values to send: those that differ from the defaults, each in its one written form.
    pub fn values(&self, descriptor: &Descriptor) -> BTreeMap<String, Value> {
        descriptor
            .params
            .iter()
            .filter_map(|param| {
                let text = self.texts.get(&param.name)?;
                let value = param.check(&Value::Text(text.clone())).ok()?;
                (value != param.default).then(|| (param.name.clone(), value))
            })
            .collect()
    }

    /// The fields for the page's address.
    pub fn query(&self) -> BTreeMap<String, String> {
        self.texts.clone()
    }
}

/// The bounds of a parameter in words, such as `1s to 2h`; empty where there are none.
pub fn bounds(param: &Param) -> String {
    match (&param.min, &param.max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("{min} or more"),
        (None, Some(max)) => format!("up to {max}"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use linger_shared::event::Mode;

    use super::*;

    fn descriptor() -> Descriptor {
        Descriptor {
            id: "tcp-dead-peer".to_owned(),
            title: String::new(),
            question: String::new(),
            family: "TCP".to_owned(),
            modes: vec![Mode::Packets],
            explanation: Vec::new(),
            look_for: Vec::new(),
            misconception: String::new(),
            params: vec![
                Param::duration("idle", 2_000_000, 1_000_000, 7_200_000_000, ""),
                Param::integer("count", "probes", 3, 1, 127, ""),
                Param::boolean("keepalive", true, ""),
            ],
            presets: vec![Preset {
                name: "No keep-alive".to_owned(),
                description: String::new(),
                values: BTreeMap::from([("keepalive".to_owned(), Value::Boolean(false))]),
            }],
            claims: Vec::new(),
            references: Vec::new(),
        }
    }

    #[test]
    fn only_what_differs_from_the_defaults_is_sent() {
        let descriptor = descriptor();
        let given = BTreeMap::from([
            ("idle".to_owned(), "2s".to_owned()),
            ("count".to_owned(), "9".to_owned()),
            ("unheard".to_owned(), "1".to_owned()),
        ]);
        let form = Form::new(&descriptor, &given);
        assert_eq!(
            form.values(&descriptor),
            BTreeMap::from([("count".to_owned(), Value::Integer(9))])
        );
        assert_eq!(form.query().len(), 1);
    }

    #[test]
    fn another_writing_of_the_default_is_not_sent() {
        let descriptor = descriptor();
        let mut form = Form::new(&descriptor, &BTreeMap::new());
        form.set(&descriptor.params[0], "2000ms".to_owned());
        assert_eq!(form.text(&descriptor.params[0]), "2000ms");
        assert!(form.values(&descriptor).is_empty());
    }

    #[test]
    fn a_field_out_of_bounds_names_the_bound_and_stays_as_typed() {
        let descriptor = descriptor();
        let mut form = Form::new(&descriptor, &BTreeMap::new());
        form.set(&descriptor.params[1], "500".to_owned());
        assert_eq!(
            form.error(&descriptor.params[1]).unwrap(),
            "count=500 is more than the maximum of 127"
        );
        assert!(!form.is_valid(&descriptor));
        assert_eq!(form.text(&descriptor.params[1]), "500");
    }

    #[test]
    fn a_preset_replaces_every_field() {
        let descriptor = descriptor();
        let mut form = Form::new(&descriptor, &BTreeMap::new());
        form.set(&descriptor.params[1], "5".to_owned());
        form.apply(&descriptor, &descriptor.presets[0]);
        assert!(form.matches(&descriptor, &descriptor.presets[0]));
        assert_eq!(form.text(&descriptor.params[1]), "3");
        assert_eq!(form.text(&descriptor.params[2]), "false");
        form.reset();
        assert!(form.is_default());
    }

    #[test]
    fn bounds_are_written_as_the_parameter_is() {
        assert_eq!(bounds(&descriptor().params[0]), "1s to 2h");
        assert_eq!(bounds(&descriptor().params[2]), "");
    }
}
