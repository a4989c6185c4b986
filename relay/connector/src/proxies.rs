//! Which proxies are trusted to state the address of a client?
//!
//! The lists are the same for every connector, since the stated address selects the connector.

use crate::connection::ClientAddress;

use crate::Range;

/// `[proxies]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// `proxy_protocol_from`: connections from these addresses must begin with a PROXY header.
    pub proxy_protocol_from: Vec<Range>,
    /// `xclient_from`: sessions from here may use XCLIENT.
    pub xclient_from: Vec<Range>,
}

impl Proxies {
    /// Must a connection from this address begin with a PROXY header?
    pub fn sends_header(&self, client: ClientAddress) -> bool {
        self.proxy_protocol_from.iter().any(|range| range.contains(client))
    }

    /// Is anybody believed at all?
    pub const fn is_empty(&self) -> bool {
        self.proxy_protocol_from.is_empty() && self.xclient_from.is_empty()
    }

    /// May a session from this address use XCLIENT?
    pub fn may_use_xclient(&self, client: ClientAddress) -> bool {
        self.xclient_from.iter().any(|range| range.contains(client))
    }
}
