//! The protocol log: commands and replies of sessions on verbose connectors, one log line each.
//!
//! [`relay_session`] decides the content; this module adds the session, the sequence number and the
//! addresses to each line.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use relay_connector::Connection;
use relay_session::{ProtocolEvent, ProtocolRecord};

/// The target of the lines. Only `protocol_logging_level` applies to them, not `log.level`.
pub const TARGET: &str = "relay::protocol";

/// Names sessions: names on one host are unique, unless its clock was set back.
pub(super) struct SessionIds {
    next: AtomicU64,
}

/// The protocol log of one session.
pub(super) struct ProtocolLogWriter {
    session_id: u64,
    /// The number of written lines.
    written: u64,
}

impl Default for SessionIds {
    /// Starts with the second of the start; then counts on.
    fn default() -> Self {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { next: AtomicU64::new(start << 32) }
    }
}

impl SessionIds {
    /// The log of a new session.
    pub(super) fn next(&self) -> ProtocolLogWriter {
        ProtocolLogWriter { session_id: self.next.fetch_add(1, Ordering::Relaxed), written: 0 }
    }
}

impl ProtocolLogWriter {
    /// The session's name, if a line was written.
    pub(super) fn session_id(&self) -> Option<String> {
        (self.written > 0).then(|| self.name())
    }

    pub(super) fn write(
        &mut self,
        connector: &str,
        connection: &Connection,
        record: &ProtocolRecord,
    ) {
        let ProtocolRecord { event, data } = record;
        tracing::info!(
            target: TARGET,
            session_id = self.name(),
            sequence_number = self.written,
            connector,
            local = %connection.local(),
            remote = %connection.remote(),
            event = event.sign(),
            data,
            "protocol"
        );
        self.written += 1;
    }

    /// Written here, because the session knows neither its range nor its proxy.
    pub(super) fn connected(&mut self, connector: &str, connection: &Connection, range: &str) {
        let proxy = connection
            .proxy()
            .map(|proxy| format!(", through the proxy {proxy}"))
            .unwrap_or_default();
        let data = format!("connected: connector {connector}, range {range}{proxy}");
        let event = ProtocolEvent::Information;
        self.write(connector, connection, &ProtocolRecord { event, data });
    }

    /// The number in [`Self::session_id`], even if no line was written.
    pub(super) fn number(&self) -> u64 {
        self.session_id
    }

    fn name(&self) -> String {
        format!("{:016X}", self.session_id)
    }
}
