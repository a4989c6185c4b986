//! TLS in the session: its beginning, and what it keeps from before.

use std::time::Instant;

use crate::state::SessionState;
use crate::{Action, Session, SessionEnding};
use relay_mail::tls::TlsInfo;

/// Why a TLS handshake has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeFailure {
    /// The client has disconnected without an alert.
    #[error("{0}")]
    ClientLeft(String),
    /// It was promised, but a reload has removed the certificate.
    #[error("this connector no longer has a certificate")]
    NoCertificate,
    /// The two sides do not agree.
    #[error("{0}")]
    Refused(String),
}

impl Session {
    /// TLS begins with the first octet.
    pub(super) fn encrypt(&mut self) {
        if self.context.peer.connector.refuse {
            return self.close(SessionEnding::Refused);
        }
        self.state = SessionState::StartingTls;
        self.output.push(Action::StartTls);
    }

    /// The handshake of [`Action::StartTls`] has failed. Nothing more can be sent on the connection.
    pub fn handle_tls_failed(&mut self, failure: &HandshakeFailure) {
        if !matches!(self.state, SessionState::StartingTls) {
            return;
        }
        self.output.protocol.information(|| format!("TLS handshake failed: {failure}"));
        self.context.summary.left_handshake = matches!(failure, HandshakeFailure::ClientLeft(_));
        self.context.summary.tls_failure = Some(failure.to_string().escape_debug().to_string());
        self.close(SessionEnding::HandshakeFailed);
    }

    /// The handshake of [`Action::StartTls`] is complete.
    pub fn handle_tls(&mut self, now: Instant, tls: TlsInfo) {
        self.now = now;
        if !matches!(self.state, SessionState::StartingTls) {
            return;
        }
        // RFC 3207 section 4.2: everything the client sent before is discarded, including AUTH.
        self.state = SessionState::connected();
        self.timers.active(now);
        self.output.protocol.information(|| format!("TLS established: {tls}"));
        let context = &mut self.context;
        let before = context.peer.principal;
        // A proxy's certificate is its own, and proves nothing about the client that it named.
        let certificate = tls.client.as_ref().filter(|_| !context.is_told);
        let because = context.peer.secure(&context.rules, certificate);
        context.summary.note_certificate(&because);
        context.summary.tls = Some(tls);
        if context.peer.principal != before {
            self.note_principal();
        }
        if !self.greeted {
            self.greet();
        }
        self.output.because(&because);
    }
}
