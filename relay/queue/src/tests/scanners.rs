//! Everything that reads a message on its way through the relay finds the same ends of lines, the
//! same forbidden octets and the same end of the header section, in pieces of any size.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use relay_mail::envelope::BodyType;
use relay_mail::line_end::{LineMark, LineScanner};
use relay_message::header::{Collected, HeaderCollector};
use relay_message::outbound::{Audience, OutboundFirewall};
use relay_message::section::{Part, SectionReader, section_octets};
use relay_smtp::client::DotStuffer;
use relay_smtp::data::{ChunkEvent, ChunkReader, DataEvent, DataReader, LineEndings, Violation};
use relay_smtp::line::{LineError, LineReader};

use crate::content::Content;
use crate::report::header_section;

/// What all readers must find.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    /// The ends of the lines, as octets before them.
    ends: Vec<usize>,
    violation: Option<Violation>,
    is_at_line_start: bool,
}

impl Expected {
    fn of(octets: &[u8]) -> Self {
        let mut expected = Self::default();
        for (at, &octet) in octets.iter().enumerate() {
            let (place, is_after_cr) = (at as u64, at > 0 && octets[at - 1] == b'\r');
            let violation = match octet {
                b'\n' if is_after_cr => {
                    expected.ends.push(at + 1);
                    continue;
                }
                b'\n' => Violation::BareLf(place),
                b'\r' if octets.get(at + 1) != Some(&b'\n') => Violation::BareCr(place),
                0 => Violation::Nul(place),
                _ => continue,
            };
            expected.violation.get_or_insert(violation);
        }
        expected.is_at_line_start = octets.is_empty() || octets.ends_with(b"\r\n");
        expected
    }
}

fn pieces<'octets>(octets: &'octets [u8], cuts: &[usize]) -> Vec<&'octets [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| (*cut).min(octets.len())).collect();
    cuts.extend([0, octets.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &octets[cut[0]..cut[1]]).collect()
}

fn by_scanner(pieces: &[&[u8]]) -> Expected {
    let (mut scanner, mut found, mut before) = (LineScanner::default(), Expected::default(), 0);
    let mut note = |mark, end: usize| {
        let violation = match mark {
            LineMark::End => return found.ends.push(end),
            LineMark::BareCr => Violation::BareCr(end as u64 - 1),
            LineMark::BareLf => Violation::BareLf(end as u64 - 1),
            LineMark::Nul => Violation::Nul(end as u64 - 1),
        };
        found.violation.get_or_insert(violation);
    };
    for piece in pieces {
        let mut read = 0;
        while let Some((more, mark)) = scanner.next(&piece[read..]) {
            read += more;
            note(mark, before + read);
        }
        before += piece.len();
    }
    let is_at_line_start = scanner.is_at_line_start();
    if let Some(mark) = scanner.finish() {
        note(mark, before);
    }
    Expected { is_at_line_start, ..found }
}

/// The violation, and whether the octets end with a line.
fn by_endings(pieces: &[&[u8]]) -> (Option<Violation>, bool) {
    let mut endings = LineEndings::default();
    pieces.iter().for_each(|piece| endings.scan(piece));
    endings.finish();
    (endings.violation(), endings.is_at_line_start())
}

fn by_chunks(pieces: &[&[u8]]) -> Option<Violation> {
    let mut reader = ChunkReader::default();
    for piece in pieces {
        reader.begin(piece.len() as u64);
        let mut input = BytesMut::from(*piece);
        while !matches!(reader.next_event(&mut input), Some(ChunkEvent::End)) {}
    }
    reader.finish();
    reader.violation()
}

/// The message that a reader of DATA finds in these octets and the end of data.
fn by_data(pieces: &[&[u8]]) -> (Vec<u8>, Option<Violation>) {
    let (mut reader, mut input, mut message) = (DataReader::new(), BytesMut::new(), Vec::new());
    for piece in pieces.iter().chain([&&b".\r\n"[..]]) {
        input.extend_from_slice(piece);
        while let Some(event) = reader.next_event(&mut input) {
            match event {
                DataEvent::Content(content) => message.extend_from_slice(&content),
                DataEvent::End => return (message, reader.violation()),
            }
        }
    }
    panic!("no end of data in {pieces:?}")
}

fn by_stuffer(pieces: &[&[u8]]) -> Option<Vec<u8>> {
    let (mut stuffer, mut out) = (DotStuffer::new(), Vec::new());
    for piece in pieces {
        stuffer.stuff(piece, &mut out).ok()?;
    }
    stuffer.finish(&mut out).ok()?;
    Some(out)
}

/// The lines of a client, each as its octets or as an error.
fn by_line_reader(pieces: &[&[u8]]) -> Vec<Result<Vec<u8>, LineError>> {
    let (mut reader, mut input, mut lines) = (LineReader::default(), BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(line) = reader.next_line(&mut input, false) {
            lines.push(line.map(|line| line.to_vec()));
        }
    }
    lines
}

/// The lines of a client, as the ends and the violations of all octets say.
fn expected_lines(octets: &[u8]) -> Vec<Result<Vec<u8>, LineError>> {
    let (mut lines, mut from) = (Vec::new(), 0);
    let bare_lf =
        (0..octets.len()).find(|&at| octets[at] == b'\n' && (at == 0 || octets[at - 1] != b'\r'));
    for end in Expected::of(octets).ends {
        if bare_lf.is_some_and(|bare_lf| bare_lf < end) {
            break;
        }
        let line = &octets[from..end - 2];
        lines.push(match Expected::of(line).violation {
            None => Ok(line.to_vec()),
            Some(_) => Err(LineError::ForbiddenOctet),
        });
        from = end;
    }
    lines.extend(bare_lf.map(|_| Err(LineError::BareLf)));
    lines
}

/// The octets of the header section, and whether an empty line follows it.
fn by_section_reader(pieces: &[&[u8]]) -> (usize, bool) {
    let (mut reader, mut octets, mut end) = (SectionReader::default(), 0, None);
    let mut note = |part| match part {
        Part::MboxLines(part) | Part::Name(part) | Part::Value(part) => octets += part.len(),
        Part::End { is_separated } => end = Some(is_separated),
        Part::Body(_) => {}
    };
    for piece in pieces {
        let mut piece = Bytes::copy_from_slice(piece);
        while let Some(part) = reader.next(&mut piece) {
            note(part);
        }
    }
    while let Some(part) = reader.finish() {
        note(part);
    }
    (octets, end.unwrap())
}

/// The same, and the octets that the fields and the mbox lines have together.
fn by_collector(pieces: &[&[u8]]) -> (usize, bool, usize) {
    let mut collector = HeaderCollector::new(u64::MAX);
    let mut collected = pieces.iter().map(|piece| collector.push(piece));
    let ended = collected.find(|collected| *collected != Collected::Incomplete);
    let ended = ended.unwrap_or_else(|| collector.finish());
    let Collected::Complete { section, is_separated, .. } = ended else { panic!() };
    let fields: usize = section.fields().map(|field| field.octets().len()).sum();
    let mbox_lines: usize = section.mbox_lines().map(|line| line.len()).sum();
    (section.octets().len(), is_separated, fields + mbox_lines)
}

fn by_firewall(pieces: &[&[u8]]) -> Vec<u8> {
    let mut firewall = OutboundFirewall::new(Audience::Outside);
    let mut out: Vec<Bytes> =
        pieces.iter().flat_map(|piece| firewall.pass(Bytes::copy_from_slice(piece))).collect();
    out.push(firewall.finish());
    out.concat()
}

fn by_content(pieces: &[&[u8]]) -> Content {
    let mut content = Content::new(BodyType::BinaryMime);
    pieces.iter().for_each(|piece| content.add(&Bytes::copy_from_slice(piece)));
    content
}

/// Some octets, more often in the order in which they matter.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let octets = prop_oneof![
        3 => Just(&b"\r\n"[..]),
        1 => Just(&b"\r"[..]),
        1 => Just(&b"\n"[..]),
        2 => Just(&b"."[..]),
        2 => Just(&b" "[..]),
        2 => Just(&b":"[..]),
        3 => Just(&b"a"[..]),
        1 => Just(&b"\0"[..]),
        2 => Just(&b"a:a\r\n"[..]),
    ];
    vec(octets, 0..16).prop_map(|octets| octets.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn all_find_the_same_lines(octets in octets(), cuts in vec(0usize..40, 0..8)) {
        let expected = Expected::of(&octets);
        let cut = pieces(&octets, &cuts);
        prop_assert_eq!(&by_scanner(&cut), &expected);
        let (violation, is_at_line_start) = by_endings(&cut);
        prop_assert_eq!((violation, is_at_line_start), (expected.violation, expected.is_at_line_start));
        prop_assert_eq!(by_chunks(&cut), expected.violation);
        let content = by_content(&cut);
        prop_assert_eq!(content.is_unterminated(), !expected.is_at_line_start);
        let needs_chunks = expected.violation.is_some() || !expected.is_at_line_start;
        prop_assert_eq!(content.is_binary(), needs_chunks);

        // Only a message without a violation leaves by DATA, and a receiver reads it unchanged.
        let sent = by_stuffer(&cut);
        prop_assert_eq!(sent.is_some(), expected.violation.is_none());
        if let Some(sent) = sent {
            let sent = sent.strip_suffix(b".\r\n").unwrap();
            let (message, violation) = by_data(&pieces(sent, &cuts));
            let end: &[u8] = if expected.is_at_line_start { b"" } else { b"\r\n" };
            prop_assert_eq!((message, violation), ([&octets[..], end].concat(), None));
        }

        // A line whose first octet is no letter ends a session; that is another question.
        let lines = String::from_utf8(octets).unwrap().replace("\r\n", "\r\na");
        let lines = format!("a{lines}").into_bytes();
        prop_assert_eq!(by_line_reader(&pieces(&lines, &cuts)), expected_lines(&lines));
    }

    #[test]
    fn a_message_by_data_has_the_same_violation(octets in octets(), cuts in vec(0usize..60, 0..8)) {
        let message = [&octets[..], b"\r\n"].concat();
        let mut stuffed = Vec::new();
        let mut from = 0;
        for end in Expected::of(&message).ends {
            let line = &message[from..end];
            stuffed.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
            stuffed.extend_from_slice(line);
            from = end;
        }
        let (found, violation) = by_data(&pieces(&stuffed, &cuts));
        prop_assert_eq!(found, &message[..]);
        // The place counts the octets that came, with the dots that were added.
        let kind = |violation: Option<Violation>| violation.map(|it| std::mem::discriminant(&it));
        prop_assert_eq!(kind(violation), kind(Expected::of(&message).violation));
        prop_assert_eq!(violation, Expected::of(&stuffed).violation);
    }

    #[test]
    fn all_find_the_same_end_of_the_header_section(
        octets in octets(),
        cuts in vec(0usize..40, 0..8),
    ) {
        let cut = pieces(&octets, &cuts);
        let end = section_octets(&octets);
        let body = &octets[end..];
        let is_separated = body.is_empty() || body.starts_with(b"\r\n");
        prop_assert_eq!(by_section_reader(&cut), (end, is_separated));
        prop_assert_eq!(by_collector(&cut), (end, is_separated, end));
        let whole = Bytes::copy_from_slice(&octets);
        let returned = header_section(&whole);
        prop_assert!(octets[..end].starts_with(&returned));
        // A section that has not ended yet is returned without the line that has not.
        prop_assert!(returned.len() == end || Expected::of(&octets).ends.iter().all(|it| *it <= returned.len() || *it > end));
        let separator: &[u8] = if is_separated { b"" } else { b"\r\n" };
        prop_assert_eq!(by_firewall(&cut), [&octets[..end], separator, body].concat());
    }
}
