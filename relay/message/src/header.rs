//! The header section of a received message: its fields, and how many hosts it has passed.
//!
//! [`super::section`] finds its end.

use crate::section::{Part, SectionReader, field_end};
use bytes::{Bytes, BytesMut};
use mail_parser::{HeaderName, MessageParser};
use relay_mail::line_end::{LineScanner, first_line_octets};

/// The fields before the body, and the lines of an mbox file before the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderSection {
    octets: Bytes,
    /// Octets of the mbox lines.
    mbox_lines: usize,
}

/// One field: its line and the lines that continue it, with their CRLFs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'section>(&'section [u8]);

/// Gathers a header section from the parts of a message.
#[derive(Debug)]
pub struct HeaderCollector {
    reader: SectionReader,
    /// The octets of the section so far; empty if it exceeds the limit.
    octets: BytesMut,
    mbox_lines: usize,
    /// Octets of the section, those that were let go included.
    size: u64,
    /// The connector's `max_header_size`, in octets. A longer section is counted but not kept.
    limit: u64,
}

/// The result of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collected {
    /// The section has ended.
    Complete {
        /// The section, without the empty line.
        section: HeaderSection,
        /// The beginning of the body, with the empty line.
        body: Bytes,
        /// Does the body begin with an empty line, or is it empty? If not, an empty line must be
        /// added.
        is_separated: bool,
    },
    /// The section continues.
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
        let (reader, octets) = (SectionReader::default(), BytesMut::new());
        Self { reader, octets, mbox_lines: 0, size: 0, limit }
    }

    /// Reads the next part of the message. Must not be called after the section has ended.
    pub fn push(&mut self, content: &[u8]) -> Collected {
        let mut content = Bytes::copy_from_slice(content);
        while let Some(part) = self.reader.next(&mut content) {
            if let Some(is_separated) = self.take(part) {
                let mut body = BytesMut::new();
                while let Some(Part::Body(octets)) = self.reader.next(&mut content) {
                    body.extend_from_slice(&octets);
                }
                return self.complete(body.freeze(), is_separated);
            }
        }
        Collected::Incomplete
    }

    /// Octets that are kept.
    pub fn received_octets(&self) -> usize {
        self.octets.len() + self.reader.held()
    }

    /// The message has ended.
    pub fn finish(&mut self) -> Collected {
        let (mut body, mut is_separated) = (Bytes::new(), true);
        while let Some(part) = self.reader.finish() {
            match part {
                Part::Body(octets) => body = octets,
                part => is_separated = self.take(part).unwrap_or(is_separated),
            }
        }
        self.complete(body, is_separated)
    }

    /// Stores a part of the section. At its end, returns whether an empty line follows.
    fn take(&mut self, part: Part) -> Option<bool> {
        let octets = match part {
            Part::MboxLines(octets) => {
                self.mbox_lines = octets.len();
                octets
            }
            Part::Name(octets) | Part::Value(octets) => octets,
            Part::End { is_separated } => return Some(is_separated),
            Part::Body(_) => return None,
        };
        self.size += octets.len() as u64;
        if self.size <= self.limit {
            self.octets.extend_from_slice(&octets);
        } else {
            self.octets = BytesMut::new();
        }
        None
    }

    fn complete(&mut self, body: Bytes, is_separated: bool) -> Collected {
        if self.size > self.limit {
            return Collected::TooLarge { size: self.size };
        }
        let octets = std::mem::take(&mut self.octets).freeze();
        let section = HeaderSection { octets, mbox_lines: self.mbox_lines };
        Collected::Complete { section, body, is_separated }
    }
}

impl HeaderSection {
    /// The section, octet for octet.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Octets of the section.
    pub fn size(&self) -> u64 {
        self.octets.len() as u64
    }

    /// Lines of an mbox file before the first field, with their CRLFs.
    pub fn mbox_lines(&self) -> impl Iterator<Item = Bytes> {
        let mut rest = self.octets.slice(..self.mbox_lines);
        std::iter::from_fn(move || {
            let end = first_line_octets(&rest)?;
            Some(rest.split_to(end))
        })
    }

    /// Received fields: the hosts that the message has passed (RFC 5321 section 6.3).
    ///
    /// They are counted twice, as the firewall sees them and by a full parser, and the larger
    /// number counts: readers differ about lines of white space and about invalid lines, and a loop
    /// must not hide in the difference.
    pub fn hops(&self) -> u32 {
        u32::try_from(self.hops_by_field().max(self.hops_by_parser())).unwrap_or(u32::MAX)
    }

    fn hops_by_field(&self) -> usize {
        self.fields().filter(|field| field.is_received()).count()
    }

    fn hops_by_parser(&self) -> usize {
        // Without a list of fields it would parse all of them.
        let parser = MessageParser::new().default_header_ignore().header_raw(HeaderName::Received);
        parser.parse_headers(&self.octets[self.mbox_lines..]).map_or(0, |message| {
            message.headers().iter().filter(|header| header.name == HeaderName::Received).count()
        })
    }

    /// The fields in order. After the mbox lines, they are the section, octet for octet.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let mut rest = &self.octets[self.mbox_lines..];
        std::iter::from_fn(move || {
            let end = field_end(&mut LineScanner::default(), rest).unwrap_or(rest.len());
            let (field, after) = rest.split_at(end);
            rest = after;
            (!field.is_empty()).then_some(Field(field))
        })
    }

    /// The slice of these fields, by their offsets after the mbox lines; they must be neighbours.
    pub(super) fn slice(&self, from: usize, to: usize) -> Bytes {
        self.octets.slice(self.mbox_lines + from..self.mbox_lines + to)
    }
}

impl<'section> Field<'section> {
    /// The field, with its CRLFs.
    pub fn octets(self) -> &'section [u8] {
        self.0
    }

    /// Is it a trace field of RFC 5321 section 4.4?
    pub fn is_received(self) -> bool {
        self.name().eq_ignore_ascii_case(b"Received")
    }

    /// The name, without the blanks after it (the obsolete syntax of RFC 5322 section 4.5).
    pub fn name(self) -> &'section [u8] {
        let end = memchr::memchr(b':', self.0).unwrap_or(0);
        let blanks = self.0[..end].iter().rev().take_while(|octet| b" \t".contains(octet)).count();
        &self.0[..end - blanks]
    }

    /// The text after the colon, with its CRLFs.
    pub fn value(self) -> &'section [u8] {
        memchr::memchr(b':', self.0).map_or(&[], |colon| &self.0[colon + 1..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::header::*;

    fn collect(chunks: &[&[u8]], limit: u64) -> (Collected, Vec<u8>) {
        let mut collector = HeaderCollector::new(limit);
        let mut chunks = chunks.iter();
        for chunk in chunks.by_ref() {
            match collector.push(chunk) {
                Collected::Incomplete => {}
                Collected::Complete { section, body, is_separated } => {
                    let rest = [body.to_vec(), chunks.copied().flatten().copied().collect()];
                    let body = Bytes::new();
                    return (Collected::Complete { section, body, is_separated }, rest.concat());
                }
                too_large => return (too_large, Vec::new()),
            }
        }
        match collector.finish() {
            Collected::Complete { section, body, is_separated } => {
                let rest = body.to_vec();
                (Collected::Complete { section, body: Bytes::new(), is_separated }, rest)
            }
            too_large => (too_large, Vec::new()),
        }
    }

    fn section(text: &str) -> HeaderSection {
        match collect(&[text.as_bytes()], u64::MAX) {
            (Collected::Complete { section, .. }, _) => section,
            other => panic!("{other:?}"),
        }
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
        // A line that is no field ends the section.
        assert_eq!(hops("Received: a\r\nno field\r\nReceived: a\r\n"), 1);
        // A line of white space continues the previous field; it does not end the section.
        assert_eq!(hops("Subject: x\r\n \r\nReceived: a\r\n\t\r\nReceived: b\r\n"), 2);
        assert_eq!(hops("Received:\r\n : a\r\nReceived:\r\n"), 2);
        assert_eq!(hops(&"Received: a\r\n".repeat(5000)), 5000);
    }

    #[test]
    fn a_field_owns_the_lines_that_continue_it() {
        let section = section("From x\r\nA: b\r\n c\r\n\td\r\nE\t : f\r\n");
        let fields: Vec<_> = section.fields().map(|field| (field.name(), field.octets())).collect();
        let expected: [(&[u8], &[u8]); 2] =
            [(b"A", b"A: b\r\n c\r\n\td\r\n"), (b"E", b"E\t : f\r\n")];
        assert_eq!(fields, expected);
        assert_eq!(section.mbox_lines().collect::<Vec<_>>(), ["From x\r\n"]);
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter_and_nothing_is_lost(
            text in "([AB: \r\n]|\r\n|Received: x\r\n|From x\r\n){0,20}",
            cut in 0usize..40,
            limit in 0u64..60,
        ) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            let whole = collect(&[bytes], limit);
            prop_assert_eq!(&collect(&[&bytes[..cut], &bytes[cut..]], limit), &whole);
            prop_assert_eq!(&collect(&bytes.chunks(1).collect::<Vec<_>>(), limit), &whole);
            if let (Collected::Complete { section, .. }, body) = whole {
                let mut lines = section.mbox_lines().collect::<Vec<_>>().concat();
                section.fields().for_each(|field| lines.extend_from_slice(field.octets()));
                prop_assert_eq!(&lines[..], section.octets());
                prop_assert_eq!([section.octets(), &body[..]].concat(), bytes);
            }
        }

        /// A second reading: mail-parser sees the same fields in every section made of them.
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
            HeaderSection { octets: Bytes::from(octets), mbox_lines: 0 }.hops();
        }
    }
}
