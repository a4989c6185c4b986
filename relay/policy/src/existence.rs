//! RCPT: does the recipient exist?
//!
//! All recipients are known here only for an authoritative domain: from a file, or from a server
//! that can be asked. Unknown recipients of the other types are relayed. `postmaster` exists in
//! every domain (RFC 5321 section 4.5.1).

use crate::{
    AcceptedDomain, AcceptedDomainType, DecisionOrInquiry, Findings, Inquiry, Reasons,
    RecipientFinding, RecipientLookup, RecipientsFile, Rule,
};
use relay_mail::path::Mailbox;
use relay_mail::reply::{RECIPIENT_NOT_FOUND, RECIPIENT_OK, RECIPIENT_UNVERIFIED, Reply};

/// Decides about a recipient in this domain that passes everything else.
pub(super) fn judge(
    mailbox: &Mailbox,
    accepted: &AcceptedDomain,
    findings: &Findings,
    mut reasons: Reasons,
) -> DecisionOrInquiry {
    let is_postmaster = mailbox.local_part_content().eq_ignore_ascii_case("postmaster");
    let reply = if accepted.kind != AcceptedDomainType::Authoritative {
        RECIPIENT_OK
    } else if is_postmaster {
        reasons.note(Rule::Postmaster, "exists in every domain");
        RECIPIENT_OK
    } else if let Some(file) = &accepted.recipients_file {
        by_file(mailbox, file, &mut reasons)
    } else if let Some(lookup) = &accepted.recipient_lookup {
        let Some(finding) = &findings.recipient else {
            let (mailbox, lookup) = (mailbox.clone(), lookup.clone());
            return DecisionOrInquiry::Needs(Inquiry::Recipient { mailbox, lookup });
        };
        by_finding(finding, lookup, &mut reasons)
    } else {
        RECIPIENT_OK
    };
    DecisionOrInquiry::Decided(reasons.decide(reply))
}

fn by_file(mailbox: &Mailbox, file: &RecipientsFile, reasons: &mut Reasons) -> Reply {
    const RULE: Rule = Rule::RecipientsFile;
    let path = file.path.display();
    match &file.list {
        Some(list) if list.contains(mailbox) => {
            reasons.note(RULE, format!("{path} lists the recipient"));
            RECIPIENT_OK
        }
        Some(list) => {
            reasons.note(RULE, format!("the recipient is not among the {} in {path}", list.len()));
            RECIPIENT_NOT_FOUND
        }
        None => {
            reasons.note(RULE, format!("{path} has not been read"));
            RECIPIENT_UNVERIFIED
        }
    }
}

/// If it is unknown whether a recipient exists, accepting could lead to a report, and a permanent
/// refusal could be wrong: the refusal is temporary.
fn by_finding(
    finding: &RecipientFinding,
    lookup: &RecipientLookup,
    reasons: &mut Reasons,
) -> Reply {
    const RULE: Rule = Rule::RecipientLookup;
    match finding {
        RecipientFinding::Known => {
            reasons.note(RULE, format!("{lookup} knows the recipient"));
            RECIPIENT_OK
        }
        RecipientFinding::NotAsked => {
            reasons.note(RULE, format!("{lookup} would be asked; assumed to know the recipient"));
            RECIPIENT_OK
        }
        RecipientFinding::Unavailable(why) => {
            reasons.note(RULE, format!("{lookup} did not answer: {why}"));
            RECIPIENT_UNVERIFIED
        }
        RecipientFinding::Unknown(reply) => {
            reasons.note(RULE, format!("{lookup} refused the recipient: {reply}"));
            RECIPIENT_NOT_FOUND
        }
    }
}
