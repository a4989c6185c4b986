//! The classic open-relay tests: forms of addresses that made servers relay, and senders that a
//! stranger must not use.
//!
//! `{F}` is a foreign domain, `{A}` an accepted domain, `{H}` our own name, `{I}` our address as a
//! literal. Malformed addresses are included: most of these attacks used a form that a parser
//! understood differently.

use std::net::IpAddr;

/// The request of a probe, which one permission grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asks {
    /// Mail to a host that is not ours.
    ToRelay,
    /// A sender of a domain that is not ours.
    ToSpeakForOthers,
    /// A sender of a domain of ours.
    ToSpeakForUs,
}

/// One probe.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The name.
    pub name: &'static str,
    /// The request.
    pub asks: Asks,
    /// The MAIL command.
    pub mail: Vec<u8>,
    /// The RCPT command; not sent if the sender is tested.
    pub rcpt: Vec<u8>,
}

/// The values of the placeholders.
pub(super) struct Names<'a> {
    pub(super) hostname: &'a str,
    pub(super) local: IpAddr,
    /// An authoritative domain, if there is one.
    pub(super) own: Option<&'a str>,
    /// An accepted domain of any type, if there is one.
    pub(super) accepted: Option<&'a str>,
}

/// A domain that no server accepts (RFC 2606).
const FOREIGN: &str = "relay-test.invalid";

/// Recipients, as they stand after `RCPT TO:`.
const RECIPIENTS: &[(&str, &str)] = &[
    ("a foreign recipient", "<victim@{F}>"),
    ("upper case", "<VICTIM@RELAY-TEST.INVALID>"),
    ("without brackets", "victim@{F}"),
    ("quoted as a whole", "<\"victim@{F}\">"),
    ("quoted local part", "<\"victim\"@{F}>"),
    ("a comment before the domain", "<victim(@{A})@{F}>"),
    ("a comment after the domain", "<victim@{F}(@{A})>"),
    ("a name in front", "Victim <victim@{F}>"),
    ("two paths", "<user@{A}>,<victim@{F}>"),
    ("two addresses in one path", "<user@{A},victim@{F}>"),
    ("two addresses with a semicolon", "<user@{A};victim@{F}>"),
    ("two addresses with a space", "<user@{A} victim@{F}>"),
    ("a path in a path", "<<victim@{F}>@{A}>"),
    ("a path that ends early", "<user@{A}><victim@{F}>"),
    ("percent hack, no domain", "<victim%{F}>"),
    ("percent hack at an accepted domain", "<victim%{F}@{A}>"),
    ("percent hack at our name", "<victim%{F}@{H}>"),
    ("percent hack at our address", "<victim%{F}@{I}>"),
    ("quoted percent hack", "<\"victim%{F}\"@{A}>"),
    ("quoted percent hack, no domain", "<\"victim%{F}\">"),
    ("percent hack twice", "<victim%{F}%{A}@{A}>"),
    ("percent hack behind a plus", "<user+victim%{F}@{A}>"),
    ("an address that Exchange encapsulated", "<IMCEASMTP-victim+40{F}@{A}>"),
    ("DECnet's two colons", "<\"{F}::victim\"@{A}>"),
    ("bang path, no domain", "<{F}!victim>"),
    ("bang path at an accepted domain", "<{F}!victim@{A}>"),
    ("bang path at our name", "<{F}!victim@{H}>"),
    ("bang path at our address", "<{F}!victim@{I}>"),
    ("bang path through us", "<{A}!{F}!victim@{A}>"),
    ("bang path to a foreign domain", "<{A}!victim@{F}>"),
    ("quoted @ at an accepted domain", "<\"victim@{F}\"@{A}>"),
    ("quoted @ at our name", "<\"victim@{F}\"@{H}>"),
    ("quoted @ at our address", "<\"victim@{F}\"@{I}>"),
    ("escaped @ at an accepted domain", "<victim\\@{F}@{A}>"),
    ("doubled @, ours last", "<victim@{F}@{A}>"),
    ("doubled @, ours last, our address", "<victim@{F}@{I}>"),
    ("doubled @, ours first", "<user@{A}@{F}>"),
    ("doubled @ in a row", "<victim@@{F}>"),
    ("source route over an accepted domain", "<@{A}:victim@{F}>"),
    ("source route over our name", "<@{H}:victim@{F}>"),
    ("source route over our address", "<@{I}:victim@{F}>"),
    ("source route over two hosts", "<@{A},@{H}:victim@{F}>"),
    ("source route with a percent hack", "<@{A}:victim%{F}@{A}>"),
    ("colon in the local part", "<{A}:victim@{F}>"),
    ("a foreign address literal", "<victim@[198.51.100.7]>"),
    ("a foreign IPv6 literal", "<victim@[IPv6:2001:db8:ffff::7]>"),
    ("a mapped literal", "<victim@[IPv6:::ffff:198.51.100.7]>"),
    ("a literal without brackets", "<victim@198.51.100.7>"),
    ("an address as a number", "<victim@3325256711>"),
    ("an address in hex", "<victim@0xc6336407>"),
    ("a tagged literal", "<victim@[x-test:{F}]>"),
    ("loopback as a literal", "<victim@[127.0.0.1]>"),
    ("loopback as a name", "<victim@localhost>"),
    ("an accepted domain below a foreign one", "<victim@{A}.{F}>"),
    ("an accepted domain as a suffix", "<victim@x{A}>"),
    ("an accepted domain as a prefix", "<victim@{A}x>"),
    ("an accepted domain after a hyphen", "<victim@not-{A}>"),
    ("a look-alike of other letters", "<victim@\u{430}{A}>"),
    ("full-width letters", "<victim@\u{ff52}elay-test.invalid>"),
    ("a full-width full stop", "<victim@{A}\u{ff0e}{F}>"),
    ("a trailing dot", "<victim@{F}.>"),
    ("two trailing dots", "<victim@{A}..>"),
    ("a leading dot", "<victim@.{F}>"),
    ("an empty domain", "<victim@>"),
    ("an empty local part", "<@{F}>"),
    ("no domain", "<victim>"),
    ("a NUL after an accepted domain", "<user@{A}\0.{F}>"),
    ("a NUL before a foreign domain", "<victim@{F}\0@{A}>"),
    ("a tab before the domain", "<victim@\t{F}>"),
    ("a bare CR and a second command", "<user@{A}>\rRCPT TO:<victim@{F}>"),
    ("a bare LF and a second command", "<user@{A}>\nRCPT TO:<victim@{F}>"),
    ("ORCPT with a foreign address", "<victim@{F}> ORCPT=rfc822;user@{A}"),
    ("a parameter that is an address", "<victim@{F}> user@{A}"),
    ("two spaces", "  <victim@{F}>"),
];

/// Senders that servers trusted, with an ordinary foreign recipient.
const SENDERS: &[(&str, &str)] = &[
    ("the null sender", "<>"),
    ("a sender of an accepted domain", "<user@{A}>"),
    ("a sender of our name", "<user@{H}>"),
    ("a sender of our address", "<user@{I}>"),
    ("a local sender", "<user@localhost>"),
    ("postmaster as sender", "<postmaster@{A}>"),
];

/// Our own senders, in every form.
const OUR_SENDERS: &[(&str, &str)] = &[
    ("our domain", "<user@{O}>"),
    ("our domain in upper case", "<user@{UPPER}>"),
    ("our domain, quoted local part", "<\"user\"@{O}>"),
    ("our domain, empty quoted local part", "<\"\"@{O}>"),
];

/// All probes with these names.
pub(super) fn probes(names: &Names<'_>) -> Vec<Probe> {
    let fill = |template: &str| {
        let literal = match names.local {
            IpAddr::V4(address) => format!("[{address}]"),
            IpAddr::V6(address) => format!("[IPv6:{address}]"),
        };
        let own = names.own.unwrap_or(names.hostname);
        template
            .replace("{F}", FOREIGN)
            .replace("{A}", names.accepted.unwrap_or(names.hostname))
            .replace("{H}", names.hostname)
            .replace("{I}", &literal)
            .replace("{UPPER}", &own.to_uppercase())
            .replace("{O}", own)
    };
    let mail = |path: &str| {
        let path = fill(path);
        let smtputf8 = if path.is_ascii() { "" } else { " SMTPUTF8" };
        format!("MAIL FROM:{path}{smtputf8}").into_bytes()
    };
    let rcpt = |path: &str| format!("RCPT TO:{}", fill(path)).into_bytes();
    let foreign = ("<victim@{F}>", "<sender@{F}>");
    let recipients = RECIPIENTS.iter().map(|&(name, path)| {
        let smtputf8 = if path.is_ascii() { "" } else { " SMTPUTF8" };
        let mail = [mail(foreign.1), smtputf8.into()].concat();
        Probe { name, asks: Asks::ToRelay, mail, rcpt: rcpt(path) }
    });
    let senders = SENDERS.iter().map(|&(name, path)| Probe {
        name,
        asks: Asks::ToRelay,
        mail: mail(path),
        rcpt: rcpt(foreign.0),
    });
    let sender = |name, asks, path| Probe { name, asks, mail: mail(path), rcpt: rcpt(foreign.0) };
    let ours = OUR_SENDERS
        .iter()
        .filter(|_| names.own.is_some())
        .map(|&(name, path)| sender(name, Asks::ToSpeakForUs, path));
    let others = [sender("a foreign sender", Asks::ToSpeakForOthers, foreign.1)];
    recipients.chain(senders).chain(ours).chain(others).collect()
}
