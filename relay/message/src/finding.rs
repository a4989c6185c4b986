//! The possible findings of the checks, in the words of their standards.

use std::fmt;
use std::net::Ipv4Addr;

use relay_mail::path::Domain;

/// The findings about client and sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderFinding {
    /// Not asked: an explanation continues as if nothing were found against them.
    NotAsked,
    /// The findings of the checks that ran.
    Found(SenderFound),
}

/// The answers to a [`crate::question::SenderQuestion`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderFound {
    /// One for each list.
    pub block_lists: Vec<ListFinding>,
    /// Of SPF.
    pub spf: Option<SpfFinding>,
}

/// The findings about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageFinding {
    /// See [`SenderFinding::NotAsked`].
    NotAsked,
    /// The findings of the checks that ran.
    Found(MessageFound),
}

/// The answers to a [`crate::question::MessageQuestion`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageFound {
    /// Of DKIM.
    pub dkim: Option<DkimFinding>,
    /// Of DMARC.
    pub dmarc: Option<DmarcFinding>,
    /// Of Rspamd.
    pub rspamd: Option<RspamdFinding>,
}

/// The finding of a block list about a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFinding {
    /// Which list.
    pub zone: Domain,
    /// Its finding.
    pub verdict: ListVerdict,
}

/// See [`ListFinding`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListVerdict {
    /// The client is not on it.
    Clear,
    /// The client is on it, with this answer.
    Listed(Ipv4Addr),
    /// The list did not say; why, in a sentence.
    Unavailable(String),
}

/// The finding of SPF (RFC 7208).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpfFinding {
    /// Its result.
    pub result: SpfResult,
    /// The identity that was checked.
    pub identity: SpfIdentity,
    /// Its domain. If it is the client's name, it may be no domain at all.
    pub domain: String,
}

/// RFC 7208 section 2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpfResult {
    /// The domain says that the client is not authorised.
    Fail,
    /// The domain says that it does not say.
    Neutral,
    /// The domain publishes nothing.
    None,
    /// The client may send for the domain.
    Pass,
    /// The records of the domain cannot be understood.
    PermError,
    /// The client is probably not authorised.
    SoftFail,
    /// DNS did not answer.
    TempError,
}

/// RFC 7208 section 2.4: the sender's domain, or the client's name if the sender is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpfIdentity {
    /// The client's name.
    Helo,
    /// The domain of MAIL.
    MailFrom,
}

/// The finding of DKIM (RFC 6376).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DkimFinding {
    /// Each signature has a result; there may be none.
    Checked(Vec<DkimSignature>),
    /// The signatures could not be looked at; why, in a sentence.
    Unavailable(String),
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DkimSignature {
    /// Its result.
    pub result: DkimResult,
    /// The signing domain; empty if the signature cannot be parsed.
    pub domain: String,
    /// With which key; empty where the signature cannot be read.
    pub selector: String,
    /// Why it did not pass.
    pub why: Option<String>,
}

/// RFC 8601 section 2.7.1. `none`: there is no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DkimResult {
    /// Message and signature do not belong together.
    Fail,
    /// The signature cannot be verified.
    Neutral,
    /// The signature is valid.
    Pass,
    /// There is no key, or no usable one.
    PermError,
    /// The signature may be valid, but is not accepted here.
    Policy,
    /// DNS did not answer.
    TempError,
}

/// The finding of DMARC (RFC 7489, RFC 9989).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmarcFinding {
    /// Its result.
    pub result: DmarcResult,
    /// The policy of the domain for mail that fails; `None` if no domain published one.
    pub policy: DmarcPolicy,
    /// The domain of From; empty if there is not exactly one domain.
    pub domain: String,
    /// Why it did not pass.
    pub why: Option<String>,
}

/// RFC 7489 section 11.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmarcResult {
    /// Neither the sender's domain nor a signature belongs to the domain in From.
    Fail,
    /// The domain publishes nothing.
    None,
    /// From does not have exactly one domain (RFC 7489 sections 6.6.1 and 11.2, RFC 9989).
    NoAuthorDomain,
    /// The sender's domain or a signature belongs to the domain in From.
    Pass,
    /// The records of the domain cannot be understood.
    PermError,
    /// DNS did not answer.
    TempError,
}

/// The policy of a domain for mail that fails DMARC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmarcPolicy {
    /// Nothing.
    None,
    /// To be treated as suspicious.
    Quarantine,
    /// To be refused.
    Reject,
}

/// The finding of Rspamd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RspamdFinding {
    /// It did not say; why, in a sentence.
    Unavailable(String),
    /// The action that it proposes.
    Verdict {
        /// Which of its actions.
        action: RspamdAction,
        /// The score and the limit for a refusal, as in `7.30/15.00`.
        score: String,
    },
}

/// The actions of Rspamd, by its names. An unknown action is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RspamdAction {
    /// Mark it as spam.
    AddHeader,
    /// Accept and discard the message. We never do: the sender would not learn of it.
    Discard,
    /// Refuse temporarily, so that the client tries again.
    Greylist,
    /// Let it pass.
    NoAction,
    /// Store it in quarantine.
    Quarantine,
    /// Refuse it.
    Reject,
    /// Mark it as spam in its subject.
    RewriteSubject,
    /// Refuse it for now.
    SoftReject,
}

macro_rules! words {
    ($($type:ident: $($variant:ident = $word:literal),*;)*) => {
        $(impl $type {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word of the standard.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        })*
    };
}

words! {
    SpfResult: Fail = "fail", Neutral = "neutral", None = "none", Pass = "pass",
        PermError = "permerror", SoftFail = "softfail", TempError = "temperror";
    DkimResult: Fail = "fail", Neutral = "neutral", Pass = "pass", PermError = "permerror",
        Policy = "policy", TempError = "temperror";
    DmarcResult: Fail = "fail", None = "none", Pass = "pass", PermError = "permerror",
        NoAuthorDomain = "permerror", TempError = "temperror";
    DmarcPolicy: None = "none", Quarantine = "quarantine", Reject = "reject";
    RspamdAction: AddHeader = "add header", Discard = "discard", Greylist = "greylist",
        NoAction = "no action", Quarantine = "quarantine", Reject = "reject",
        RewriteSubject = "rewrite subject", SoftReject = "soft reject";
}

impl DmarcFinding {
    /// DMARC could not run.
    pub fn unavailable(why: &str) -> Self {
        Self {
            result: DmarcResult::TempError,
            policy: DmarcPolicy::None,
            domain: String::new(),
            why: Some(why.to_owned()),
        }
    }
}

impl DkimFinding {
    /// One word for all signatures: the best of them, as DMARC and `dkim = "Enforce"` use it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => DkimResult::TempError.word(),
            Self::Checked(signatures) => {
                let has = |result| signatures.iter().any(|signature| signature.result == result);
                let best = [DkimResult::Pass, DkimResult::TempError].into_iter().find(|&r| has(r));
                let first = signatures.first().map(|signature| signature.result);
                best.or(first).map_or("none", DkimResult::word)
            }
        }
    }
}

/// As in `spf=pass block_list zen.example=clear`.
impl fmt::Display for SenderFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for ListFinding { zone, verdict } in &self.block_lists {
            let verdict = match verdict {
                ListVerdict::Clear => "clear",
                ListVerdict::Listed(_) => "listed",
                ListVerdict::Unavailable(_) => "temperror",
            };
            write!(f, "{separator}{}={verdict}", zone.ascii())?;
            separator = " ";
        }
        if let Some(spf) = &self.spf {
            write!(f, "{separator}spf={}", spf.result)?;
        }
        Ok(())
    }
}

/// As in `dkim=none dmarc=fail p=reject rspamd=add header 7.30/15.00`.
impl fmt::Display for MessageFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(dkim) = &self.dkim {
            write!(f, "dkim={}", dkim.word())?;
            separator = " ";
        }
        if let Some(dmarc) = &self.dmarc {
            write!(f, "{separator}dmarc={}", dmarc.result)?;
            if dmarc.result == DmarcResult::Fail {
                write!(f, " p={}", dmarc.policy)?;
            }
            separator = " ";
        }
        match &self.rspamd {
            None => Ok(()),
            Some(RspamdFinding::Unavailable(_)) => write!(f, "{separator}rspamd=temperror"),
            Some(RspamdFinding::Verdict { action, score }) => {
                write!(f, "{separator}rspamd={action} {score}")
            }
        }
    }
}
