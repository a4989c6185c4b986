//! The messages of the demo, and their expected results.

use super::network::Host;

/// One message and its expected result.
pub struct Scene {
    /// The purpose of the scene.
    pub title: &'static str,
    /// The host that sends.
    pub host: Host,
    /// The sender's address.
    pub source: &'static str,
    /// The edge's address to which it connects.
    pub server: &'static str,
    /// RCPT TO.
    pub recipient: &'static str,
    /// Whether there is a session.
    pub connects: bool,
    /// The connector that must apply.
    pub connector: &'static str,
    /// The beginning of the reply to the decisive command.
    pub reply: &'static str,
    /// Whether the next hop must get the message.
    pub arrives: bool,
}

impl Scene {
    /// Swaks's arguments. The next hop distinguishes the messages by their subject.
    pub fn arguments(&self, subject: &str) -> Vec<String> {
        let sender = match self.host {
            Host::Application | Host::Scanner => "device@contoso.example",
            Host::Stranger | Host::Banned => "amy@fabrikam.example",
        };
        let subject = format!("Subject: {subject}");
        // Swaks waits for a connection as long as for a reply, in seconds.
        let patience = if self.connects { "10" } else { "2" };
        [
            "--server",
            self.server,
            "--local-interface",
            self.source,
            "--timeout",
            patience,
            "--helo",
            "client.example",
            "--from",
            sender,
            "--to",
            self.recipient,
            "--header",
            &subject,
        ]
        .map(str::to_owned)
        .to_vec()
    }
}

/// A domain of ours, and a domain of others.
const OURS: &str = "bob@contoso.example";
const FOREIGN: &str = "bob@fabrikam.example";
/// Exchange's text, which clients and administrators recognize.
const NO_RELAY: &str = "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain";

/// All scenes, in order.
pub const SCENES: [Scene; 7] = [
    Scene {
        title: "the application server relays, externally secured",
        host: Host::Application,
        source: "10.38.96.15",
        server: "10.38.96.1",
        recipient: FOREIGN,
        connects: true,
        connector: "SMTP Relay EXCH01",
        reply: "250 ",
        arrives: true,
    },
    Scene {
        title: "the scanner relays, anonymously",
        host: Host::Scanner,
        source: "10.38.97.20",
        server: "10.38.97.1",
        recipient: FOREIGN,
        connects: true,
        connector: "Scanners",
        reply: "250 ",
        arrives: true,
    },
    Scene {
        title: "a stranger may not relay",
        host: Host::Stranger,
        source: "203.0.113.7",
        server: "203.0.113.1",
        recipient: FOREIGN,
        connects: true,
        connector: "Default Frontend",
        reply: NO_RELAY,
        arrives: false,
    },
    Scene {
        title: "a stranger sends to a domain of ours",
        host: Host::Stranger,
        source: "203.0.113.7",
        server: "203.0.113.1",
        recipient: OURS,
        connects: true,
        connector: "Default Frontend",
        reply: "250 ",
        arrives: true,
    },
    Scene {
        title: "a stranger may not relay over IPv6 either",
        host: Host::Stranger,
        source: "2001:db8:113::7",
        server: "2001:db8:113::1",
        recipient: FOREIGN,
        connects: true,
        connector: "Default Frontend",
        reply: NO_RELAY,
        arrives: false,
    },
    Scene {
        title: "a stranger sends to a domain of ours over IPv6",
        host: Host::Stranger,
        source: "2001:db8:113::7",
        server: "2001:db8:113::1",
        recipient: OURS,
        connects: true,
        connector: "Default Frontend",
        reply: "250 ",
        arrives: true,
    },
    Scene {
        title: "a refused address gets no connection",
        host: Host::Banned,
        source: "198.51.100.66",
        server: "198.51.100.1",
        recipient: OURS,
        connects: false,
        connector: "Refused",
        reply: "",
        arrives: false,
    },
];
