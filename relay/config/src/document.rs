//! The TOML tree with its lines, and the reading of tables key by key.
//!
//! A [`Section`] is one table. Its keys are read by name, each by a function that converts the
//! value to a type. If the function refuses the value, the problem is noted with line and key and
//! the reading continues, so that one run shows all errors. Keys that were not read are unknown,
//! and errors.

use std::cell::RefCell;

use crate::finding::{ConfigErrors, ConfigProblem};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The problem of one value, and the remedy.
#[derive(Debug)]
pub(super) struct Wrong {
    pub problem: String,
    pub mend: String,
}

impl Wrong {
    pub(super) fn new(problem: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { problem: problem.into(), mend: mend.into() }
    }

    fn at(self, line: u32, place: &str, key: &str) -> ConfigProblem {
        let (place, key) = (place.to_owned(), key.to_owned());
        ConfigProblem { line, place, key, problem: self.problem, mend: self.mend }
    }
}

/// A text, the beginnings of its lines, and the findings about it.
pub(super) struct Document<'t> {
    file: &'t str,
    line_starts: Vec<usize>,
    refusals: RefCell<Vec<ConfigProblem>>,
    warnings: RefCell<Vec<ConfigProblem>>,
}

/// One value and its line.
pub(super) struct Value<'t> {
    pub value: DeValue<'t>,
    pub line: u32,
    /// The document's file. Relative paths are below its directory.
    pub file: &'t str,
}

/// One table of the document.
pub(super) struct Section<'d, 't> {
    document: &'d Document<'t>,
    /// See [`ConfigProblem::place`].
    pub place: String,
    /// The line of its header.
    pub line: u32,
    entries: Vec<Entry<'t>>,
    /// Every key that was read: suggestions for an unknown key.
    known: Vec<&'static str>,
}

struct Entry<'t> {
    key: String,
    line: u32,
    value: Value<'t>,
}

impl<'t> Document<'t> {
    /// Parses a text.
    ///
    /// # Errors
    /// It is not TOML.
    pub(super) fn parse(
        text: &'t str,
        file: &'t str,
    ) -> Result<(Self, Spanned<DeTable<'t>>), ConfigErrors> {
        let line_starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let document =
            Self { file, line_starts, refusals: RefCell::default(), warnings: RefCell::default() };
        match DeTable::parse_recoverable(text) {
            (root, errors) if errors.is_empty() => Ok((document, root)),
            (_, errors) => {
                for error in errors {
                    let line = document.line_at(error.span().map_or(0, |span| span.start));
                    let wrong = Wrong::new(
                        format!("not TOML: {}", error.message()),
                        "see https://toml.io; strings need quotes, lists need brackets",
                    );
                    document.refuse(line, "", "", wrong);
                }
                Err(document.into_refusals())
            }
        }
    }

    /// The table outside of all headers.
    pub(super) fn root(&self, root: Spanned<DeTable<'t>>) -> Section<'_, 't> {
        self.section(String::new(), 1, root.into_inner())
    }

    pub(super) fn section(&self, place: String, line: u32, table: DeTable<'t>) -> Section<'_, 't> {
        let mut entries: Vec<_> = table
            .into_iter()
            .map(|(key, value)| Entry {
                line: self.line_at(key.span().start),
                key: key.into_inner().into_owned(),
                value: self.value(value),
            })
            .collect();
        entries.sort_by_key(|entry| entry.line);
        Section { document: self, place, line, entries, known: Vec::new() }
    }

    pub(super) fn value(&self, value: Spanned<DeValue<'t>>) -> Value<'t> {
        let line = self.line_at(value.span().start);
        Value { value: value.into_inner(), line, file: self.file }
    }

    pub(super) fn refuse(&self, line: u32, place: &str, key: &str, wrong: Wrong) {
        self.refusals.borrow_mut().push(wrong.at(line, place, key));
    }

    pub(super) fn warn(&self, line: u32, place: &str, key: &str, wrong: Wrong) {
        self.warnings.borrow_mut().push(wrong.at(line, place, key));
    }

    pub(super) fn has_refusals(&self) -> bool {
        !self.refusals.borrow().is_empty()
    }

    pub(super) fn into_refusals(self) -> ConfigErrors {
        let mut list = self.refusals.into_inner();
        list.sort_by_key(|refusal| refusal.line);
        ConfigErrors { file: self.file.to_owned(), list }
    }

    pub(super) fn into_warnings(self) -> Vec<ConfigProblem> {
        let mut list = self.warnings.into_inner();
        list.sort_by_key(|warning| warning.line);
        list
    }

    fn line_at(&self, offset: usize) -> u32 {
        let line = self.line_starts.partition_point(|&start| start <= offset);
        u32::try_from(line).unwrap_or(u32::MAX)
    }
}

impl<'d, 't> Section<'d, 't> {
    /// Reads a key with `read`. Returns `None` if the key is absent or refused.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Value<'t>) -> Result<T, Wrong>,
    ) -> Option<T> {
        let entry = self.remove(key)?;
        match read(entry.value) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.document.refuse(entry.line, &self.place, key, wrong);
                None
            }
        }
    }

    /// Reads a required key.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        mend: &str,
        read: impl FnOnce(Value<'t>) -> Result<T, Wrong>,
    ) -> Option<T> {
        if !self.has_key(key) {
            self.known.push(key);
            self.document.refuse(self.line, &self.place, key, Wrong::new("is missing", mend));
            return None;
        }
        self.take(key, read)
    }

    /// Reads a list element by element: each has its own line, and a refused element does not hide
    /// the others. An absent list is empty, with the line of the section.
    pub(super) fn take_list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(Value<'t>) -> Result<T, Wrong>,
    ) -> Vec<T> {
        match self.remove(key) {
            Some(entry) => self.elements(entry, &mut read),
            None => Vec::new(),
        }
    }

    fn elements<T>(
        &self,
        entry: Entry<'t>,
        read: &mut impl FnMut(Value<'t>) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let key = &entry.key;
        let DeValue::Array(array) = entry.value.value else {
            let wrong = Wrong::new(
                format!("expected a list, found {}", describe(&entry.value.value)),
                format!("write it in brackets: {key} = [ … ]"),
            );
            self.document.refuse(entry.line, &self.place, key, wrong);
            return Vec::new();
        };
        let mut list = Vec::with_capacity(array.len());
        for element in array {
            let value = self.document.value(element);
            let line = value.line;
            match read(value) {
                Ok(element) => list.push(element),
                Err(wrong) => self.document.refuse(line, &self.place, key, wrong),
            }
        }
        list
    }

    /// Reads every list whose key begins with `prefix`, with the rest of the key and its line.
    pub(super) fn take_lists<T>(
        &mut self,
        prefix: &str,
        mut read: impl FnMut(Value<'t>) -> Result<T, Wrong>,
    ) -> Vec<(String, u32, Vec<T>)> {
        let of_prefix = self.entries.extract_if(.., |entry| entry.key.starts_with(prefix));
        let entries: Vec<_> = of_prefix.collect();
        entries
            .into_iter()
            .map(|entry| {
                let (rest, line) = (entry.key[prefix.len()..].to_owned(), entry.line);
                (rest, line, self.elements(entry, &mut read))
            })
            .collect()
    }

    /// Reads a required list that must have elements.
    pub(super) fn require_list<T>(
        &mut self,
        key: &'static str,
        mend: &str,
        read: impl FnMut(Value<'t>) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let problem = match entry.map(|entry| &entry.value.value) {
            None => Some("is missing"),
            Some(DeValue::Array(array)) if array.is_empty() => Some("is empty"),
            Some(_) => None,
        };
        if let Some(problem) = problem {
            self.refuse(self.line_of(key), key, Wrong::new(problem, mend));
        }
        self.take_list(key, read)
    }

    /// Reads a table; an absent table is empty.
    pub(super) fn take_section(&mut self, key: &'static str, place: &str) -> Section<'d, 't> {
        let absent = |document: &'d Document<'t>, line| {
            document.section(place.to_owned(), line, DeTable::new())
        };
        match self.remove(key) {
            None => absent(self.document, self.line),
            Some(entry) => match entry.value.value {
                DeValue::Table(table) => self.document.section(place.to_owned(), entry.line, table),
                other => {
                    let wrong = Wrong::new(
                        format!("expected a table, found {}", describe(&other)),
                        format!("write [{key}] on a line of its own, and its keys below"),
                    );
                    self.document.refuse(entry.line, &self.place, key, wrong);
                    absent(self.document, entry.line)
                }
            },
        }
    }

    /// Reads every `[[key]]`.
    pub(super) fn take_sections(&mut self, key: &'static str) -> Vec<Section<'d, 't>> {
        let tables = self.take_list(key, |value| match value.value {
            DeValue::Table(table) => Ok((table, value.line)),
            other => Err(Wrong::new(
                format!("expected a table, found {}", describe(&other)),
                format!("write [[{key}]] on a line of its own, and its keys below"),
            )),
        });
        let document = self.document;
        tables
            .into_iter()
            .map(|(table, line)| document.section(format!("[[{key}]]"), line, table))
            .collect()
    }

    /// Does this key exist?
    pub(super) fn has_key(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Marks a key as known, which is not read in this case.
    pub(super) fn known_key(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// The line of a key, or of the section if the key is absent.
    pub(super) fn line_of(&self, key: &str) -> u32 {
        self.entries.iter().find(|entry| entry.key == key).map_or(self.line, |entry| entry.line)
    }

    /// Notes a refusal about a key of this section.
    pub(super) fn refuse(&self, line: u32, key: &str, wrong: Wrong) {
        self.document.refuse(line, &self.place, key, wrong);
    }

    /// Notes a warning about a key of this section.
    pub(super) fn warn(&self, line: u32, key: &str, wrong: Wrong) {
        self.document.warn(line, &self.place, key, wrong);
    }

    /// Refuses the keys that were not read. `explain` knows keys that exist elsewhere.
    pub(super) fn finish(self, explain: impl Fn(&str) -> Option<Wrong>) {
        for entry in &self.entries {
            let wrong = explain(&entry.key).unwrap_or_else(|| {
                let mend = match nearest(&entry.key, &self.known) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("known here: {}", self.known.join(", ")),
                };
                Wrong::new("is not a key of this table", mend)
            });
            self.document.refuse(entry.line, &self.place, &entry.key, wrong);
        }
    }

    fn remove(&mut self, key: &'static str) -> Option<Entry<'t>> {
        self.known.push(key);
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(index))
    }
}

/// The kind of a value, for a sentence.
pub(super) fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Array(_) => "a list",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Float(_) => "a fraction",
        DeValue::Integer(_) => "a number",
        DeValue::String(_) => "a string",
        DeValue::Table(_) => "a table",
    }
}

/// The known word that is probably meant: the nearest one, if the difference may be a typing error.
pub(super) fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    known
        .iter()
        .map(|&candidate| {
            (
                strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|&(distance, candidate)| distance <= 1 + candidate.len() / 5)
        .min()
        .map(|(_, candidate)| candidate)
}
