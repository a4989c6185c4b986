//! TLS as the session sees it: what it begins with, and what it leaves of what was before.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::state::State;
use crate::{Action, Ending, Session};
use relay_mail::tls::TlsInfo;
use relay_policy::{Peer, Rules};

impl Session {
    /// A session in which TLS begins with the first octet (RFC 8314 section 3). The first action is
    /// the handshake; the client is greeted in TLS. One that is refused is told nothing: it could
    /// read nothing else than TLS, and is not worth a handshake.
    pub fn encrypted(
        now: Instant,
        rules: Arc<Rules>,
        peer: Peer,
        local: IpAddr,
        remote: IpAddr,
    ) -> Self {
        let refuses = peer.connector.refuse;
        let mut session = Self::silent(now, rules, peer, local, remote);
        if refuses {
            session.close(Ending::Refused);
            return session;
        }
        session.state = State::StartingTls;
        session.output.push(Action::StartTls);
        session
    }

    /// The handshake that [`Action::StartTls`] asked for has failed, for this reason. Nothing can be
    /// said on the connection any more. `left`: the client has gone without a word.
    pub fn handle_tls_failed(&mut self, why: &str, left: bool) {
        if !matches!(self.state, State::StartingTls) {
            return;
        }
        self.output.protocol.information(|| format!("TLS handshake failed: {why}"));
        self.context.summary.left_handshake = left;
        self.context.summary.tls_failure = Some(why.escape_debug().to_string());
        self.close(Ending::HandshakeFailed);
    }

    /// The handshake that [`Action::StartTls`] asked for is done.
    pub fn handle_tls(&mut self, now: Instant, tls: TlsInfo) {
        self.now = now;
        if !matches!(self.state, State::StartingTls) {
            return;
        }
        // RFC 3207 section 4.2: whatever the client said before is forgotten, AUTH included.
        self.state = State::connected();
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
    }
}
