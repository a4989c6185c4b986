//! What a connection is greeted with.

use super::{Decision, Reasons, Rules};
use crate::connector::Connector;
use crate::smtp::reply::{GREETING, SERVICE_NOT_AVAILABLE};

/// The greeting of a connection: 220, or 421 and the end when nobody serves it.
pub fn connect(_rules: &Rules, connector: Option<&Connector>) -> Decision {
    let mut reasons = Reasons::default();
    let Some(connector) = connector else {
        reasons.note("connector", "no connector serves this address on this binding");
        return reasons.decide(SERVICE_NOT_AVAILABLE);
    };
    reasons.note("connector", format!("the connection belongs to `{}`", connector.name));
    if connector.refuse {
        reasons.note("refuse", "the connector refuses its sources");
        return reasons.decide(SERVICE_NOT_AVAILABLE);
    }
    let text = match &connector.banner {
        Some(banner) => {
            reasons.note("banner", "set by the connector");
            banner.clone()
        }
        None => format!("{} {}", connector.fqdn, GREETING.text),
    };
    reasons.decide(GREETING.with_text(text))
}
