//! Our field about mail that was accepted: is it suspicious?
//!
//! SPF, DKIM and DMARC have their results in Authentication-Results; block lists and Rspamd have
//! none there. One field that begins with one word is easy to use in a rule of a mailbox server.
//! Like our Authentication-Results, it is removed from received mail.

use crate::finding::{
    DmarcPolicy, DmarcResult, ListVerdict, MessageFound, RspamdAction, RspamdFinding, SenderFound,
};
use crate::header::Field;
use crate::limits::RESULT_VALUE_OCTETS;

const NAME: &str = "X-Relay-Spam";

/// Does this field claim to be ours?
pub fn is_claimed_by(field: Field<'_>) -> bool {
    field.name().eq_ignore_ascii_case(NAME.as_bytes())
}

/// `X-Relay-Spam: Yes` or `No`, and the reason, with its CRLF; `None` if no check ran.
pub fn field(sender: Option<&SenderFound>, message: Option<&MessageFound>) -> Option<String> {
    let suspicions = suspicions(sender, message);
    let word = if suspicions.is_empty() { "No" } else { "Yes" };
    let others = asked(sender, message);
    if suspicions.is_empty() && others.is_none() {
        return None;
    }
    let reasons = suspicions.into_iter().chain(others.into_iter().flatten());
    let printable = |character| if matches!(character, ' '..='~') { character } else { '?' };
    let mut field = format!("{NAME}: {word}");
    for reason in reasons {
        field.push_str(";\r\n\t");
        field.extend(reason.chars().take(RESULT_VALUE_OCTETS).map(printable));
    }
    field.push_str("\r\n");
    Some(field)
}

/// The checks that ran and found nothing suspicious, or gave no answer; `None` if neither a list
/// nor Rspamd ran.
fn asked(sender: Option<&SenderFound>, message: Option<&MessageFound>) -> Option<Vec<String>> {
    let lists = sender.map(|sender| sender.block_lists.as_slice()).unwrap_or_default();
    let rspamd = message.and_then(|message| message.rspamd.as_ref());
    if lists.is_empty() && rspamd.is_none() {
        return None;
    }
    let silent = lists.iter().filter(|list| matches!(list.verdict, ListVerdict::Unavailable(_)));
    let silent = silent.map(|list| format!("{} temperror", list.zone.ascii()));
    let rspamd = match rspamd {
        Some(RspamdFinding::Verdict { action, score }) if !is_spam(*action) => {
            Some(format!("rspamd {action} {score}"))
        }
        Some(RspamdFinding::Unavailable(_)) => Some("rspamd temperror".to_owned()),
        Some(RspamdFinding::Verdict { .. }) | None => None,
    };
    Some(silent.chain(rspamd).collect())
}

/// The findings that make a message suspicious although the policy accepts it: a block list, a
/// domain whose policy is quarantine or reject, an unclear author domain, Rspamd. A failed SPF or DKIM alone is not
/// suspicious: forwarded mail fails SPF, and much mail has no signature.
fn suspicions(sender: Option<&SenderFound>, message: Option<&MessageFound>) -> Vec<String> {
    let mut suspicions = Vec::new();
    for list in sender.iter().flat_map(|sender| &sender.block_lists) {
        if let ListVerdict::Listed(answer) = list.verdict {
            suspicions.push(format!("listed in {} ({answer})", list.zone.ascii()));
        }
    }
    match message.and_then(|message| message.dmarc.as_ref()) {
        Some(dmarc) if dmarc.result == DmarcResult::NoAuthorDomain => {
            suspicions.push("dmarc no author domain".to_owned());
        }
        Some(dmarc) if dmarc.result == DmarcResult::Fail && dmarc.policy != DmarcPolicy::None => {
            suspicions.push(format!("dmarc {}", dmarc.policy));
        }
        _ => {}
    }
    if let Some(RspamdFinding::Verdict { action, score }) =
        message.and_then(|message| message.rspamd.as_ref())
        && is_spam(*action)
    {
        suspicions.push(format!("rspamd {action} {score}"));
    }
    suspicions
}

/// Does this action of Rspamd mark a message as spam?
const fn is_spam(action: RspamdAction) -> bool {
    match action {
        RspamdAction::AddHeader
        | RspamdAction::Discard
        | RspamdAction::Quarantine
        | RspamdAction::Reject
        | RspamdAction::RewriteSubject => true,
        RspamdAction::Greylist | RspamdAction::NoAction | RspamdAction::SoftReject => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::finding::{DmarcFinding, ListFinding};
    use crate::spam::*;
    use relay_mail::path::Domain;

    fn lists(verdict: ListVerdict) -> SenderFound {
        let zone = Domain::parse("zen.example").unwrap();
        SenderFound { block_lists: vec![ListFinding { zone, verdict }], spf: None }
    }

    fn rspamd(action: RspamdAction) -> MessageFound {
        let verdict = RspamdFinding::Verdict { action, score: "7.30/15.00".to_owned() };
        MessageFound { rspamd: Some(verdict), ..MessageFound::default() }
    }

    #[test]
    fn one_word_says_whether_anything_speaks_against_it() {
        let listed = lists(ListVerdict::Listed([127, 0, 0, 2].into()));
        let clear = lists(ListVerdict::Clear);
        let (spam, ham) = (rspamd(RspamdAction::AddHeader), rspamd(RspamdAction::NoAction));
        assert_eq!(
            field(Some(&listed), Some(&spam)).unwrap(),
            "X-Relay-Spam: Yes;\r\n\tlisted in zen.example (127.0.0.2);\r\n\
             \trspamd add header 7.30/15.00\r\n"
        );
        assert_eq!(
            field(Some(&clear), Some(&ham)).unwrap(),
            "X-Relay-Spam: No;\r\n\trspamd no action 7.30/15.00\r\n"
        );
        assert_eq!(field(Some(&clear), None).unwrap(), "X-Relay-Spam: No\r\n");
        let unavailable = RspamdFinding::Unavailable("\r\n".to_owned());
        let unavailable = MessageFound { rspamd: Some(unavailable), ..MessageFound::default() };
        assert_eq!(
            field(None, Some(&unavailable)).unwrap(),
            "X-Relay-Spam: No;\r\n\trspamd temperror\r\n"
        );
        let silent = lists(ListVerdict::Unavailable("late".to_owned()));
        assert_eq!(
            field(Some(&silent), Some(&spam)).unwrap(),
            "X-Relay-Spam: Yes;\r\n\trspamd add header 7.30/15.00;\r\n\tzen.example temperror\r\n"
        );
        assert_eq!(field(None, None), None);
        assert_eq!(field(Some(&SenderFound::default()), Some(&MessageFound::default())), None);
    }

    #[test]
    fn quarantine_of_dmarc_is_a_suspicion_and_a_policy_of_none_is_not() {
        let dmarc = |policy| {
            let (result, domain) = (DmarcResult::Fail, "fabrikam.example".to_owned());
            let dmarc = DmarcFinding { result, policy, domain, why: None };
            field(None, Some(&MessageFound { dmarc: Some(dmarc), ..MessageFound::default() }))
        };
        let quarantine = "X-Relay-Spam: Yes;\r\n\tdmarc quarantine\r\n".to_owned();
        assert_eq!(dmarc(DmarcPolicy::Quarantine), Some(quarantine));
        assert_eq!(dmarc(DmarcPolicy::None), None);
    }

    #[test]
    fn a_message_without_an_author_domain_is_suspicious() {
        let dmarc = DmarcFinding {
            result: DmarcResult::NoAuthorDomain,
            policy: DmarcPolicy::None,
            domain: String::new(),
            why: None,
        };
        let field = field(None, Some(&MessageFound { dmarc: Some(dmarc), ..Default::default() }));
        assert!(field.unwrap().starts_with("X-Relay-Spam: Yes;"));
    }
}
