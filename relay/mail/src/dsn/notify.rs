//! NOTIFY of RCPT: which reports does the sender request?

use std::fmt;

/// NOTIFY. All false is `NEVER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// `SUCCESS`.
    pub success: bool,
    /// `FAILURE`.
    pub failure: bool,
    /// `DELAY`.
    pub delay: bool,
}

impl Notify {
    /// Parses the value of NOTIFY: `NEVER`, or a list of the others.
    ///
    /// ```
    /// use relay_mail::dsn::{Notify, RcptDsn};
    ///
    /// let never = RcptDsn { notify: Notify::parse("NEVER"), original: None };
    /// assert!(!never.wants_failure());
    /// // Without NOTIFY, the sender is told of failures and delays, not of success.
    /// let default = RcptDsn::default();
    /// assert!(default.wants_failure() && default.wants_delay() && !default.wants_success());
    /// // NEVER stands alone.
    /// assert_eq!(Notify::parse("NEVER,FAILURE"), None);
    /// ```
    pub fn parse(value: &str) -> Option<Self> {
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(Self::default());
        }
        let mut notify = Self::default();
        for word in value.split(',') {
            let flag = match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => &mut notify.success,
                "FAILURE" => &mut notify.failure,
                "DELAY" => &mut notify.delay,
                _ => return None,
            };
            if std::mem::replace(flag, true) {
                return None;
            }
        }
        Some(notify)
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let words: Vec<_> = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
        match words.is_empty() {
            true => f.write_str("NEVER"),
            false => f.write_str(&words.join(",")),
        }
    }
}
