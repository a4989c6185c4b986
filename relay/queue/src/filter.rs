//! Which messages does an administrator select? `relay queue list --sender … --domain …`. Pure.
//!
//! A message must match all conditions of a filter. The conditions on recipients must match the
//! same waiting recipient: `--domain a.example --next-hop b` selects messages with a recipient in
//! a.example that b has deferred. The filter is sent to the daemon unchanged and evaluated there.

use crate::admin::seconds;
use crate::{Entry, Recipient, RecipientState};
use relay_mail::domain_pattern::DomainPattern;
use relay_mail::outcome::OutcomeReason;
use relay_mail::path::{Domain, ForwardPath, local_part_content};
use serde::{Deserialize, Serialize};

/// The conditions on a message. The default selects all messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// The sender, in which `*` stands for any text; empty for the null sender.
    pub sender: Option<Wildcard>,
    /// A waiting recipient, in which `*` stands for any text.
    pub recipient: Option<Wildcard>,
    /// The domain of a waiting recipient, or `*.domain` for the domain and its subdomains, in lower
    /// case and A-labels.
    pub domain: Option<DomainPattern>,
    /// A part of the name of the next hop that replied last for a waiting recipient; case is
    /// ignored.
    pub next_hop: Option<String>,
    /// A part of its reply, or of the local cause if there was no reply; case is ignored.
    pub because: Option<String>,
    /// Accepted before this time, in seconds since 1970. A time, not an age: an age would select
    /// other messages on each page.
    pub arrived_before: Option<u64>,
    /// Accepted at this time or later, in seconds since 1970.
    pub arrived_since: Option<u64>,
    /// It has more octets.
    pub larger_than: Option<u64>,
    /// It has fewer octets.
    pub smaller_than: Option<u64>,
    /// Is it held by an administrator?
    pub held: Option<bool>,
    /// It waits for another attempt, and is not held.
    pub deferred: bool,
}

/// A text in which `*` stands for any text. Case is ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wildcard(String);

impl Filter {
    /// Does this message match?
    pub fn matches(&self, entry: &Entry) -> bool {
        let arrived = seconds(entry.arrived);
        let holds = self.arrived_before.is_none_or(|time| arrived < time)
            && self.arrived_since.is_none_or(|time| arrived >= time)
            && self.larger_than.is_none_or(|size| entry.size > size)
            && self.smaller_than.is_none_or(|size| entry.size < size)
            && self.held.is_none_or(|held| entry.held == held)
            && (!self.deferred || is_deferred(entry));
        let sender = || entry.sender.to_string();
        holds
            && self.sender.as_ref().is_none_or(|wanted| wanted.matches_address(&sender()))
            && (!self.asks_for_recipients()
                || entry.recipients.iter().any(|recipient| self.selects(recipient)))
    }

    /// Does it mean this recipient, if that waits?
    pub fn selects(&self, recipient: &Recipient) -> bool {
        let RecipientState::Pending(answer) = &recipient.state else { return false };
        let answer = answer.as_ref();
        let hop = || answer.and_then(|answer| answer.hop.clone());
        let because = || answer.map(OutcomeReason::to_string);
        let domain = || match &recipient.path {
            ForwardPath::Mailbox(mailbox) => mailbox.domain().map_or("", Domain::ascii),
            ForwardPath::Postmaster => "",
        };
        self.recipient.as_ref().is_none_or(|it| it.matches_address(&recipient.path.to_string()))
            && self.domain.as_ref().is_none_or(|it| it.covers(domain()))
            && self.next_hop.as_deref().is_none_or(|it| contains(hop(), it))
            && self.because.as_deref().is_none_or(|it| contains(because(), it))
    }

    fn asks_for_recipients(&self) -> bool {
        self.recipient.is_some()
            || self.domain.is_some()
            || self.next_hop.is_some()
            || self.because.is_some()
    }
}

fn is_deferred(entry: &Entry) -> bool {
    let was_deferred =
        |recipient: &Recipient| matches!(recipient.state, RecipientState::Pending(Some(_)));
    !entry.held && entry.recipients.iter().any(was_deferred)
}

/// Is this a part of the text? A blank part is in no text.
fn contains(text: Option<String>, part: &str) -> bool {
    let is_blank = part.trim().is_empty();
    text.is_some_and(|text| !is_blank && text.to_lowercase().contains(&part.to_lowercase()))
}

impl Wildcard {
    /// Reads a text and removes angle brackets around an address, so that `<>` is the null sender.
    pub fn new(text: &str) -> Self {
        let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
        Self(inner.unwrap_or(text).to_lowercase())
    }

    /// Does this text match?
    pub fn matches(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let Some((first, rest)) = self.0.split_once('*') else { return text == self.0 };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(text) = text.strip_prefix(first) else { return false };
        let Some(mut text) = text.strip_suffix(last) else { return false };
        // The first occurrence of each part is enough: it leaves most of the text for the parts
        // that follow.
        for part in middle.split('*') {
            let Some(at) = text.find(part) else { return false };
            text = &text[at + part.len()..];
        }
        true
    }

    /// Does this address match? As for RCPT, needless quotes and the form of the domain are
    /// ignored.
    pub fn matches_address(&self, address: &str) -> bool {
        // Most addresses have only one form.
        let has_forms = |text: &str| text.contains(['"', '\\']) || has_labels(text);
        self.matches(address)
            || (has_forms(address) || has_forms(&self.0))
                && Self(in_one_form(&self.0)).matches(&in_one_form(address))
    }
}

fn has_labels(text: &str) -> bool {
    !text.is_ascii() || text.to_ascii_lowercase().contains("xn--")
}

/// The address without quotes, its domain in A-labels. For comparisons only.
fn in_one_form(address: &str) -> String {
    let Some((local_part, domain)) = address.rsplit_once('@') else { return address.to_owned() };
    let local_part = local_part_content(local_part);
    let domain =
        domain.parse().map_or_else(|_| domain.to_owned(), |it: DomainPattern| it.to_string());
    format!("{local_part}@{domain}").to_lowercase()
}

#[cfg(test)]
mod tests {
    use relay_mail::outcome::AnsweredCommand;

    use std::time::{Duration, SystemTime};

    use crate::filter::*;
    use crate::testing::entry_of;
    use relay_mail::outcome::Outcome;
    use relay_mail::reply::{Enhanced, Reply};

    #[test]
    fn an_address_is_found_in_any_form() {
        for (wanted, address, expected) in [
            ("\"carl\"@contoso.example", "carl@contoso.example", true),
            ("carl@contoso.example", "\"carl\"@contoso.example", true),
            ("carl@contoso.example", "\"c\\arl\"@contoso.example", true),
            ("a@b\u{fc}cher.example", "A@xn--bcher-kva.example", true),
            ("a@XN--bcher-kva.example", "a@b\u{dc}cher.example", true),
            ("*@*.b\u{fc}cher.example", "a@x.xn--bcher-kva.example", true),
            ("*@b\u{fc}cher.example", "\"a b\"@xn--bcher-kva.example", true),
            ("carl@contoso.example", "\"car\"@contoso.example", false),
            ("a@b\u{fc}cher.example", "a@bucher.example", false),
            ("<>", "\"\"@contoso.example", false),
        ] {
            let found = Wildcard::new(wanted).matches_address(address);
            assert_eq!(found, expected, "{wanted} {address}");
        }
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, matches) in [
            ("a@b.example", "A@B.example", true),
            ("a@b.example", "aa@b.example", false),
            ("*@b.example", "a@B.example", true),
            ("*@b.example", "a@c.b.example", false),
            ("a*", "a@b.example", true),
            ("*", "", true),
            ("*a*", "", false),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("**b", "ab", true),
            ("<>", "", true),
            ("<>", "a@b.example", false),
        ] {
            assert_eq!(Wildcard::new(pattern).matches(text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn a_filter_matches_only_if_all_its_conditions_do() {
        let reply = Reply::new(451, Some(Enhanced(4, 3, 0)), "Not now");
        let mut entry = entry_of("<a@b.example>", &["<one@c.example>", "<two@d.c.example>"]);
        entry.size = 100;
        entry.arrived = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        entry.apply(
            1,
            Outcome::Deferred(OutcomeReason::reply(
                "mail.c.example:25",
                reply,
                AnsweredCommand::Rcpt,
            )),
        );
        let all = Filter::default();
        let text = |text: &str| Some(text.to_owned());
        let wild = |text: &str| Some(Wildcard::new(text));
        for (filter, matches) in [
            (all.clone(), true),
            (Filter { sender: wild("*@b.example"), ..all.clone() }, true),
            (Filter { sender: wild("<>"), ..all.clone() }, false),
            (Filter { recipient: wild("two@*"), ..all.clone() }, true),
            (Filter { domain: "c.example".parse().ok(), ..all.clone() }, true),
            (Filter { domain: "d.c.example".parse().ok(), ..all.clone() }, true),
            (Filter { domain: "*.example".parse().ok(), ..all.clone() }, true),
            (Filter { domain: "example".parse().ok(), ..all.clone() }, false),
            (Filter { next_hop: text("MAIL.c"), ..all.clone() }, true),
            (Filter { because: text("not NOW"), ..all.clone() }, true),
            (Filter { because: text("451"), ..all.clone() }, true),
            (Filter { because: text("550"), ..all.clone() }, false),
            (Filter { because: text(""), ..all.clone() }, false),
            (Filter { next_hop: text(" "), ..all.clone() }, false),
            // The deferred recipient is in another domain.
            (
                Filter { domain: "c.example".parse().ok(), next_hop: text("mail"), ..all.clone() },
                false,
            ),
            (Filter { arrived_before: Some(1001), ..all.clone() }, true),
            (Filter { arrived_before: Some(1000), ..all.clone() }, false),
            (Filter { arrived_since: Some(1000), ..all.clone() }, true),
            (Filter { arrived_since: Some(1001), ..all.clone() }, false),
            (Filter { larger_than: Some(99), smaller_than: Some(101), ..all.clone() }, true),
            (Filter { larger_than: Some(100), ..all.clone() }, false),
            (Filter { smaller_than: Some(100), ..all.clone() }, false),
            (Filter { held: Some(false), deferred: true, ..all.clone() }, true),
            (Filter { held: Some(true), ..all.clone() }, false),
        ] {
            assert_eq!(filter.matches(&entry), matches, "{filter:?}");
        }
        entry.held = true;
        assert!(Filter { held: Some(true), ..all.clone() }.matches(&entry));
        assert!(!Filter { deferred: true, ..all }.matches(&entry));
    }

    #[test]
    fn an_unknown_filter_does_not_select_all() {
        assert!(serde_json::from_str::<Filter>(r#"{"colour":"red"}"#).is_err());
        assert_eq!(serde_json::from_str::<Filter>("{}").unwrap(), Filter::default());
    }
}
