//! Plays one probe against one session: the octets of the client, and the replies.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use relay_connector::Connection;
use relay_policy::{Peer, Rules};
use relay_session::Session;
use relay_session::player::{Player, World};

use super::probes::{Asks, Probe};

/// The result of a probe.
pub(super) struct ProbeDialogue {
    /// Was the tested command accepted?
    pub(super) accepted: bool,
    /// `C:` and `S:` lines.
    pub(super) dialogue: Vec<String>,
}

/// Plays a probe up to the tested command.
pub(super) fn play(
    rules: &Arc<Rules>,
    peer: &Peer,
    connection: Connection,
    probe: &Probe,
) -> ProbeDialogue {
    let now = Instant::now();
    let session = Session::new(now, Arc::clone(rules), peer.clone(), connection);
    let mut client =
        Client { player: Player::new(now, session, Heard::default()), dialogue: vec![] };
    client.say(b"EHLO selftest.example");
    if peer.connector.require_tls {
        client.say(b"STARTTLS");
        client.say(b"EHLO selftest.example");
    }
    let mut accepted = client.say(&probe.mail);
    if probe.asks == Asks::ToRelay {
        accepted = accepted && client.say(&probe.rcpt);
    }
    ProbeDialogue { accepted, dialogue: client.dialogue }
}

/// A host without other servers and without storage. It keeps replies until the client reads them.
#[derive(Default)]
struct Heard(Vec<u8>);

impl World for Heard {
    fn send(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }
}

struct Client {
    player: Player<Heard>,
    dialogue: Vec<String>,
}

impl Client {
    /// Sends one line. Returns true if the last reply accepts the command: a line that smuggles a
    /// second command has two replies.
    fn say(&mut self, line: &[u8]) -> bool {
        self.dialogue.push(format!("C: {}", line.escape_ascii()));
        self.player.say(&[line, b"\r\n"].concat());
        let replies = mem::take(&mut self.player.world().0);
        let replies = String::from_utf8_lossy(&replies);
        self.dialogue.extend(replies.lines().map(|line| format!("S: {line}")));
        let is_last_line = |line: &&str| line.as_bytes().get(3) == Some(&b' ');
        replies.lines().rfind(is_last_line).is_some_and(|line| line.starts_with('2'))
    }
}
