//! One probe against one session: the octets that a client would send, and what came back.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use relay_mail::reply;
use relay_mail::store_error::StoreError;
use relay_mail::tls::TlsInfo;
use relay_policy::{Peer, Rules};
use relay_session::{Action, Session};

use super::probes::{Asks, Probe};

/// What came of a probe.
pub(super) struct Answer {
    /// Was the command that the probe is about accepted?
    pub(super) accepted: bool,
    /// `C:` and `S:` lines.
    pub(super) dialogue: Vec<String>,
}

/// Plays a probe to the command that it is about.
pub(super) fn play(
    rules: &Arc<Rules>,
    peer: &Peer,
    local: IpAddr,
    remote: IpAddr,
    probe: &Probe,
) -> Answer {
    let now = Instant::now();
    let session = Session::new(now, Arc::clone(rules), peer.clone(), local, remote);
    let mut player = Player { session, now, heard: Vec::new(), dialogue: Vec::new() };
    player.perform();
    player.say(b"EHLO selftest.example");
    if peer.connector.require_tls {
        player.say(b"STARTTLS");
        player.say(b"EHLO selftest.example");
    }
    let mut accepted = player.say(&probe.mail);
    if probe.asks == Asks::ToRelay {
        accepted = accepted && player.say(&probe.rcpt);
    }
    Answer { accepted, dialogue: player.dialogue }
}

struct Player {
    session: Session,
    now: Instant,
    heard: Vec<u8>,
    dialogue: Vec<String>,
}

impl Player {
    /// Sends one line. True when the last of the replies to it accepts something: a line that
    /// smuggles a second command has two.
    fn say(&mut self, line: &[u8]) -> bool {
        self.dialogue.push(format!("C: {}", line.escape_ascii()));
        self.session.handle_bytes(self.now, line);
        self.session.handle_bytes(self.now, b"\r\n");
        self.perform();
        // What the tarpit keeps back is wanted at once.
        for _ in 0..8 {
            if self.session.wants_bytes() && !self.heard.is_empty() {
                break;
            }
            self.now = self.now.max(self.session.deadline());
            self.session.handle_timeout(self.now);
            self.perform();
        }
        let replies = String::from_utf8_lossy(&self.heard).into_owned();
        self.heard.clear();
        self.dialogue.extend(replies.lines().map(|line| format!("S: {line}")));
        let is_last_line = |line: &&str| line.as_bytes().get(3) == Some(&b' ');
        replies.lines().rfind(is_last_line).is_some_and(|line| line.starts_with('2'))
    }

    /// Does what a driver does that asks nobody and keeps nothing.
    fn perform(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::AbandonMessage
                | Action::Close
                | Action::PutInFront(_)
                | Action::Write(_) => {}
                Action::Ask(inquiry) => {
                    self.session.handle_finding(self.now, inquiry.not_asked());
                }
                Action::BeginMessage(_) => {
                    let begun = Err(StoreError::Closed.into());
                    self.session.handle_message_begun(self.now, begun);
                }
                Action::CommitMessage => {
                    self.session.handle_stored(self.now, Err(StoreError::Closed));
                }
                Action::Reclassify(_) => {
                    self.session.handle_client(self.now, Err(reply::SERVICE_NOT_AVAILABLE));
                }
                Action::Send(octets) => self.heard.extend_from_slice(&octets),
                Action::StartTls => {
                    self.session.handle_tls(self.now, TlsInfo::new("TLS1.3", "none"));
                }
            }
        }
    }
}
