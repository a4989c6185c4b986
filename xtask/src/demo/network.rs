//! The hosts of the article, each a network namespace, and the veth pairs between them.

use anyhow::Result;
use relay_tests::namespace::{Namespace, link};

/// A host that sends mail to the edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Host {
    /// Behind the externally secured connector.
    Application,
    /// Behind the anonymous relay connector.
    Scanner,
    /// An arbitrary host on the Internet.
    Stranger,
    /// An address whose connections are refused.
    Banned,
}

/// A host's veth pair: the interface's name at the edge, and the addresses of both ends.
struct Cable {
    interface: &'static str,
    edge: &'static [&'static str],
    host: &'static [&'static str],
}

const APPLICATION: Cable =
    Cable { interface: "application", edge: &["10.38.96.1/24"], host: &["10.38.96.15/24"] };
const SCANNER: Cable =
    Cable { interface: "scanner", edge: &["10.38.97.1/24"], host: &["10.38.97.20/24"] };
const STRANGER: Cable = Cable {
    interface: "outside",
    edge: &["203.0.113.1/24", "2001:db8:113::1/64"],
    host: &["203.0.113.7/24", "2001:db8:113::7/64"],
};
const BANNED: Cable =
    Cable { interface: "banned", edge: &["198.51.100.1/24"], host: &["198.51.100.66/24"] };
const INSIDE: Cable =
    Cable { interface: "inside", edge: &["10.38.10.1/24"], host: &["10.38.10.25/24"] };

/// The whole network. Dropping it removes it.
pub struct Network {
    /// The namespace of the daemon.
    pub edge: Namespace,
    /// The namespace of the next hop, at [`NEXT_HOP`].
    pub inside: Namespace,
    application: Namespace,
    scanner: Namespace,
    stranger: Namespace,
    banned: Namespace,
}

/// The next hop of all mail.
pub const NEXT_HOP: &str = "10.38.10.25:25";

impl Network {
    /// Creates the hosts and connects them, a star with the edge in its centre.
    pub fn build() -> Result<Self> {
        let edge = Namespace::new("edge")?;
        let place = |label, cable: &Cable| -> Result<Namespace> {
            let host = Namespace::new(label)?;
            link((&edge, cable.interface), (&host, "uplink"))?;
            for address in cable.edge {
                edge.add_address(cable.interface, address)?;
            }
            for address in cable.host {
                host.add_address("uplink", address)?;
            }
            Ok(host)
        };
        Ok(Self {
            inside: place("inside", &INSIDE)?,
            application: place("application", &APPLICATION)?,
            scanner: place("scanner", &SCANNER)?,
            stranger: place("stranger", &STRANGER)?,
            banned: place("banned", &BANNED)?,
            edge,
        })
    }

    /// The namespace of a host.
    pub fn host(&self, host: Host) -> &Namespace {
        match host {
            Host::Application => &self.application,
            Host::Scanner => &self.scanner,
            Host::Stranger => &self.stranger,
            Host::Banned => &self.banned,
        }
    }
}
