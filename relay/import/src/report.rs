//! The report of an import: what became of each property, and what is dangerous.

use serde::Serialize;

use crate::source::{AccessKind, AccessOrigin};

/// What became of one property or right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It has the same effect here.
    TakenOver,
    /// It has another form or effect here; the note says which and why.
    Changed,
    /// It is kept as a comment.
    Reference,
    /// It has no meaning here.
    Meaningless,
}

/// What became of one property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PropertyReport {
    /// Its name in Exchange.
    pub property: String,
    /// Its value in Exchange.
    pub value: String,
    /// What became of it.
    pub fate: Fate,
    /// How and why; empty if there is nothing to add.
    pub note: String,
}

/// What became of one right of an access list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RightReport {
    /// The account in Exchange.
    pub account: String,
    /// The right by its Exchange name.
    pub right: String,
    /// Does the entry give the right or remove it?
    pub kind: AccessKind,
    /// Was the entry made on the connector?
    pub origin: AccessOrigin,
    /// What became of it.
    pub fate: Fate,
    /// How and why.
    pub note: String,
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectReport {
    /// The kind of the object: `receive connector`, …
    pub object: &'static str,
    /// Its name in Exchange.
    pub name: String,
    /// Its server.
    pub server: Option<String>,
    /// Its name here, or the table that has its values; empty if it was not taken over.
    pub written_as: String,
    /// Every property of the export, once.
    pub properties: Vec<PropertyReport>,
    /// Every right of the connector's access list.
    pub rights: Vec<RightReport>,
}

/// Something that an administrator must know or do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Danger {
    /// How urgent it is.
    pub level: DangerLevel,
    /// What it is about: `connector "Scanners"`.
    pub place: String,
    /// The problem.
    pub problem: String,
    /// The remedy.
    pub mend: String,
}

/// How urgent a danger is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DangerLevel {
    /// Strangers could misuse the host, or mail is lost.
    Danger,
    /// Something must be done by hand before the relay replaces the server.
    ToDo,
    /// Worth knowing.
    Note,
}

/// The report of an import.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ImportReport {
    /// Every object.
    pub objects: Vec<ObjectReport>,
    /// The most urgent first.
    pub dangers: Vec<Danger>,
}

/// What became of a property, without its name.
pub(crate) struct PropertyFate {
    pub fate: Fate,
    pub note: String,
}

pub(crate) fn row(fate: Fate, note: impl Into<String>) -> PropertyFate {
    PropertyFate { fate, note: note.into() }
}

impl Fate {
    /// Its word in a report.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TakenOver => "taken over",
            Self::Changed => "changed",
            Self::Reference => "for reference",
            Self::Meaningless => "no meaning",
        }
    }
}

impl DangerLevel {
    /// Its word in a report.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Danger => "DANGER",
            Self::ToDo => "to do",
            Self::Note => "note",
        }
    }
}

impl Danger {
    /// A danger about the connector of this name.
    pub(crate) fn of_connector(
        level: DangerLevel,
        name: &str,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        let place = format!("connector \"{name}\"");
        Self { level, place, problem: problem.into(), mend: mend.into() }
    }
}
