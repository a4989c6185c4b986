//! What a connector checks of mail from strangers, and how far it acts on what it finds.

use std::fmt;

use relay_mail::path::Domain;

/// What becomes of a check's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckMode {
    /// The check does not take place.
    #[default]
    Off,
    /// The result is written into the message's header, and nobody is refused.
    Annotate,
    /// What fails is refused, and what cannot be checked now is refused for now.
    Enforce,
}

/// `[antispam]`, and the `antispam` of a connector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AntiSpam {
    /// `block_lists`: DNS lists of clients that nobody wants, in the order they are asked.
    pub block_lists: Vec<BlockList>,
    /// `spf`: may the client send for the sender's domain (RFC 7208)?
    pub spf: CheckMode,
    /// `dkim`: does a signature hold (RFC 6376)?
    pub dkim: CheckMode,
    /// `dmarc`: does the domain in From stand behind the message (RFC 7489, RFC 9989)?
    pub dmarc: CheckMode,
    /// `rspamd`: what does Rspamd think of the content?
    pub rspamd: CheckMode,
}

/// One entry of `block_lists`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockList {
    /// `zone`: the domain that the list is published under (RFC 5782).
    pub zone: Domain,
    /// `action`: never [`CheckMode::Off`].
    pub action: CheckMode,
}

impl CheckMode {
    /// Every mode, from the mildest.
    pub const ALL: &[Self] = &[Self::Off, Self::Annotate, Self::Enforce];

    /// The name, as the configuration spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "Off",
            Self::Annotate => "Annotate",
            Self::Enforce => "Enforce",
        }
    }

    /// Does the check take place?
    pub const fn is_on(self) -> bool {
        !matches!(self, Self::Off)
    }

    /// Is what fails refused?
    pub const fn is_enforced(self) -> bool {
        matches!(self, Self::Enforce)
    }
}

impl AntiSpam {
    /// Is anything asked about client and sender, before the message comes?
    pub fn checks_sender(&self) -> bool {
        self.spf.is_on() || !self.block_lists.is_empty()
    }

    /// Is anything asked about the message?
    pub fn checks_message(&self) -> bool {
        self.dkim.is_on() || self.dmarc.is_on() || self.rspamd.is_on()
    }

    /// Does a check need DNS?
    pub fn needs_dns(&self) -> bool {
        self.checks_sender() || self.dkim.is_on() || self.dmarc.is_on()
    }
}

impl fmt::Display for CheckMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
