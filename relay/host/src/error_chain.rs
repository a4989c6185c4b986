//! An error with its causes, as one line.

use std::error::Error;
use std::iter::successors;

/// The error and its causes, outermost first. Many of our errors quote their cause; text that was
/// printed already is not repeated.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    successors(Some(error), |&error| error.source()).fold(String::new(), |mut text, cause| {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use crate::error_chain::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("cannot load: {0}")]
        Quoting(#[source] io::Error),
        #[error("cannot load")]
        Silent(#[source] io::Error),
    }

    #[test]
    fn every_cause_is_printed_once() {
        let cause = || io::Error::other("not permitted");
        assert_eq!(error_chain(&Outer::Quoting(cause())), "cannot load: not permitted");
        assert_eq!(error_chain(&Outer::Silent(cause())), "cannot load: not permitted");
    }
}
