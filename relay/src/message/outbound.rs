//! The header firewall on the way out: what our organization says of a message to itself does not
//! leave it.
//!
//! Only whole fields are taken out, so the signatures of others (DKIM) hold unless they cover a
//! field of these families. The message is read once, piece by piece, and nothing is kept of it but
//! the beginning of a line that may turn out to be such a field.

use bytes::Bytes;

/// The families: their names begin so, in any case. Both begin with an `X`, which decides most lines
/// at their first octet.
const FAMILIES: [&[u8]; 2] = [b"X-MS-Exchange-Organization-", b"X-MS-Exchange-Forest-"];

/// Takes fields out of a message that goes by in pieces.
#[derive(Debug)]
pub struct OutboundFirewall {
    place: Place,
    /// The beginning of a line, while it can still be the beginning of such a field.
    undecided: Vec<u8>,
    /// Is the field that is being read to be taken out?
    removes: bool,
}

/// Where in the message the next octet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    LineStart,
    Line,
    Body,
}

impl OutboundFirewall {
    /// A firewall at the beginning of a message. One that `passes_all` takes nothing out: the next
    /// hop belongs to our organization.
    pub fn new(passes_all: bool) -> Self {
        let place = if passes_all { Place::Body } else { Place::LineStart };
        Self { place, undecided: Vec::new(), removes: false }
    }

    /// What of the next piece goes out.
    pub fn pass(&mut self, piece: Bytes) -> Vec<Bytes> {
        let mut out = Vec::new();
        let mut rest = piece;
        while !rest.is_empty() {
            match self.place {
                Place::Body => {
                    out.push(rest);
                    break;
                }
                Place::Line => {
                    let end = memchr::memchr(b'\n', &rest).map_or(rest.len(), |at| at + 1);
                    let line = rest.split_to(end);
                    if line.ends_with(b"\n") {
                        self.place = Place::LineStart;
                    }
                    if !self.removes {
                        out.push(line);
                    }
                }
                Place::LineStart => {
                    self.undecided.extend_from_slice(&rest.split_to(1));
                    self.decide(&mut out);
                }
            }
        }
        out
    }

    /// What is left of a message that ends within its header section.
    pub fn finish(self) -> Bytes {
        Bytes::from(self.undecided)
    }

    /// Looks at a line as far as it has come.
    fn decide(&mut self, out: &mut Vec<Bytes>) {
        let start = &self.undecided[..];
        let is_family = |family: &[u8]| start.eq_ignore_ascii_case(family);
        let can_be = |text: &[u8]| {
            text.get(..start.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(start))
        };
        self.place = match start {
            // A line that continues a field goes where the field went.
            [b' ' | b'\t'] => Place::Line,
            [b'\r', b'\n'] => Place::Body,
            _ if FAMILIES.into_iter().any(is_family) => {
                self.removes = true;
                Place::Line
            }
            [b'\r'] => return,
            _ if FAMILIES.into_iter().any(can_be) => return,
            _ => {
                self.removes = false;
                match start.ends_with(b"\n") {
                    true => Place::LineStart,
                    false => Place::Line,
                }
            }
        };
        let start = std::mem::take(&mut self.undecided);
        if self.place == Place::Body || !self.removes {
            out.push(Bytes::from(start));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::connector::{Permission, PermissionSet};
    use crate::message::authentication_results::AuthservIds;
    use crate::message::firewall::admit;
    use crate::message::header::{Collected, HeaderCollector};

    const MESSAGE: &str = "Received: from a\r\n\tby b\r\n\
        X-MS-Exchange-Organization-AuthAs: Internal\r\n\
        x-ms-exchange-organization-SCL : -1\r\n \r\n -1\r\n\
        X-MS-Exchange-CrossTenant-Id: z\r\n\
        X-MS-EXCHANGE-FOREST-RulesExecuted: y\r\n\tz\r\n\
        X-MS-Exchange-Organization\r\n\
        Subject: X-MS-Exchange-Organization-AuthAs: w\r\n\
        \r\n\
        X-MS-Exchange-Organization-AuthAs: in the body\r\n\r\n";
    const GOES_OUT: &str = "Received: from a\r\n\tby b\r\n\
        X-MS-Exchange-CrossTenant-Id: z\r\n\
        X-MS-Exchange-Organization\r\n\
        Subject: X-MS-Exchange-Organization-AuthAs: w\r\n\
        \r\n\
        X-MS-Exchange-Organization-AuthAs: in the body\r\n\r\n";

    fn out(passes_all: bool, message: &[u8], piece: usize) -> Vec<u8> {
        let mut firewall = OutboundFirewall::new(passes_all);
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
            let text = String::from_utf8(out(false, MESSAGE.as_bytes(), piece)).unwrap();
            assert_eq!(text, GOES_OUT, "in pieces of {piece}");
            assert_eq!(out(true, MESSAGE.as_bytes(), piece), MESSAGE.as_bytes());
        }
    }

    proptest! {
        /// What the firewall takes out on the way in is taken out on the way out, and nothing else.
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
            let admitted = admit(&read, permissions, ours).slices.concat();
            prop_assert_eq!(out(false, section.as_bytes(), piece), admitted);
        }

        #[test]
        fn a_body_is_never_touched(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            piece in 1usize..40,
        ) {
            let message = [b"To: a\r\n\r\n", &body[..]].concat();
            prop_assert_eq!(out(false, &message, piece), message);
        }
    }
}
