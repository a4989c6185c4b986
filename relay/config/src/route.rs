//! `[[route]]`, and `[mx]`.

use std::collections::HashMap;

use crate::Mx;
use crate::accepted_domain::domain_pattern;
use crate::document::{Section, Value, Wrong};
use crate::next_hop;
use crate::value::{boolean, number, text};
use relay_delivery::Route;
use relay_delivery::limits::SMTP_PORT;
use relay_delivery::route::{RecipientPattern, SenderPattern, folded};
use relay_mail::path::Mailbox;

/// Reads every route.
pub(super) fn read(sections: Vec<Section<'_, '_>>) -> Vec<Route> {
    let mut lines: HashMap<(RecipientPattern, SenderPattern), u32> = HashMap::new();
    let mut routes = Vec::with_capacity(sections.len());
    for mut section in sections {
        let line = section.line;
        if !section.has_key("recipient_domains") && !section.has_key("senders") {
            let problem = "has neither recipients nor senders";
            let mend = "write recipient_domains = [\"fabrikam.example\"], or [\"*\"] for all of it";
            section.refuse(line, "", Wrong::new(problem, mend));
        }
        let mut recipients = section.take_list("recipient_domains", recipient_pattern);
        let mut senders = section.take_list("senders", sender_pattern);
        if recipients.is_empty() {
            recipients.push(RecipientPattern::Any);
        }
        if senders.is_empty() {
            senders.push(SenderPattern::Any);
        }
        for recipient in &recipients {
            for sender in &senders {
                let pair = (recipient.clone(), sender.clone());
                if let Some(earlier) = lines.insert(pair, line) {
                    let problem = format!(
                        "recipient_domains {recipient} with senders {sender} is also in the \
                         route of line {earlier}"
                    );
                    section.refuse(line, "", Wrong::new(problem, "remove it from one of them"));
                }
            }
        }
        let next_hop = next_hop::read(&mut section);
        routes.push(Route { line, recipients, senders, next_hop });
        section.finish(|_| None);
    }
    routes
}

fn recipient_pattern(value: Value<'_>) -> Result<RecipientPattern, Wrong> {
    let text = text(value)?;
    if text == "*" {
        Ok(RecipientPattern::Any)
    } else {
        domain_pattern(&text).map(RecipientPattern::Domain)
    }
}

fn sender_pattern(value: Value<'_>) -> Result<SenderPattern, Wrong> {
    let text = text(value)?;
    if !text.contains('@') {
        return domain_pattern(&text).map(SenderPattern::Domain);
    }
    match Mailbox::parse(&text) {
        Ok(mailbox) => Ok(SenderPattern::Address(folded(&mailbox))),
        Err(error) => Err(Wrong::new(
            format!("`{text}` is not an address: {error}"),
            "write an address or a domain, as in scanner@contoso.example",
        )),
    }
}

/// Reads `[mx]`.
pub(super) fn mx(mut section: Section<'_, '_>) -> Mx {
    let port = section.take("port", number(1..=u16::MAX)).unwrap_or(SMTP_PORT);
    let line = section.line_of("allow_private_addresses");
    let allow_private_addresses = section.take("allow_private_addresses", boolean).unwrap_or(false);
    if allow_private_addresses {
        let problem = "every owner of a domain can direct mail to hosts behind this host";
        let mend = "use it only in laboratories; a route to a smart host does not need it";
        section.warn(line, "allow_private_addresses", Wrong::new(problem, mend));
    }
    section.finish(|_| None);
    Mx { port, allow_private_addresses }
}
