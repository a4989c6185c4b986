//! Findings: the error or warning, its position, and the remedy.

use std::fmt;

use crate::limits::FINDINGS_SHOWN;
use serde::{Deserialize, Serialize};

/// A finding about a configuration: a refusal, which prevents loading, or a warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigProblem {
    /// The line, from 1.
    pub line: u32,
    /// The table in an administrator's words: `connector "Scanners"`, `[queue]`. Empty for keys
    /// outside of all tables.
    pub place: String,
    /// The key; empty if the finding is about the whole table.
    pub key: String,
    /// The problem.
    pub problem: String,
    /// The remedy.
    pub mend: String,
}

/// All refusals of one text, in the order of their lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The name of the text.
    pub file: String,
    /// At least one.
    pub list: Vec<ConfigProblem>,
}

/// `connector "Scanners": remote_ip_ranges: problem`, then the remedy on its own line, or after a
/// semicolon in the alternate form, which is for logs.
impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.place, &self.key] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        let before_mend = if f.alternate() { "; " } else { "\n    " };
        write!(f, "{}{before_mend}{}", self.problem, self.mend)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, refusal) in self.list.iter().take(FINDINGS_SHOWN).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{}: {refusal}", self.file, refusal.line)?;
        }
        match self.list.len().saturating_sub(FINDINGS_SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n{}: {more} more errors are not shown", self.file),
        }
    }
}
