//! One named value of a header or message, and where it stands.

use std::{borrow::Cow, ops::Range};

/// A named value, and the bytes that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// What it is called, such as `Sequence number`.
    pub name: Cow<'static, str>,
    /// Its value in words.
    pub value: String,
    /// The bytes, counted from the beginning of what was dissected.
    pub range: Range<usize>,
}

/// Collects the fields of one header or message.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<Field>);

impl Fields {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn add(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
        range: Range<usize>,
    ) {
        self.0.push(Field {
            name: name.into(),
            value: value.into(),
            range,
        });
    }

    /// The same, for a field of `length` bytes at `at`.
    pub(super) fn at(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl ToString,
        at: usize,
        length: usize,
    ) {
        self.add(name, value.to_string(), at..at.saturating_add(length));
    }

    pub(super) fn extend(&mut self, fields: impl IntoIterator<Item = Field>) {
        self.0.extend(fields);
    }

    pub(super) fn into_vec(self) -> Vec<Field> {
        self.0
    }
}
