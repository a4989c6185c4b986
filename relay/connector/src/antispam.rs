//! The checks of a connector for mail from strangers, and the effect of their results.

use std::fmt;

use relay_mail::path::Domain;

/// The effect of a check's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckMode {
    /// The check does not run.
    #[default]
    Off,
    /// The result is written into the message's header, and no mail is refused.
    Annotate,
    /// Mail that fails is refused, and refused temporarily if the check cannot run now.
    Enforce,
}

/// `[antispam]`, and the `antispam` of a connector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AntiSpam {
    /// `block_lists`: DNS lists of unwanted clients, in the order in which they are asked.
    pub block_lists: Vec<BlockList>,
    /// `spf`: may the client send for the sender's domain (RFC 7208)?
    pub spf: CheckMode,
    /// `dkim`: is a signature valid (RFC 6376)?
    pub dkim: CheckMode,
    /// `dmarc`: has the domain in From authorised the message (RFC 7489, RFC 9989)?
    pub dmarc: CheckMode,
    /// `rspamd`: Rspamd's verdict about the content.
    pub rspamd: CheckMode,
}

/// One entry of `block_lists`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockList {
    /// `zone`: the domain of the list in DNS (RFC 5782).
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

    /// Does the check run?
    pub const fn is_on(self) -> bool {
        !matches!(self, Self::Off)
    }

    /// Is mail that fails refused?
    pub const fn is_enforced(self) -> bool {
        matches!(self, Self::Enforce)
    }
}

impl AntiSpam {
    /// Does a check of client and sender run, before the message arrives?
    pub fn checks_sender(&self) -> bool {
        self.spf.is_on() || !self.block_lists.is_empty()
    }

    /// Does a check of the message run?
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
