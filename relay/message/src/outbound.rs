//! The header firewall for outgoing mail: removes fields that are for our organization only.
//!
//! Only whole fields are removed, so signatures of others (DKIM) stay valid unless they cover such
//! a field. The message is read once, piece by piece, and only an incomplete name is buffered.
//! Messages are stored with an empty line after the header section; if it is missing, as in
//! messages stored by an earlier version, it is added.

use crate::section::{Part, SectionReader};
use bytes::{Bytes, BytesMut};

/// The families: their names begin so, in any case.
const FAMILIES: [&[u8]; 2] = [b"X-MS-Exchange-Organization-", b"X-MS-Exchange-Forest-"];

/// The audience of an outgoing message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A next hop of our organization: it gets every field.
    Organization,
    /// All others, including a sender who gets a report.
    Outside,
}

/// Removes fields from a message that passes in pieces.
#[derive(Debug)]
pub struct OutboundFirewall {
    /// None if nothing is removed.
    section: Option<SectionReader>,
    /// Must the current field be removed?
    removes: bool,
}

/// Is a field of this name, given with or without its colon, for our organization only?
pub fn is_of_organization(name: &[u8]) -> bool {
    let begins_with = |family: &&[u8]| {
        name.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family))
    };
    FAMILIES.iter().any(begins_with)
}

impl OutboundFirewall {
    /// A firewall at the beginning of a message.
    pub fn new(audience: Audience) -> Self {
        let section = match audience {
            Audience::Organization => None,
            Audience::Outside => Some(SectionReader::default()),
        };
        Self { section, removes: false }
    }

    /// What of the next piece goes out.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use relay_message::outbound::{Audience, OutboundFirewall};
    ///
    /// let mut firewall = OutboundFirewall::new(Audience::Outside);
    /// let message = "X-MS-Exchange-Organization-SCL: -1\r\nTo: b\r\n\r\nbody\r\n";
    /// let mut sent = firewall.pass(Bytes::from(message)).concat();
    /// sent.extend_from_slice(&firewall.finish());
    /// assert_eq!(sent, b"To: b\r\n\r\nbody\r\n");
    /// ```
    pub fn pass(&mut self, mut piece: Bytes) -> Vec<Bytes> {
        let Some(section) = &mut self.section else { return vec![piece] };
        let (mut header, mut out) = (BytesMut::new(), Vec::new());
        while let Some(part) = section.next(&mut piece) {
            match part {
                Part::Body(octets) => out.push(octets),
                part => pass_part(&mut self.removes, &part, &mut header),
            }
        }
        if !header.is_empty() {
            out.insert(0, header.freeze());
        }
        out
    }

    /// The rest of a message that ends within its header section.
    pub fn finish(mut self) -> Bytes {
        let mut rest = BytesMut::new();
        while let Some(part) = self.section.as_mut().and_then(SectionReader::finish) {
            match part {
                Part::Body(octets) => rest.extend_from_slice(&octets),
                part => pass_part(&mut self.removes, &part, &mut rest),
            }
        }
        rest.freeze()
    }
}

/// Passes a part of the header section on, unless its field must be removed.
fn pass_part(removes: &mut bool, part: &Part, header: &mut BytesMut) {
    let octets = match part {
        Part::Name(octets) => {
            *removes = is_of_organization(octets);
            octets
        }
        Part::Value(octets) | Part::MboxLines(octets) => octets,
        Part::End { is_separated: false } => return header.extend_from_slice(b"\r\n"),
        Part::End { .. } | Part::Body(_) => return,
    };
    if !*removes {
        header.extend_from_slice(octets);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::authentication_results::AuthservIds;
    use crate::firewall::admit;
    use crate::header::{Collected, HeaderCollector};
    use crate::outbound::*;
    use relay_connector::{Permission, PermissionSet};

    const MESSAGE: &str = "Received: from a\r\n\tby b\r\n\
        X-MS-Exchange-Organization-AuthAs: Internal\r\n\
        x-ms-exchange-organization-SCL : -1\r\n \r\n -1\r\n\
        X-MS-Exchange-CrossTenant-Id: z\r\n\
        X-MS-EXCHANGE-FOREST-RulesExecuted: y\r\n\tz\r\n\
        X-MS-Exchange-Organization: v\r\n\
        Subject: X-MS-Exchange-Organization-AuthAs: w\r\n\
        \r\n\
        X-MS-Exchange-Organization-AuthAs: in the body\r\n\r\n";
    const GOES_OUT: &str = "Received: from a\r\n\tby b\r\n\
        X-MS-Exchange-CrossTenant-Id: z\r\n\
        X-MS-Exchange-Organization: v\r\n\
        Subject: X-MS-Exchange-Organization-AuthAs: w\r\n\
        \r\n\
        X-MS-Exchange-Organization-AuthAs: in the body\r\n\r\n";

    fn out(audience: Audience, message: &[u8], piece: usize) -> Vec<u8> {
        let mut firewall = OutboundFirewall::new(audience);
        let mut out = Vec::new();
        for piece in message.chunks(piece) {
            let parts = firewall.pass(Bytes::copy_from_slice(piece));
            out.extend(parts.iter().flat_map(|part| part.to_vec()));
        }
        out.extend_from_slice(&firewall.finish());
        out
    }

    #[test]
    fn fields_of_the_organization_stay_with_it_however_the_message_is_cut() {
        for piece in [1, 2, 3, 7, 30, 1000] {
            let text =
                String::from_utf8(out(Audience::Outside, MESSAGE.as_bytes(), piece)).unwrap();
            assert_eq!(text, GOES_OUT, "in pieces of {piece}");
            assert_eq!(out(Audience::Organization, MESSAGE.as_bytes(), piece), MESSAGE.as_bytes());
        }
    }

    proptest! {
        /// The outgoing firewall removes the same fields as the incoming one, and no others.
        #[test]
        fn both_firewalls_agree_about_fields(
            fields in proptest::collection::vec(
                "(X-MS-Exchange-(Organization|Forest)-[A-Z]{0,2}|x-ms-exchange-forest-|X-MS-Exchange-O|X|To)\
                 [ ]?:[ a-z:]{0,9}\r\n([ \t][a-z:]{0,9}\r\n){0,2}",
                0..6,
            ),
            piece in 1usize..40,
        ) {
            let section = fields.concat();
            let mut collector = HeaderCollector::new(10_000);
            collector.push(section.as_bytes());
            let Collected::Complete { section: read, .. } = collector.finish() else { panic!() };
            let permissions = PermissionSet::of(&[Permission::AcceptHeadersRouting]);
            let ours = AuthservIds { hostname: "relay.example", fqdn: "relay.example" };
            let admitted = admit(&read, permissions, ours, |_| false).slices.concat();
            prop_assert_eq!(out(Audience::Outside, section.as_bytes(), piece), admitted);
        }

        /// Independent of how a message was stored, the next hop finds the same end of the header
        /// section.
        #[test]
        fn lines_that_are_no_fields_are_sent_as_body(
            text in "(A: b\r\n|From x\r\n|[ ]?junk\r\n|X-MS-Exchange-Forest-A: b\r\n|\r\n){0,6}",
            piece in 1usize..40,
        ) {
            // Our trace field is the first of every message.
            let left = out(Audience::Outside, format!("Received: x\r\n{text}").as_bytes(), piece);
            let mut collector = HeaderCollector::new(10_000);
            let collected = match collector.push(&left) {
                Collected::Incomplete => collector.finish(),
                collected => collected,
            };
            let Collected::Complete { section, is_separated, .. } = collected else { panic!() };
            prop_assert!(is_separated);
            prop_assert!(!section.fields().any(|field| is_of_organization(field.name())));
        }

        #[test]
        fn a_body_is_never_touched(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            piece in 1usize..40,
        ) {
            let message = [b"To: a\r\n\r\n", &body[..]].concat();
            prop_assert_eq!(out(Audience::Outside, &message, piece), message);
        }
    }
}
