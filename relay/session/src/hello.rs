//! How did the client introduce itself?

use relay_mail::hello::HelloName;

/// How the client introduced itself.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    pub(super) name: HelloName,
    pub(super) kind: HelloKind,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HelloKind {
    Ehlo,
    Helo,
}
