//! From the findings of the checks to the decision about client, sender and message.
//!
//! The checks run after everything else has let the command pass, so a client that may not relay
//! gets its refusal without waiting for DNS. Checks in mode annotate never refuse. Checks in mode
//! enforce refuse mail that fails, and refuse temporarily if they cannot run now: mail is neither
//! lost nor accepted unchecked. A permanent refusal goes before a temporary one, because otherwise
//! the client would come back only to get it. `antispam` performs the inquiries.

use crate::{Because, Decision, DecisionOrInquiry, Findings, Inquiry, Peer, Reasons, Rule};
use relay_connector::{AntiSpam, CheckMode, Permission};
use relay_mail::path::ReversePath;
use relay_mail::reply::{
    BLOCK_LIST_UNAVAILABLE, BLOCK_LISTED, DKIM_UNAVAILABLE, DMARC_REJECTED, DMARC_UNAVAILABLE,
    NO_PASSING_DKIM, RSPAMD_DEFERRED, RSPAMD_REJECTED, RSPAMD_UNAVAILABLE, Reply, SPF_FAILED,
    SPF_UNAVAILABLE,
};
use relay_message::finding::{
    DkimFinding, DkimResult, DkimSignature, DmarcFinding, DmarcPolicy, DmarcResult, ListVerdict,
    MessageFinding, RspamdAction, RspamdFinding, SenderFinding, SenderFound, SpfFinding,
    SpfIdentity, SpfResult,
};
use relay_message::question::{Client, MessageQuestion, SenderQuestion};

/// MAIL that everything else allows: do the block lists and SPF allow it too?
pub fn screen_sender(
    peer: &Peer,
    client: &Client,
    sender: &ReversePath,
    allowed: Decision,
    findings: &Findings,
) -> DecisionOrInquiry {
    let antispam = &peer.connector.antispam;
    if !antispam.checks_sender() {
        return DecisionOrInquiry::Decided(allowed);
    }
    let mut screening = Screening::new(allowed);
    if screening.reasons.permits(peer, Permission::BypassAntiSpam) {
        return screening.decide();
    }
    match &findings.sender {
        None => {
            return DecisionOrInquiry::Needs(Inquiry::Sender(SenderQuestion {
                client: client.clone(),
                sender: sender.clone(),
                block_lists: antispam.block_lists.iter().map(|list| list.zone.clone()).collect(),
                spf: antispam.spf.is_on(),
            }));
        }
        Some(SenderFinding::NotAsked) => screening.note_checks_not_made(sender_checks(antispam)),
        Some(SenderFinding::Found(found)) => {
            for list in &found.block_lists {
                let zone = list.zone.ascii();
                let configured = antispam.block_lists.iter().find(|known| known.zone == list.zone);
                let mode = configured.map_or(CheckMode::Off, |list| list.action);
                let (found, reply) = by_list(zone, &list.verdict);
                screening.take(Rule::BlockLists, mode, found, reply);
            }
            if let Some(spf) = &found.spf {
                let (found, reply) = by_spf(spf);
                screening.take(Rule::Spf, antispam.spf, found, reply);
            }
        }
    }
    screening.decide()
}

/// The end of a message that everything else allows: do its signatures, the domain in its From
/// and Rspamd allow it too?
pub fn screen_message(
    peer: &Peer,
    client: &Client,
    sender: Option<&SenderFound>,
    allowed: Decision,
    findings: &Findings,
) -> DecisionOrInquiry {
    let antispam = &peer.connector.antispam;
    if !antispam.checks_message() {
        return DecisionOrInquiry::Decided(allowed);
    }
    let mut screening = Screening::new(allowed);
    if screening.reasons.permits(peer, Permission::BypassAntiSpam) {
        return screening.decide();
    }
    match &findings.message {
        None => {
            return DecisionOrInquiry::Needs(Inquiry::Message(MessageQuestion {
                client: client.clone(),
                spf: sender.and_then(|sender| sender.spf.clone()),
                dkim: antispam.dkim.is_on(),
                dmarc: antispam.dmarc.is_on(),
                rspamd: antispam.rspamd.is_on(),
            }));
        }
        Some(MessageFinding::NotAsked) => screening.note_checks_not_made(message_checks(antispam)),
        Some(MessageFinding::Found(found)) => {
            if let Some(dkim) = &found.dkim {
                let (found, reply) = by_dkim(dkim);
                screening.take(Rule::Dkim, antispam.dkim, found, reply);
            }
            if let Some(dmarc) = &found.dmarc {
                let (found, reply) = by_dmarc(dmarc);
                screening.take(Rule::Dmarc, antispam.dmarc, found, reply);
            }
            if let Some(rspamd) = &found.rspamd {
                let (found, reply) = by_rspamd(rspamd);
                screening.take(Rule::Rspamd, antispam.rspamd, found, reply);
            }
        }
    }
    screening.decide()
}

/// Why this peer bypasses the checks of its connector; `None` if it does not, or if there are none.
pub fn bypass(peer: &Peer) -> Option<Because> {
    let antispam = &peer.connector.antispam;
    let has_checks = antispam.checks_sender() || antispam.checks_message();
    let is_spared = has_checks && peer.has(Permission::BypassAntiSpam);
    is_spared.then(|| peer.standing(Permission::BypassAntiSpam))
}

/// The reply is that of mode enforce.
fn by_list(zone: &str, verdict: &ListVerdict) -> (String, Option<Reply>) {
    match verdict {
        ListVerdict::Clear => (format!("the client is not listed in {zone}"), None),
        ListVerdict::Listed(answer) => {
            let text = format!("{}, listed in {zone}", BLOCK_LISTED.text);
            let reply = BLOCK_LISTED.with_text(text);
            (format!("the client is listed in {zone} with {answer}"), Some(reply))
        }
        ListVerdict::Unavailable(why) => {
            (format!("{zone} did not answer: {why}"), Some(BLOCK_LIST_UNAVAILABLE))
        }
    }
}

/// Only a `fail` of the domain is refused. A domain whose record cannot be understood does not say
/// that the client is unauthorised (RFC 7208 section 8.7 leaves the choice).
fn by_spf(spf: &SpfFinding) -> (String, Option<Reply>) {
    let SpfFinding { result, identity, domain } = spf;
    let whose = match identity {
        SpfIdentity::Helo => "client's name",
        SpfIdentity::MailFrom => "sender's domain",
    };
    let found = format!("{result} for the {whose} `{domain}`");
    let reply = match result {
        SpfResult::Fail => Some(SPF_FAILED),
        SpfResult::TempError => Some(SPF_UNAVAILABLE),
        SpfResult::Neutral
        | SpfResult::None
        | SpfResult::Pass
        | SpfResult::PermError
        | SpfResult::SoftFail => None,
    };
    (found, reply)
}

/// One valid signature of any domain is enough; no signature is a failure.
fn by_dkim(dkim: &DkimFinding) -> (String, Option<Reply>) {
    let signatures = match dkim {
        DkimFinding::Unavailable(why) => {
            return (format!("the signatures were not verified: {why}"), Some(DKIM_UNAVAILABLE));
        }
        DkimFinding::Checked(signatures) => signatures,
    };
    let has = |result| signatures.iter().any(|signature| signature.result == result);
    let reply = match () {
        () if has(DkimResult::Pass) => None,
        () if has(DkimResult::TempError) => Some(DKIM_UNAVAILABLE),
        () => Some(NO_PASSING_DKIM),
    };
    if signatures.is_empty() {
        return ("there is no signature".to_owned(), reply);
    }
    let each = signatures.iter().map(|DkimSignature { result, domain, why, .. }| {
        let why = why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        format!("{result} for `{domain}`{why}")
    });
    (each.collect::<Vec<_>>().join(", "), reply)
}

/// The domain decides about mail that fails; quarantine is not refused but marked.
fn by_dmarc(dmarc: &DmarcFinding) -> (String, Option<Reply>) {
    let DmarcFinding { result, policy, domain, why } = dmarc;
    let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    match result {
        DmarcResult::Fail => {
            let reply = (*policy == DmarcPolicy::Reject)
                .then(|| DMARC_REJECTED.with_text(format!("{} for {domain}", DMARC_REJECTED.text)));
            (format!("fail for `{domain}`, which asks for {policy}{why}"), reply)
        }
        // Otherwise every message could avoid the policy of its author's domain by an unclear From.
        DmarcResult::NoAuthorDomain => {
            (format!("{result}: there is no author domain{why}"), Some(DMARC_REJECTED))
        }
        DmarcResult::TempError => {
            (format!("temperror for `{domain}`{why}"), Some(DMARC_UNAVAILABLE))
        }
        DmarcResult::None | DmarcResult::Pass | DmarcResult::PermError => {
            (format!("{result} for `{domain}`{why}"), None)
        }
    }
}

/// Mail that Rspamd would discard is refused, so that its sender learns of it.
fn by_rspamd(rspamd: &RspamdFinding) -> (String, Option<Reply>) {
    match rspamd {
        RspamdFinding::Unavailable(why) => {
            (format!("Rspamd gave no verdict: {why}"), Some(RSPAMD_UNAVAILABLE))
        }
        RspamdFinding::Verdict { action, score } => {
            let reply = match action {
                RspamdAction::Discard | RspamdAction::Reject => Some(RSPAMD_REJECTED),
                RspamdAction::Greylist | RspamdAction::SoftReject => Some(RSPAMD_DEFERRED),
                RspamdAction::AddHeader
                | RspamdAction::NoAction
                | RspamdAction::Quarantine
                | RspamdAction::RewriteSubject => None,
            };
            (format!("{action} at {score}"), reply)
        }
    }
}

fn sender_checks(antispam: &AntiSpam) -> Vec<(Rule, String, CheckMode)> {
    let lists = antispam.block_lists.iter();
    lists
        .map(|list| {
            (Rule::BlockLists, format!("{} would be asked", list.zone.ascii()), list.action)
        })
        .chain([(Rule::Spf, "it would be asked".to_owned(), antispam.spf)])
        .collect()
}

fn message_checks(antispam: &AntiSpam) -> Vec<(Rule, String, CheckMode)> {
    let checks = [
        (Rule::Dkim, antispam.dkim),
        (Rule::Dmarc, antispam.dmarc),
        (Rule::Rspamd, antispam.rspamd),
    ];
    checks.into_iter().map(|(rule, mode)| (rule, "it would be asked".to_owned(), mode)).collect()
}

/// A decision that was positive so far, and the additions of the checks.
struct Screening {
    reasons: Reasons,
    reply: Reply,
    /// The refusal that counts, with its reason, which is noted last.
    refusal: Option<(Because, Reply)>,
}

impl Screening {
    fn new(allowed: Decision) -> Self {
        let Decision { reply, because, .. } = allowed;
        Self { reasons: Reasons(because), reply, refusal: None }
    }

    /// Enters one check. The first refusal counts, unless it is temporary and a later one is
    /// permanent.
    fn take(&mut self, rule: Rule, mode: CheckMode, found: String, reply: Option<Reply>) {
        let because = Because { rule, found: format!("{found} ({mode})").into() };
        let Some(reply) = reply.filter(|_| mode.is_enforced()) else {
            return self.reasons.0.push(because);
        };
        let is_better = match &self.refusal {
            None => true,
            Some((_, before)) => before.code < 500 && reply.code >= 500,
        };
        if is_better {
            let before = self.refusal.replace((because, reply));
            self.reasons.0.extend(before.map(|(because, _)| because));
        } else {
            self.reasons.0.push(because);
        }
    }

    fn note_checks_not_made(&mut self, checks: Vec<(Rule, String, CheckMode)>) {
        for (rule, found, mode) in checks {
            if mode.is_on() {
                self.reasons.note(rule, format!("{found} ({mode}); assumed harmless here"));
            }
        }
    }

    fn decide(mut self) -> DecisionOrInquiry {
        let reply = match self.refusal {
            None => self.reply,
            Some((because, reply)) => {
                self.reasons.0.push(because);
                reply
            }
        };
        DecisionOrInquiry::Decided(self.reasons.decide(reply))
    }
}
