//! The header section: where it ends, its fields, and how many hosts a message has passed.

use bytes::{Bytes, BytesMut};
use mail_parser::{HeaderName, MessageParser};
use memchr::memmem;

/// Everything before the first empty line, or the whole message where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderSection(Bytes);

/// One field: its line and the lines that continue it, with their CRLFs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'section>(&'section [u8]);

/// Gathers a header section from the parts of a message.
#[derive(Debug)]
pub struct HeaderCollector {
    /// What there is of the section, or its last three octets once it is over the limit.
    octets: BytesMut,
    /// Octets that were counted and let go.
    dropped: u64,
    /// The connector's `max_header_size`, in octets. A longer section is counted but not kept.
    limit: u64,
}

/// What came of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collected {
    /// The section has ended.
    Complete {
        /// The section, without the empty line.
        section: HeaderSection,
        /// The empty line and what there is of the body.
        body: Bytes,
    },
    /// The section goes on.
    Incomplete,
    /// The section has ended and is over the limit.
    TooLarge {
        /// Its octets.
        size: u64,
    },
}

impl HeaderCollector {
    /// A collector that keeps `limit` octets at most.
    pub fn new(limit: u64) -> Self {
        Self { octets: BytesMut::new(), dropped: 0, limit }
    }

    /// Takes the next part of the message. Not to be called again once the section has ended.
    pub fn push(&mut self, content: &[u8]) -> Collected {
        // The empty line may begin in what came before.
        let from = self.octets.len().saturating_sub(3);
        self.octets.extend_from_slice(content);
        let end = if self.dropped == 0 && self.octets.starts_with(b"\r\n") {
            Some(0)
        } else {
            memmem::find(&self.octets[from..], b"\r\n\r\n").map(|found| from + found + 2)
        };
        let Some(end) = end else {
            // The section cannot end within the limit any more once the octet after the limit is
            // there and is not the end of the CR of an empty line.
            if self.octets.len() as u64 >= self.limit.saturating_add(2) && self.octets.len() > 3 {
                let dropped = self.octets.split_to(self.octets.len() - 3);
                self.dropped += dropped.len() as u64;
            }
            return Collected::Incomplete;
        };
        let body = self.octets.split_off(end).freeze();
        self.complete(body)
    }

    /// Octets that are kept.
    pub fn gathered(&self) -> usize {
        self.octets.len()
    }

    /// The message has ended without an empty line.
    pub fn finish(&mut self) -> Collected {
        self.complete(Bytes::new())
    }

    fn complete(&mut self, body: Bytes) -> Collected {
        let size = self.dropped + self.octets.len() as u64;
        if self.dropped > 0 || size > self.limit {
            return Collected::TooLarge { size };
        }
        Collected::Complete { section: HeaderSection(self.octets.split().freeze()), body }
    }
}

impl HeaderSection {
    /// The section, octet for octet.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Octets of the section.
    pub fn size(&self) -> u64 {
        self.0.len() as u64
    }

    /// Received fields: the hosts that the message has passed (RFC 5321 section 6.3).
    ///
    /// They are counted twice, as the firewall sees them and as a full parser does, and the larger
    /// number holds: readers differ about lines of white space and about junk, and a loop must not
    /// hide in the difference.
    pub fn hops(&self) -> u32 {
        u32::try_from(self.hops_by_field().max(self.hops_by_parser())).unwrap_or(u32::MAX)
    }

    fn hops_by_field(&self) -> usize {
        self.fields().filter(|field| field.is_received()).count()
    }

    fn hops_by_parser(&self) -> usize {
        // Told of no field to read, it would read them all.
        let parser = MessageParser::new().default_header_ignore().header_raw(HeaderName::Received);
        parser.parse_headers(&self.0[..]).map_or(0, |message| {
            message.headers().iter().filter(|header| header.name == HeaderName::Received).count()
        })
    }

    /// The fields in order. Together they are the section, octet for octet: a line that is no
    /// field is one without a name.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let mut end = 0;
            loop {
                end += memmem::find(&rest[end..], b"\r\n").map_or(rest.len() - end, |at| at + 2);
                match rest.get(end) {
                    Some(b' ' | b'\t') => {}
                    _ => break,
                }
            }
            let (field, after) = rest.split_at(end);
            rest = after;
            (!field.is_empty()).then_some(Field(field))
        })
    }

    /// The slice that these fields cover; they must be neighbours.
    pub(super) fn slice(&self, from: usize, to: usize) -> Bytes {
        self.0.slice(from..to)
    }
}

impl<'section> Field<'section> {
    /// Does it begin with white space? Only the first of a section can: nothing stands before it
    /// that it could continue.
    pub fn continues_nothing(self) -> bool {
        self.0.starts_with(b" ") || self.0.starts_with(b"\t")
    }

    /// The field, with its CRLFs.
    pub fn octets(self) -> &'section [u8] {
        self.0
    }

    /// Is it a trace field of RFC 5321 section 4.4?
    pub fn is_received(self) -> bool {
        self.name().eq_ignore_ascii_case(b"Received")
    }

    /// The name, without the white space that some programs still read around it (the obsolete
    /// syntax of RFC 5322 section 4.5). Empty where the line is no field.
    pub fn name(self) -> &'section [u8] {
        let end = memchr::memchr(b':', self.0).unwrap_or(0);
        self.0[..end].trim_ascii()
    }

    /// What stands after the colon, with its CRLFs. Empty where the line is no field.
    pub fn value(self) -> &'section [u8] {
        memchr::memchr(b':', self.0).map_or(&[], |colon| &self.0[colon + 1..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn collect(chunks: &[&[u8]], limit: u64) -> (Collected, Vec<u8>) {
        let mut collector = HeaderCollector::new(limit);
        let mut chunks = chunks.iter();
        for chunk in chunks.by_ref() {
            match collector.push(chunk) {
                Collected::Incomplete => {}
                Collected::Complete { section, body } => {
                    let rest = [body.to_vec(), chunks.copied().flatten().copied().collect()];
                    return (Collected::Complete { section, body: Bytes::new() }, rest.concat());
                }
                too_large => return (too_large, Vec::new()),
            }
        }
        (collector.finish(), Vec::new())
    }

    fn section(text: &str) -> HeaderSection {
        HeaderSection(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn the_section_ends_before_the_first_empty_line() {
        let split = |text: &str| match collect(&[text.as_bytes()], 1000) {
            (Collected::Complete { section, .. }, body) => {
                (String::from_utf8(section.0.to_vec()).unwrap(), String::from_utf8(body).unwrap())
            }
            other => panic!("{other:?}"),
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(split("A: b\r\n\r\nbody\r\n"), pair("A: b\r\n", "\r\nbody\r\n"));
        assert_eq!(split("\r\nbody\r\n\r\n"), pair("", "\r\nbody\r\n\r\n"));
        assert_eq!(split("A: b\r\n"), pair("A: b\r\n", ""));
        assert_eq!(split(""), pair("", ""));
    }

    #[test]
    fn the_limit_is_exact() {
        let message = b"A: b\r\nC: d\r\n\r\nbody";
        for (limit, fits) in [(11, false), (12, true)] {
            for chunks in [vec![&message[..]], message.chunks(1).collect()] {
                let (collected, _) = collect(&chunks, limit);
                match collected {
                    Collected::Complete { .. } => assert!(fits, "{limit}"),
                    other => assert_eq!((other, fits), (Collected::TooLarge { size: 12 }, false)),
                }
            }
        }
    }

    #[test]
    fn hops_are_counted_however_they_are_written() {
        let hops = |text| section(text).hops();
        assert_eq!(hops("Subject: x\r\n"), 0);
        assert_eq!(hops(""), 0);
        assert_eq!(hops("Received: a\r\n\tb\r\nRECEIVED: c\r\nreceived : d\r\n"), 3);
        assert_eq!(hops("X-Received: a\r\nSubject: Received: b\r\n Received: c\r\n"), 0);
        assert_eq!(hops("no field\r\nReceived: a\r\n"), 1);
        // A line of white space continues the field before it; it does not end the section.
        assert_eq!(hops("Subject: x\r\n \r\nReceived: a\r\n\t\r\nReceived: b\r\n"), 2);
        assert_eq!(hops("Received\r\n : a\r\nReceived:\r\n"), 2);
        assert_eq!(hops(&"Received: a\r\n".repeat(5000)), 5000);
    }

    #[test]
    fn a_field_owns_the_lines_that_continue_it() {
        let section = section("A: b\r\n c\r\n\td\r\njunk\r\nE : f\r\n");
        let fields: Vec<_> = section.fields().map(|field| (field.name(), field.octets())).collect();
        assert_eq!(
            fields,
            [(&b"A"[..], &b"A: b\r\n c\r\n\td\r\n"[..]), (b"", b"junk\r\n"), (b"E", b"E : f\r\n")]
        );
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter_and_nothing_is_lost(
            text in "([AB: \r\n]|\r\n|Received: x\r\n){0,20}",
            cut in 0usize..40,
            limit in 0u64..60,
        ) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            let whole = collect(&[bytes], limit);
            prop_assert_eq!(&collect(&[&bytes[..cut], &bytes[cut..]], limit), &whole);
            prop_assert_eq!(&collect(&bytes.chunks(1).collect::<Vec<_>>(), limit), &whole);
            if let (Collected::Complete { section, .. }, body) = whole {
                let fields: Vec<u8> =
                    section.fields().flat_map(|field| field.octets().to_vec()).collect();
                prop_assert_eq!(&fields[..], &section.0[..]);
                prop_assert_eq!([&section.0[..], &body[..]].concat(), bytes);
            }
        }

        /// A second opinion: mail-parser sees the same fields in every section made of them.
        #[test]
        fn both_readings_see_the_same_received_fields(
            fields in proptest::collection::vec(
                "(Received|received|X-Other|Subject|To)[ \t]?:[ a-z<>@;:\"(),]{0,20}\r\n([ \t][a-z:]{1,9}\r\n){0,2}",
                0..9),
        ) {
            let section = section(&fields.concat());
            prop_assert_eq!(section.hops_by_field(), section.hops_by_parser());
        }

        #[test]
        fn any_octets_are_counted_without_panic(
            octets in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            HeaderSection(Bytes::from(octets)).hops();
        }
    }
}
