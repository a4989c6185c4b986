//! The results of the checks of mail from strangers in a dialogue.
//!
//! ```text
//! block_list: listed           the result of every list: clear, listed, unavailable
//! spf: fail                    a result of RFC 7208
//! dkim: pass                   one signature with a result of RFC 8601; none, unavailable
//! dmarc: fail reject           a result of RFC 7489, and the domain's policy
//! rspamd: soft reject          an action of Rspamd, or unavailable
//! checks: silent               no inquiry gets an answer
//! ```

use relay_message::finding::{
    DkimFinding, DkimResult, DkimSignature, DmarcFinding, DmarcPolicy, DmarcResult, ListFinding,
    ListVerdict, MessageFound, RspamdAction, RspamdFinding, SenderFound, SpfFinding, SpfResult,
};
use relay_message::question::{MessageQuestion, SenderQuestion};

const WHY: &str = "the dialogue says so";

/// The results in a dialogue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checks {
    silent: bool,
    block_list: Option<ListVerdict>,
    spf: Option<SpfResult>,
    dkim: Option<DkimFinding>,
    dmarc: Option<(DmarcResult, DmarcPolicy)>,
    rspamd: Option<RspamdFinding>,
}

impl Checks {
    /// Parses a line of a dialogue; `None` if it is another kind of line.
    pub fn take(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "block_list:" => {
                self.block_list = Some(match value {
                    "clear" => ListVerdict::Clear,
                    "listed" => ListVerdict::Listed([127, 0, 0, 2].into()),
                    "unavailable" => ListVerdict::Unavailable(WHY.to_owned()),
                    _ => return None,
                });
            }
            "spf:" => self.spf = Some(word(SpfResult::ALL, SpfResult::word, value)?),
            "dkim:" => {
                self.dkim = Some(match value {
                    "none" => DkimFinding::Checked(Vec::new()),
                    "unavailable" => DkimFinding::Unavailable(WHY.to_owned()),
                    value => {
                        let result = word(DkimResult::ALL, DkimResult::word, value)?;
                        let why = (result != DkimResult::Pass).then(|| WHY.to_owned());
                        let (domain, selector) = ("signer.example".to_owned(), "s1".to_owned());
                        DkimFinding::Checked(vec![DkimSignature { result, domain, selector, why }])
                    }
                });
            }
            "dmarc:" => {
                if value == "no author domain" {
                    self.dmarc = Some((DmarcResult::NoAuthorDomain, DmarcPolicy::None));
                    return Some(());
                }
                let (result, policy) = value.split_once(' ').unwrap_or((value, "none"));
                let result = word(DmarcResult::ALL, DmarcResult::word, result)?;
                self.dmarc = Some((result, word(DmarcPolicy::ALL, DmarcPolicy::word, policy)?));
            }
            "rspamd:" => {
                self.rspamd = Some(match value {
                    "unavailable" => RspamdFinding::Unavailable(WHY.to_owned()),
                    value => RspamdFinding::Verdict {
                        action: word(RspamdAction::ALL, RspamdAction::word, value)?,
                        score: "7.30/15.00".to_owned(),
                    },
                });
            }
            "checks:" if value == "silent" => self.silent = true,
            _ => return None,
        }
        Some(())
    }

    /// Does the dialogue have no line about checks?
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// The finding about client and sender; `None` if there is no answer.
    pub fn sender(&self, question: &SenderQuestion) -> Option<SenderFound> {
        if self.silent {
            return None;
        }
        let verdict = || self.block_list.clone().expect("the dialogue has a block_list");
        let lists = question.block_lists.iter();
        let (identity, domain) = question.identity();
        Some(SenderFound {
            block_lists: lists
                .map(|zone| ListFinding { zone: zone.clone(), verdict: verdict() })
                .collect(),
            spf: question.spf.then(|| SpfFinding {
                result: self.spf.expect("the dialogue has spf"),
                identity,
                domain,
            }),
        })
    }

    /// The finding about the message; `None` if there is no answer.
    pub fn message(&self, question: &MessageQuestion) -> Option<MessageFound> {
        if self.silent {
            return None;
        }
        let dmarc = || {
            let (result, policy) = self.dmarc.expect("the dialogue has dmarc");
            let domain = match result {
                DmarcResult::NoAuthorDomain => "",
                _ => "author.example",
            };
            DmarcFinding { result, policy, domain: domain.to_owned(), why: None }
        };
        Some(MessageFound {
            dkim: question.dkim.then(|| self.dkim.clone().expect("the dialogue has dkim")),
            dmarc: question.dmarc.then(dmarc),
            rspamd: question.rspamd.then(|| self.rspamd.clone().expect("the dialogue has rspamd")),
        })
    }
}

fn word<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str, wanted: &str) -> Option<T> {
    all.iter().copied().find(|&one| word(one) == wanted)
}
