//! Findings: what is wrong or unwise, where, and what to do about it.

use std::fmt;

use crate::limits::FINDINGS_SHOWN;
use serde::{Deserialize, Serialize};

/// One thing about a configuration: a refusal, which keeps it from being loaded, or a warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigProblem {
    /// The line, from 1.
    pub line: u32,
    /// The table, as an administrator would call it: `connector "Scanners"`, `[queue]`. Empty for
    /// keys outside every table.
    pub place: String,
    /// The key, or empty when it is about the table as a whole.
    pub key: String,
    /// What is wrong or unwise.
    pub problem: String,
    /// What to do about it.
    pub mend: String,
}

/// All refusals of one text, in the order of their lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// What the text is called.
    pub file: String,
    /// At least one.
    pub list: Vec<ConfigProblem>,
}

/// `connector "Scanners": remote_ip_ranges: what is wrong`, then the mend on a line of its own, or
/// behind a semicolon in the alternate form, which is for logs.
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
