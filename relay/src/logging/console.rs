//! Standard error of a command, which may be run by systemd: each line then has a priority.

use std::io::{self, IsTerminal, Stderr, Write};

use super::is_journal;

/// Standard error. Where it is the journal, each line is a warning.
pub struct Console {
    stderr: Stderr,
    is_journal: bool,
    is_line_start: bool,
}

impl Console {
    /// The standard error of this process.
    pub fn stderr() -> Self {
        let stderr = io::stderr();
        Self { is_journal: is_journal(&stderr), stderr, is_line_start: true }
    }

    /// Is it a terminal?
    pub fn is_terminal(&self) -> bool {
        self.stderr.is_terminal()
    }
}

impl Write for Console {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if !self.is_journal {
            return self.stderr.write(octets);
        }
        for line in octets.split_inclusive(|&octet| octet == b'\n') {
            if self.is_line_start {
                self.stderr.write_all(b"<4>")?;
            }
            self.stderr.write_all(line)?;
            self.is_line_start = line.ends_with(b"\n");
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stderr.flush()
    }
}
