//! TLS as the session sees it: what it begins with, and what it leaves of what was before.

use std::time::Instant;

use crate::state::SessionState;
use crate::{Action, Session, SessionEnding};
use relay_mail::tls::TlsInfo;

impl Session {
    /// TLS begins with the first octet.
    pub(super) fn encrypt(&mut self) {
        if self.context.peer.connector.refuse {
            return self.close(SessionEnding::Refused);
        }
        self.state = SessionState::StartingTls;
        self.output.push(Action::StartTls);
    }

    /// The handshake that [`Action::StartTls`] asked for has failed, for this reason. Nothing can be
    /// said on the connection any more. `left`: the client has gone without a word.
    pub fn handle_tls_failed(&mut self, why: &str, left: bool) {
        if !matches!(self.state, SessionState::StartingTls) {
            return;
        }
        self.output.protocol.information(|| format!("TLS handshake failed: {why}"));
        self.context.summary.left_handshake = left;
        self.context.summary.tls_failure = Some(why.escape_debug().to_string());
        self.close(SessionEnding::HandshakeFailed);
    }

    /// The handshake that [`Action::StartTls`] asked for is done.
    pub fn handle_tls(&mut self, now: Instant, tls: TlsInfo) {
        self.now = now;
        if !matches!(self.state, SessionState::StartingTls) {
            return;
        }
        // RFC 3207 section 4.2: whatever the client said before is forgotten, AUTH included.
        self.state = SessionState::connected();
        self.timers.active(now);
        self.output.protocol.information(|| format!("TLS established: {tls}"));
        let context = &mut self.context;
        let before = context.peer.principal;
        // A certificate that a proxy shows is its own, and says nothing of the client it told of.
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
