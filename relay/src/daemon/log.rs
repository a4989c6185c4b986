//! How the daemon logs: lines for people, or one JSON object each, on standard error.
//!
//! The protocol log of a connector is written at every `log.level`: the connector asks for it.
//! `RELAY_LOG` overrides all of it with tracing's own filter syntax, for debugging one module.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::{Log, LogFormat, LogLevel};
use crate::server::protocol_log;

/// Starts logging. A second call in one process changes nothing.
pub(super) fn start(log: Log) {
    let filter = EnvFilter::try_from_env("RELAY_LOG")
        .unwrap_or_else(|_| EnvFilter::new(directives(log.level)));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    // The only error is that logging has been started before.
    let _ = match log.format {
        LogFormat::Human => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// What is written, as tracing's filters have it.
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
