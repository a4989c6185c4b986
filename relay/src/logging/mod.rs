//! The daemon's log: lines for people, or one JSON object each, on standard error.
//!
//! This module decides which events are logged at which level, and in which form. [`text`] makes a
//! line safe to print and short enough for the journal, and [`sink`] writes it: logging never
//! blocks, never fails and never ends the daemon. Lines that cannot be written are lost and
//! counted.
//!
//! If standard error is the journal, each line begins with its priority (sd-daemon(3)) and has no
//! time of its own, because the journal has both as fields.
//!
//! The protocol log of a connector is written at every `log.level`, because the connector asks for
//! it. `RELAY_LOG` replaces all levels with a filter in tracing's syntax, for debugging one module.

mod console;
mod sink;
mod text;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

use relay_config::{Log, LogFormat, LogLevel};
use relay_server::protocol_log;
use rustix::fs::fstat;
use serde::{Deserialize, Serialize};
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::limits::LOG_FLUSH;

pub use self::console::Console;

use self::sink::LogSink;
use self::text::LineFormat;

/// The log of this process. There is one, as there is one standard error.
static LOGGER: OnceLock<Logger> = OnceLock::new();

/// The state of the log for `relay status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStatus {
    /// Lines that could not be written since the daemon began.
    pub lost: u64,
    /// Why lines cannot be written at the moment.
    pub problem: Option<String>,
}

/// The destination of lines.
#[derive(Clone)]
struct Logger(Arc<LogSink>);

/// Starts logging. A second call in one process has no effect.
///
/// Starts no thread, because capabilities and users belong to threads, and the caller still changes
/// them. Until [`start_writer`] is called, the threads that log also write, as far as that does not
/// block them.
pub fn start(log: Log) {
    let stderr = io::stderr();
    let Ok(output) = stderr.as_fd().try_clone_to_owned() else { return };
    let is_journal = is_journal(stderr.as_fd());
    let form = match (log.format, is_journal) {
        (LogFormat::Human, false) => LineFormat::Plain,
        (LogFormat::Human, true) => LineFormat::Journal,
        (LogFormat::Json, false) => LineFormat::Json,
        (LogFormat::Json, true) => LineFormat::JournalJson,
    };
    let logger = LOGGER.get_or_init(|| Logger(Arc::new(LogSink::new(output, form)))).clone();
    let filter = EnvFilter::try_from_env("RELAY_LOG")
        .unwrap_or_else(|_| EnvFilter::new(directives(log.level)));
    // Colours would be control characters in outputs other than a terminal.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(logger)
        .log_internal_errors(false)
        .with_ansi(false);
    // The only possible error is that logging was started before.
    let _ = match (log.format, is_journal) {
        (LogFormat::Human, false) => {
            builder.with_target(false).fmt_fields(text::fields()).try_init()
        }
        (LogFormat::Human, true) => {
            builder.with_target(false).without_time().fmt_fields(text::fields()).try_init()
        }
        (LogFormat::Json, false) => builder.json().flatten_event(true).try_init(),
        (LogFormat::Json, true) => builder.json().flatten_event(true).without_time().try_init(),
    };
    log_panics();
}

/// Starts the thread that writes the log. See [`start`] for the time before.
///
/// # Errors
///
/// The system allows no further thread. Lines are written as before.
pub fn start_writer() -> io::Result<()> {
    LOGGER.get().map_or(Ok(()), |logger| sink::start_thread(&logger.0))
}

/// Writes the waiting lines, for [`LOG_FLUSH`] at most. For the end of the process.
pub fn finish() {
    if let Some(logger) = LOGGER.get() {
        logger.0.finish(LOG_FLUSH);
    }
}

/// The state of the log.
pub fn status() -> LogStatus {
    LOGGER.get().map(|logger| logger.0.status()).unwrap_or_default()
}

/// Writes a text for the operator at every level and without a change of form, such as the reason
/// why the daemon does not run. Returns `false` before [`start`].
pub fn write_to_standard_error(text: &str) -> bool {
    let Some(logger) = LOGGER.get() else { return false };
    let form = if logger.0.form().is_journal() { LineFormat::Journal } else { LineFormat::Plain };
    text.lines().for_each(|line| logger.0.put(form.lines(Level::ERROR, line)));
    true
}

/// Is this file the journal's socket? `JOURNAL_STREAM` has its device and inode, systemd.exec(5). A
/// child process inherits the variable even if its output goes elsewhere.
pub fn is_journal(output: impl AsFd) -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let Ok(stat) = fstat(output) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// Logs panics like other errors. The standard hook would write to standard error itself and could
/// block.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        tracing::error!(thread = name, place, "internal error, please report it: {message}");
    }));
}

impl<'a> MakeWriter<'a> for Logger {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event { logger: self, level: Level::INFO }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Event<'a> {
        Event { logger: self, level: *metadata.level() }
    }
}

/// An event while it is written.
struct Event<'a> {
    logger: &'a Logger,
    level: Level,
}

impl Write for Event<'_> {
    /// Writes one event at once, and never fails: after an error tracing would write to standard
    /// error itself, and panic if that is closed.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(octets);
        let Logger(sink) = self.logger;
        // A line without a time begins with a blank.
        let line = line.trim_end_matches('\n').trim_start_matches(' ');
        sink.put(sink.form().lines(self.level, line));
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The levels, as a filter of tracing.
fn directives(level: LogLevel) -> String {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    format!("{level},{}=info", protocol_log::TARGET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_log_is_written_at_every_level() {
        let filter = EnvFilter::builder().parse(directives(LogLevel::Error)).unwrap();
        assert_eq!(filter.to_string(), "relay::protocol=info,error");
    }
}
