//! The section against the rule read line by line, in pieces of any size.

use proptest::prelude::*;

use crate::section::*;

/// The section, the body, and whether an empty line is between them.
fn read(message: &[u8], piece: usize) -> (Vec<Part>, Vec<u8>, bool) {
    let mut reader = SectionReader::default();
    let (mut section, mut body, mut end) = (Vec::<Part>::new(), Vec::new(), None);
    let mut take = |part| match (part, section.last_mut()) {
        (Part::Value(more), Some(Part::Value(value))) => {
            *value = [&value[..], &more[..]].concat().into();
        }
        (Part::Body(octets), _) => body.extend_from_slice(&octets),
        (Part::End { is_separated }, _) => assert_eq!(end.replace(is_separated), None),
        (part, _) => section.push(part),
    };
    for piece in message.chunks(piece.max(1)) {
        let mut piece = Bytes::copy_from_slice(piece);
        while let Some(part) = reader.next(&mut piece) {
            take(part);
        }
        assert!(piece.is_empty() && reader.held() <= MBOX_LINES_OCTETS + FIELD_NAME_OCTETS);
    }
    while let Some(part) = reader.finish() {
        take(part);
    }
    (section, body, end.unwrap())
}

fn octets(section: &[Part]) -> Vec<u8> {
    let octets = |part: &Part| match part {
        Part::MboxLines(octets) | Part::Name(octets) | Part::Value(octets) => octets.to_vec(),
        other => panic!("{other:?} is not of a section"),
    };
    section.iter().flat_map(octets).collect()
}

/// The rule again, line by line, with the whole message available: the octets before the end of
/// the section.
fn plainly(message: &[u8]) -> usize {
    let lines: Vec<&[u8]> = {
        let (mut lines, mut from) = (Vec::new(), 0);
        while let Some(at) = memchr::memmem::find(&message[from..], b"\r\n") {
            lines.push(&message[from..from + at + 2]);
            from += at + 2;
        }
        lines.push(&message[from..]);
        lines
    };
    let (mut end, mut fields, mut mbox) = (0, 0, 0);
    for line in lines {
        let name = line.split(|&octet| octet == b':').next().unwrap();
        let trimmed = name.trim_ascii_end();
        let blank = &name[trimmed.len()..];
        let is_name = name.len() < line.len()
            && !trimmed.is_empty()
            && trimmed.iter().all(u8::is_ascii_graphic)
            && blank.iter().all(|octet| b" \t".contains(octet));
        if is_name {
            fields += 1;
            end += mbox + line.len();
            mbox = 0;
        } else if fields > 0 && (line.starts_with(b" ") || line.starts_with(b"\t")) {
            end += line.len();
        } else if fields == 0
            && is_mbox_line(line)
            && line.ends_with(b"\r\n")
            && !line[..line.len() - 2].iter().any(|octet| b"\r\n\0".contains(octet))
        {
            mbox += line.len();
        } else {
            break;
        }
    }
    end
}

#[test]
fn it_ends_before_the_first_line_that_is_no_field() {
    for (section, body, is_separated) in [
        ("", "", true),
        ("A: b\r\n", "", true),
        ("A: b", "", true),
        ("A: b\r\n", "\r\nbody\r\n", true),
        ("", "\r\nA: b\r\n\r\n", true),
        ("A: b\r\n c\r\n \r\n\td\r\nE :f\r\n", "\r\n", true),
        ("", "    From: app@host.example\r\n\r\nx\r\n", false),
        ("", "\tx\r\n", false),
        ("", "Disk is full\r\n", false),
        ("", "Disk is full: yes\r\n", false),
        ("A: b\r\n", "Disk is full\r\nC: d\r\n\r\n", false),
        ("A: b\r\n", "c", false),
        ("A: b\r\n", ": c\r\n", false),
        ("A: b\r\n", "\rC: d\r\n", false),
        ("A: b\r\n", "\r", false),
        ("A: b\n\r\n", "\r\n", true),
        ("A: b\r\r\n", "c\r\n", false),
        ("A: b\r\n", "C\u{b}: d\r\nE: f\r\n", false),
        ("A: b\r\n", "\u{feff}From: c@d\r\n\r\n", false),
        ("A: b\r\n", "E\u{e9} :f\r\n", false),
        ("A: b\r\n", "Alerte\u{a0}: x\r\n", false),
        ("", "C\u{b}: d\r\nE: f\r\n", false),
        ("", "Gr\u{f6}\u{df}e: 5\r\n", false),
        ("From a Mon Jan  1\r\nA: b\r\n", "\r\n", true),
        (">>From a\r\n>From b\r\nA: b\r\n", "c\r\n", false),
        ("From : a@b\r\n", "\r\n", true),
        ("", "From today on\r\nwe are closed\r\n", false),
        ("", "From today on\r\n\r\nwe are closed\r\n", false),
        ("", "From today on", false),
        ("", "From a\r\n b\r\n", false),
        ("A: b\r\n", "From a\r\nC: d\r\n", false),
    ] {
        let message = [section, body].concat();
        for piece in [1, 2, 3, 7, 1000] {
            let (found, rest, separated) = read(message.as_bytes(), piece);
            let found = octets(&found);
            let found = (&found[..], &rest[..], separated);
            assert_eq!(found, (section.as_bytes(), body.as_bytes(), is_separated), "{message:?}");
        }
        assert_eq!(plainly(message.as_bytes()), section.len(), "{message:?}");
    }
}

#[test]
fn a_name_has_an_end() {
    for (octets, is_name) in [(FIELD_NAME_OCTETS, true), (FIELD_NAME_OCTETS + 1, false)] {
        let message = format!("{}: x\r\n", "n".repeat(octets));
        let (_, body, _) = read(message.as_bytes(), 100);
        assert_eq!(body.is_empty(), is_name, "{octets}");
    }
    let endless = format!("From {}", "x".repeat(3 * MBOX_LINES_OCTETS));
    assert_eq!(read(endless.as_bytes(), 100).1, endless.as_bytes());
}

#[test]
fn fields_and_mbox_lines_are_told_apart() {
    let (parts, ..) = read(b"From a\r\nA: b\r\n c\r\nD :\r\n", 1000);
    let part = |octets: &'static str| Bytes::from_static(octets.as_bytes());
    let expected = [
        Part::MboxLines(part("From a\r\n")),
        Part::Name(part("A:")),
        Part::Value(part(" b\r\n c\r\n")),
        Part::Name(part("D :")),
        Part::Value(part("\r\n")),
    ];
    assert_eq!(parts, expected);
}

proptest! {
    #[test]
    fn pieces_do_not_matter_and_nothing_is_lost(
        text in "([AB: \t\r\n>\x0b\u{e9}\0]|\r\n|From |A: b\r\n|>From a\r\n){0,20}",
        piece in 1usize..9,
    ) {
        let message = text.as_bytes();
        let whole = read(message, message.len());
        prop_assert_eq!(&read(message, piece), &whole);
        let (section, body, is_separated) = whole;
        let section = octets(&section);
        prop_assert_eq!(section.len(), plainly(message));
        prop_assert_eq!([&section[..], &body[..]].concat(), message);
        prop_assert_eq!(is_separated, body.is_empty() || body.starts_with(b"\r\n"));
    }
}
