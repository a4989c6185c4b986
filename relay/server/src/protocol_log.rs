//! The protocol log: what sessions of verbose connectors said and heard, a line of the log each.
//!
//! What is in it is for [`relay_session`]; this module gives each line its session, its place
//! in it, and its ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use relay_connector::Connection;
use relay_session::{ProtocolEvent, ProtocolRecord};

/// The target of its lines. `protocol_logging_level` alone decides about them: `log.level` does not
/// hold for it.
pub const TARGET: &str = "relay::protocol";

/// Names sessions: no two of a host have the same name, unless its clock was set back.
pub(super) struct SessionIds {
    next: AtomicU64,
}

/// The protocol log of one session.
pub(super) struct ProtocolLogWriter {
    session_id: u64,
    /// Lines that have been written.
    written: u64,
}

impl Default for SessionIds {
    /// The second of the start, then a number that counts on.
    fn default() -> Self {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { next: AtomicU64::new(start << 32) }
    }
}

impl SessionIds {
    /// The log of one more session.
    pub(super) fn next(&self) -> ProtocolLogWriter {
        ProtocolLogWriter { session_id: self.next.fetch_add(1, Ordering::Relaxed), written: 0 }
    }
}

impl ProtocolLogWriter {
    /// The session's name, if anything was written of it.
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

    /// The session knows neither its range nor the proxy before it, so this is not from it.
    pub(super) fn connected(&mut self, connector: &str, connection: &Connection, range: &str) {
        let proxy = connection
            .proxy()
            .map(|proxy| format!(", through the proxy {proxy}"))
            .unwrap_or_default();
        let data = format!("connected: connector {connector}, range {range}{proxy}");
        let event = ProtocolEvent::Information;
        self.write(connector, connection, &ProtocolRecord { event, data });
    }

    /// What [`Self::session_id`] is made of, whether or not anything was written.
    pub(super) fn number(&self) -> u64 {
        self.session_id
    }

    fn name(&self) -> String {
        format!("{:016X}", self.session_id)
    }
}
