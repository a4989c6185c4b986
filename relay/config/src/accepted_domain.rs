//! `[[accepted_domain]]`.

use std::collections::HashMap;

use crate::document::{Section, Value, Wrong, nearest};
use crate::value::{not_a_domain_name, path, text, unknown_word};
use relay_mail::domain_pattern::{DomainPattern, InvalidDomainPattern};
use relay_mail::protocol::DeliveryProtocol;
use relay_policy::{
    AcceptedDomain, AcceptedDomainType, AcceptedDomains, RecipientLookup, RecipientsFile,
};

/// Reads every accepted domain.
pub(super) fn read(sections: Vec<Section<'_, '_>>) -> AcceptedDomains {
    let mut lines: HashMap<DomainPattern, u32> = HashMap::new();
    let mut domains = AcceptedDomains::default();
    for mut section in sections {
        let pattern = section.require(
            "name",
            "write name = \"contoso.example\", or \"*.contoso.example\" with its subdomains",
            pattern,
        );
        if let Some(pattern) = &pattern {
            section.place = format!("accepted domain \"{pattern}\"");
            if let Some(earlier) = lines.insert(pattern.clone(), section.line) {
                let problem = format!("is the name of another accepted domain (line {earlier})");
                section.refuse(section.line, "name", Wrong::new(problem, "remove one of them"));
            }
        }
        // As in Exchange, New-AcceptedDomain without a type creates an authoritative domain.
        let kind = section.take("type", kind).unwrap_or(AcceptedDomainType::Authoritative);
        let line = section.line_of("recipient_lookup");
        let recipient_lookup = section.take("recipient_lookup", lookup);
        if recipient_lookup.is_some() && kind != AcceptedDomainType::Authoritative {
            let problem =
                format!("has no effect: with type {kind} unknown recipients are forwarded");
            let mend = "remove it, or write type = \"Authoritative\"";
            section.refuse(line, "recipient_lookup", Wrong::new(problem, mend));
        }
        let recipients_file = recipients_file(&mut section, kind, recipient_lookup.is_some());
        if let Some(pattern) = pattern {
            let line = section.line;
            domains.insert(AcceptedDomain {
                pattern,
                line,
                kind,
                recipient_lookup,
                recipients_file,
            });
        }
        section.finish(unsupported);
    }
    domains
}

fn recipients_file(
    section: &mut Section<'_, '_>,
    kind: AcceptedDomainType,
    has_lookup: bool,
) -> Option<RecipientsFile> {
    const KEY: &str = "recipients_file";
    let line = section.line_of(KEY);
    let path = section.take(KEY, path)?;
    if kind != AcceptedDomainType::Authoritative {
        let problem = format!("has no effect: with type {kind} unknown recipients are forwarded");
        let mend = "remove it, or write type = \"Authoritative\"";
        section.refuse(line, KEY, Wrong::new(problem, mend));
    } else if has_lookup {
        let problem = "contradicts recipient_lookup: only one of the two can list the recipients";
        section.refuse(line, KEY, Wrong::new(problem, "remove one of them"));
    }
    Some(RecipientsFile { path, list: None })
}

fn pattern(value: Value<'_>) -> Result<DomainPattern, Wrong> {
    let text = text(value)?;
    if text == "*" {
        return Err(Wrong::new(
            "`*` accepts every domain: every client with Submit could relay",
            "name your domains; to relay for some clients, grant them \
             ms-Exch-SMTP-Accept-Any-Recipient on a connector of their own",
        ));
    }
    domain_pattern(&text)
}

/// `contoso.example`, or `*.contoso.example`, which includes its subdomains.
pub(super) fn domain_pattern(text: &str) -> Result<DomainPattern, Wrong> {
    text.parse().map_err(|error| match error {
        InvalidDomainPattern::Star => Wrong::new(
            format!("`{text}`: a star is allowed only as the first label"),
            "write the star in front, as in *.contoso.example",
        ),
        InvalidDomainPattern::Domain(error) => not_a_domain_name(text, error),
    })
}

fn kind(value: Value<'_>) -> Result<AcceptedDomainType, Wrong> {
    let text = text(value)?;
    let names: Vec<_> = AcceptedDomainType::ALL.iter().map(|kind| kind.name()).collect();
    text.parse().map_err(|()| unknown_word(&text, &names))
}

/// `smtp://host:port` or `lmtp://host:port`.
fn lookup(value: Value<'_>) -> Result<RecipientLookup, Wrong> {
    let text = text(value)?;
    let wrong = || {
        Wrong::new(
            format!("`{text}` is not a server for look-ups"),
            "write smtp://host:port or lmtp://host:port, as in `smtp://mail.contoso.example:25`",
        )
    };
    let (scheme, server) = text.split_once("://").ok_or_else(wrong)?;
    // RFC 3986 section 3.1: schemes are compared without regard to case, as all words here are.
    let protocol = match scheme.to_ascii_lowercase().as_str() {
        "smtp" => DeliveryProtocol::Smtp,
        "lmtp" => DeliveryProtocol::Lmtp,
        _ => return Err(wrong()),
    };
    Ok(RecipientLookup { protocol, server: server.parse().map_err(|_| wrong())? })
}

/// Keys that administrators know from New-AcceptedDomain.
fn unsupported(key: &str) -> Option<Wrong> {
    match nearest(key, &["domain_name", "domain_type", "match_sub_domains"])? {
        "domain_name" => Some(Wrong::new("is called name here", "write name = …")),
        "domain_type" => Some(Wrong::new("is called type here", "write type = …")),
        _ => Some(Wrong::new(
            "is not a key here",
            "write name = \"*.contoso.example\" for a domain with its subdomains",
        )),
    }
}
