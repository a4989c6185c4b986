use crate::data::*;
use proptest::prelude::*;

/// The result for some input.
#[derive(Debug, PartialEq)]
struct Outcome {
    content: Vec<u8>,
    violation: Option<Violation>,
    /// The octets after the end of data, if it was found.
    rest: Option<Vec<u8>>,
}

fn read(chunks: &[&[u8]]) -> Outcome {
    let mut reader = DataReader::new();
    let mut input = BytesMut::new();
    let mut content = Vec::new();
    let mut ended = false;
    for chunk in chunks {
        input.extend_from_slice(chunk);
        while !ended && let Some(event) = reader.next_event(&mut input) {
            match event {
                DataEvent::Content(octets) => content.extend_from_slice(&octets),
                DataEvent::End => ended = true,
            }
        }
        assert!(ended || input.len() <= 2, "only an undecided dot may wait");
    }
    let rest = ended.then(|| input.to_vec());
    Outcome { content, violation: reader.violation(), rest }
}

fn ends(input: &[u8]) -> Option<Vec<u8>> {
    let outcome = read(&[input]);
    outcome.rest.map(|rest| {
        assert_eq!(rest, b"", "{}", input.escape_ascii());
        outcome.content
    })
}

#[test]
fn the_end_is_crlf_dot_crlf() {
    assert_eq!(ends(b"a\r\n.\r\n").unwrap(), b"a\r\n");
    assert_eq!(ends(b".\r\n").unwrap(), b"", "an empty message");
    assert_eq!(ends(b"\r\n.\r\n").unwrap(), b"\r\n");
    assert_eq!(ends(b"..\r\n.\r\n").unwrap(), b".\r\n", "a dot on the first line");
    assert_eq!(ends(b"..a\r\n...\r\n.b\r\n.\r\n").unwrap(), b".a\r\n..\r\nb\r\n");
    assert_eq!(ends(b"a.\r\n.\r\n").unwrap(), b"a.\r\n");
}

/// Every sequence that some server treats as the end.
#[test]
fn nothing_else_is() {
    for end in [
        &b"\n.\n"[..],
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\r",
        b"\r\n.\rX",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\r\n.\r\r\n",
        b"\r\n. \r\n",
        b"\r\n.\r\r\n",
        b"\n\n.\r\n",
        b"\r\n\r.\r\n",
        b"\r\n.\n\r\n",
    ] {
        let outcome = read(&[b"a", end, b"MAIL FROM:<x@y>\r\n"]);
        assert_eq!(outcome.rest, None, "{}", end.escape_ascii());
    }
}

#[test]
fn the_first_violation_is_remembered() {
    let violation = |input: &[u8]| read(&[input]).violation;
    assert_eq!(violation(b"a\r\nb\r\n.\r\n"), None);
    assert_eq!(violation(b"a\nb\r\n.\r\n"), Some(Violation::BareLf(1)));
    assert_eq!(violation(b"a\rb\r\n.\r\n"), Some(Violation::BareCr(1)));
    assert_eq!(violation(b"a\r\r\n.\r\n"), Some(Violation::BareCr(1)));
    assert_eq!(violation(b"a\0b\rc\r\n.\r\n"), Some(Violation::Nul(1)));
    assert_eq!(violation(b"a\r\n.\rb\r\n.\r\n"), Some(Violation::BareCr(4)));
}

/// A slice of the input, not a copy, and a single one for any number of removed dots.
#[test]
fn content_comes_in_one_slice() {
    let dots = "..\r\n".repeat(1000);
    for (sent, content) in [
        ("one\r\ntwo\r\n", "one\r\ntwo\r\n"),
        ("one\r\n..two\r\nthree\r\n...\r\n", "one\r\n.two\r\nthree\r\n..\r\n"),
        ("..one\r\n.two", ".one\r\ntwo"),
        (&dots, &".\r\n".repeat(1000)),
    ] {
        let mut input = BytesMut::from(format!("{sent}\r\n.\r\nQUIT\r\n").as_bytes());
        let mut reader = DataReader::new();
        let Some(DataEvent::Content(first)) = reader.next_event(&mut input) else { panic!() };
        assert_eq!(first, format!("{content}\r\n"));
        assert_eq!(reader.next_event(&mut input), Some(DataEvent::End));
        assert_eq!(input, "QUIT\r\n");
    }
    let mut input = BytesMut::from(&b"one\r\ntwo\r\n"[..]);
    let start = input.as_ptr();
    let Some(DataEvent::Content(only)) = DataReader::new().next_event(&mut input) else { panic!() };
    assert_eq!(only.as_ptr(), start);
}

/// The end of a message and its content, in the simplest code.
fn reference(input: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let input = [b"\r\n", input].concat();
    let end = input.windows(5).position(|octets| octets == b"\r\n.\r\n");
    let rest = end.map(|end| input[end + 5..].to_vec());
    let mut content = Vec::new();
    for (index, octet) in input[..end.map_or(input.len(), |end| end + 2)].iter().enumerate() {
        if *octet != b'.' || !input[..index].ends_with(b"\r\n") {
            content.push(*octet);
        }
    }
    (content[2..].to_vec(), rest)
}

/// Prints what the reading of DATA costs, as a multiple of copying the same octets. Compare two
/// commits with `cargo test --release -p relay-smtp -- --ignored --nocapture cost_of_reading`.
#[test]
#[ignore = "a measurement, on a machine without other work"]
fn cost_of_reading() {
    const PACKET_OCTETS: usize = 16 * 1024;
    for line_octets in [10, 76, 998] {
        let line = format!("{}\r\n", "x".repeat(line_octets));
        let message = line.repeat((8 << 20) / line.len());
        let packet_octets = PACKET_OCTETS / line.len() * line.len();
        let best_of = |work: &dyn Fn(&[u8])| {
            let seconds = (0..20).map(|_| {
                let start = std::time::Instant::now();
                message.as_bytes().chunks(packet_octets).for_each(work);
                start.elapsed().as_secs_f64()
            });
            seconds.fold(f64::MAX, f64::min)
        };
        let copied = best_of(&|packet| drop(std::hint::black_box(BytesMut::from(packet))));
        let read = best_of(&|packet| {
            let (mut reader, mut input) = (DataReader::new(), BytesMut::from(packet));
            while let Some(event) = reader.next_event(&mut input) {
                std::hint::black_box(event);
            }
            assert_eq!(reader.violation(), None);
        });
        println!("lines of {line_octets:>3} octets: {:.1} times a copy", read / copied);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn chunks_do_not_matter_and_the_reference_agrees(
        input in proptest::collection::vec(
            prop_oneof![
                4 => Just(&b"\r\n"[..]), 4 => Just(&b"."[..]), 2 => Just(&b"\r"[..]), 1 => Just(&b"\n"[..]),
                1 => Just(&b"\0"[..]), 3 => Just(&b"a"[..]), 2 => Just(&b"\r\n.\r\n"[..]), 1 => Just(&b"\x80b "[..]),
            ], 0..30),
        cuts in proptest::collection::vec(0usize..60, 0..6),
    ) {
        let bytes = input.concat();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| (*cut).min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let chunks: Vec<_> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        let single: Vec<_> = bytes.chunks(1).collect();
        let whole = read(&[&bytes]);
        prop_assert_eq!(&read(&chunks), &whole);
        prop_assert_eq!(&read(&single), &whole);
        let (content, rest) = reference(&bytes);
        prop_assert_eq!(&whole.rest, &rest);
        if rest.is_some() {
            prop_assert_eq!(&whole.content, &content);
            let bare = content.iter().enumerate().any(|(index, octet)| match octet {
                b'\r' => content.get(index + 1) != Some(&b'\n'),
                b'\n' => index == 0 || content[index - 1] != b'\r',
                octet => *octet == 0,
            });
            prop_assert_eq!(whole.violation.is_some(), bare);
        }
    }
}
