//! Standard error of a command. If systemd runs the command, each line has a priority.
//!
//! `relay run` prints there why it does not start, and `relay check` prints its findings. A line
//! with `warning` is a warning, and so are the indented lines below it; each other line is an
//! error.

use std::io::{self, IsTerminal, Stderr, Write};

use super::is_journal;

/// Priorities of the journal, sd-daemon(3).
const ERROR: &[u8] = b"<3>";
const WARNING: &[u8] = b"<4>";

/// Standard error. If it is the journal, each line has its priority.
pub struct Console {
    stderr: Stderr,
    is_journal: bool,
    lines: Lines,
}

/// Lines on the way to the journal.
struct Lines {
    /// The beginning of an incomplete line.
    begun: Vec<u8>,
    /// The priority of the line before.
    priority: &'static [u8],
}

impl Console {
    /// The standard error of this process.
    pub fn stderr() -> Self {
        let stderr = io::stderr();
        Self { is_journal: is_journal(&stderr), stderr, lines: Lines::new() }
    }

    /// Is it a terminal?
    pub fn is_terminal(&self) -> bool {
        self.stderr.is_terminal()
    }
}

impl Lines {
    const fn new() -> Self {
        Self { begun: Vec::new(), priority: ERROR }
    }

    /// The complete lines, each with its priority.
    fn complete_lines(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut whole = Vec::new();
        for piece in octets.split_inclusive(|&octet| octet == b'\n') {
            self.begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.end_line(&mut whole);
            }
        }
        whole
    }

    fn end_line(&mut self, whole: &mut Vec<u8>) {
        if !self.begun.starts_with(b" ") {
            let is_warning = memchr::memmem::find(&self.begun, b" warning").is_some();
            self.priority = if is_warning { WARNING } else { ERROR };
        }
        whole.extend_from_slice(self.priority);
        whole.append(&mut self.begun);
    }
}

impl Write for Console {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if !self.is_journal {
            return self.stderr.write(octets);
        }
        let whole = self.lines.complete_lines(octets);
        self.stderr.write_all(&whole)?;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.lines.begun.is_empty() {
            let mut whole = Vec::new();
            self.lines.end_line(&mut whole);
            self.stderr.write_all(&whole)?;
        }
        self.stderr.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_priority_even_if_it_is_written_in_parts() {
        let text = "relay.toml:4: connector \"A\": bindings: is missing\n    write it\n\
                    relay.toml:9: warning: [tls]: it ends soon\n    renew it\nrelay: no\n";
        let expected = "<3>relay.toml:4: connector \"A\": bindings: is missing\n<3>    write it\n\
                        <4>relay.toml:9: warning: [tls]: it ends soon\n<4>    renew it\n\
                        <3>relay: no\n";
        for size in [1, 7, text.len()] {
            let mut lines = Lines::new();
            let whole: Vec<u8> = text
                .as_bytes()
                .chunks(size)
                .flat_map(|piece| lines.complete_lines(piece))
                .collect();
            assert_eq!(String::from_utf8(whole).unwrap(), expected);
        }
    }
}
