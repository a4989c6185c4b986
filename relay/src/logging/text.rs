//! The form of a log line: one line, without control characters, and short enough for its reader.
//!
//! `journalctl -o json` shows a message of 4,096 octets as `null` and a message with control
//! characters as a list of numbers, and the plain output shows such a message as a blob. Therefore
//! the journal gets a long line in several entries, and a long JSON object with its longest values
//! cut.

use std::borrow::Cow;
use std::fmt::Write as _;

use relay_mail::printable::is_printable;
use serde_json::{Value, json};
use tracing::Level;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::debug_fn;

use crate::limits::{JOURNAL_LINE_OCTETS, LOG_LINE_OCTETS};

/// The form of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineFormat {
    /// Text.
    Plain,
    /// Text for the journal, each line with its priority.
    Journal,
    /// JSON objects.
    Json,
    /// JSON objects for the journal.
    JournalJson,
}

impl LineFormat {
    pub(super) const fn is_journal(self) -> bool {
        matches!(self, Self::Journal | Self::JournalJson)
    }

    /// The line that reports lost lines.
    pub(super) fn lost_lines_text(self, lost: u64) -> String {
        const WHAT: &str = "log lines were lost: they could not be written";
        let event = match self {
            Self::Plain | Self::Journal => format!("WARN {lost} {WHAT}"),
            Self::Json | Self::JournalJson => {
                json!({ "level": "WARN", "message": WHAT, "lost": lost }).to_string()
            }
        };
        self.lines(Level::WARN, &event).concat()
    }

    /// The lines of one event, each with its line end.
    pub(super) fn lines(self, level: Level, event: &str) -> Vec<String> {
        let most = if self.is_journal() { JOURNAL_LINE_OCTETS } else { LOG_LINE_OCTETS };
        let pieces = match self {
            Self::Json | Self::JournalJson => vec![shorten_json(escape(event, Within::Json), most)],
            Self::Plain => vec![cut(&escape(event, Within::Text), most)],
            Self::Journal => split(&cut(&escape(event, Within::Text), LOG_LINE_OCTETS), most),
        };
        let prefix = if self.is_journal() { priority(level) } else { "" };
        pieces.into_iter().map(|piece| format!("{prefix}{piece}\n")).collect()
    }
}

/// The fields of an event as text. Values come from clients. A value with a blank or a quote in it,
/// such as a quoted local part, is quoted, so that no value looks like another field.
pub(super) fn fields() -> impl for<'writer> FormatFields<'writer> + 'static {
    debug_fn(|writer, field, value| {
        let value = format!("{value:?}");
        match field.name() {
            "message" => writer.write_str(&value),
            name => write!(writer, "{name}={}", quoted(&value)),
        }
    })
    .delimited(" ")
}

fn quoted(value: &str) -> Cow<'_, str> {
    let is_one_word = !value.is_empty() && !value.contains([' ', '"', '\t', '\n', '\r']);
    if is_one_word || is_quoted(value) {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(format!("{value:?}"))
    }
}

/// Is the whole text in quotes, as every text field is?
fn is_quoted(value: &str) -> bool {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(inner) = inner else { return false };
    let mut is_escaped = false;
    for character in inner.chars() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return false,
            _ => {}
        }
    }
    !is_escaped
}

/// The priority of syslog(3), as sd-daemon(3) spells it.
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// Where an escaped text stands, which decides the form of its escapes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// In a JSON object: all characters that are escaped are in strings of it.
    Json,
    Text,
}

/// Control characters would end the line, move a terminal's cursor or reverse what it shows.
fn escape(text: &str, within: Within) -> String {
    if text.bytes().all(|octet| matches!(octet, b'\t' | b' '..=b'~')) {
        return text.to_owned();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            _ if is_unprintable(character) && within == Within::Json => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    // Writing to a string cannot fail.
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
            _ if is_unprintable(character) => {
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(character));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Characters that [`is_printable`] refuses, except tabs. The journal treats noncharacters as
/// unprintable too.
fn is_unprintable(character: char) -> bool {
    character != '\t' && !is_printable(character)
}

/// The text, or its beginning with the number of missing octets.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most);
    format!("{}… ({} octets more)", &text[..end], text.len() - end)
}

/// The text in pieces.
fn split(text: &str, most: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    loop {
        let (mark, end) = match pieces.is_empty() {
            true => ("", rest.floor_char_boundary(most)),
            false => ("(continued) ", rest.floor_char_boundary(most)),
        };
        let (piece, after) = rest.split_at(end);
        pieces.push(format!("{mark}{piece}"));
        if after.is_empty() {
            return pieces;
        }
        rest = after;
    }
}

/// A JSON object whose longest strings are cut until it fits.
fn shorten_json(object: String, most: usize) -> String {
    if object.len() <= most {
        return object;
    }
    let Ok(mut value) = serde_json::from_str::<Value>(&object) else { return cut(&object, most) };
    let mut longest = most / 2;
    loop {
        cut_strings(&mut value, longest);
        let shorter = escape(&value.to_string(), Within::Json);
        // An event without strings is never long.
        if shorter.len() <= most || longest < 16 {
            return shorter;
        }
        longest /= 2;
    }
}

fn cut_strings(value: &mut Value, most: usize) {
    match value {
        Value::String(text) if text.len() > most => *text = cut(text, most),
        Value::Array(values) => values.iter_mut().for_each(|value| cut_strings(value, most)),
        Value::Object(values) => values.values_mut().for_each(|value| cut_strings(value, most)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_looks_like_another_field() {
        for (value, expected) in [
            ("RCPT", "RCPT"),
            ("a=b@c.example", "a=b@c.example"),
            ("", "\"\""),
            ("550 5.7.54 no", "\"550 5.7.54 no\""),
            ("\"a reply=250\"@c.example", "\"\\\"a reply=250\\\"@c.example\""),
            // A text field is in quotes already.
            ("\"a \\\" b\"", "\"a \\\" b\""),
            ("\"a\" b=\"c\"", "\"\\\"a\\\" b=\\\"c\\\"\""),
            ("\"a\\\"", "\"\\\"a\\\\\\\"\""),
        ] {
            assert_eq!(quoted(value), expected, "{value}");
        }
    }

    #[test]
    fn priorities_are_those_of_syslog() {
        for (level, prefix) in [
            (Level::ERROR, "<3>"),
            (Level::WARN, "<4>"),
            (Level::INFO, "<6>"),
            (Level::DEBUG, "<7>"),
            (Level::TRACE, "<7>"),
        ] {
            assert_eq!(LineFormat::Journal.lines(level, "x"), [format!("{prefix}x\n")]);
            assert_eq!(LineFormat::JournalJson.lines(level, "{}"), [format!("{prefix}{{}}\n")]);
            assert_eq!(LineFormat::Plain.lines(level, "x"), ["x\n"]);
        }
    }

    #[test]
    fn no_line_has_a_control_character_or_a_line_end_within() {
        let event = "a\nb\r\nc\x1b[31m\0\x07\u{85}\u{202e}\u{2028}\u{ffff}\u{1fffe}é\t\x7f";
        for form in [LineFormat::Plain, LineFormat::Journal] {
            let lines = form.lines(Level::INFO, event);
            assert_eq!(lines.len(), 1);
            let line = lines[0].strip_suffix('\n').unwrap();
            assert!(!line.chars().any(is_unprintable), "{line:?}");
            assert!(line.contains("a\\nb\\r\\nc\\u{1b}[31m") && line.contains('é'), "{line:?}");
        }
    }

    #[test]
    fn a_json_object_stays_one_and_means_the_same() {
        let event = serde_json::json!({"message": "a\n\x1b\u{85}\u{202e}\u{1fffe}é"});
        for form in [LineFormat::Json, LineFormat::JournalJson] {
            let line = form.lines(Level::INFO, &event.to_string()).concat();
            let line = line.trim_start_matches("<6>").trim_end();
            assert!(!line.chars().any(is_unprintable), "{line:?}");
            assert_eq!(serde_json::from_str::<Value>(line).unwrap(), event);
        }
    }

    #[test]
    fn the_journal_gets_a_complete_long_line_in_pieces() {
        let event = "é".repeat(10_000);
        let lines = LineFormat::Journal.lines(Level::WARN, &event);
        let mut whole = String::new();
        for line in &lines {
            assert!(line.len() < 4_080, "{}", line.len());
            let line = line.strip_prefix("<4>").unwrap().strip_suffix('\n').unwrap();
            whole.push_str(line.strip_prefix("(continued) ").unwrap_or(line));
        }
        assert_eq!(whole, event);
        let lines = LineFormat::Journal.lines(Level::WARN, &"x".repeat(1 << 20));
        assert!(lines.concat().len() < LOG_LINE_OCTETS + 1_000);
        assert!(lines.last().unwrap().contains("983040 octets more"), "{:?}", lines.last());
    }

    #[test]
    fn a_long_json_object_keeps_its_keys_and_fits() {
        let long = "\x1b".repeat(100_000);
        let event = serde_json::json!({"level": "WARN", "message": long, "error": long, "id": 7});
        for (form, most) in [(LineFormat::Json, LOG_LINE_OCTETS), (LineFormat::JournalJson, 4_000)]
        {
            let line = form.lines(Level::WARN, &event.to_string()).concat();
            assert!(line.len() <= most + 4, "{}", line.len());
            let read: Value = serde_json::from_str(line.trim_start_matches("<4>")).unwrap();
            assert_eq!((&read["level"], &read["id"]), (&event["level"], &event["id"]));
            assert!(read["error"].as_str().unwrap().contains("octets more"));
        }
    }
}
