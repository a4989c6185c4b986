//! XCLIENT: the session starts over as that of another client.
//!
//! The proxy is trusted, and states the address: connector, principal and permissions follow from
//! it as for every other client. Nothing of the former session continues, except TLS, which is
//! between the proxy and us, and its counted errors.

use std::sync::Arc;
use std::time::Instant;

use crate::state::SessionState;
use crate::timers::Timers;
use crate::{Action, Session, SessionEnding};
use relay_connector::Connection;
use relay_mail::reply::Reply;
use relay_policy::{Peer, Rules};
use relay_smtp::command::XClient;

impl Session {
    /// Asks for the connector of the client that XCLIENT names. Nothing is read before
    /// [`Session::handle_client`].
    pub(super) fn become_client(&mut self, told: XClient, connection: Connection) {
        let context = &mut self.context;
        context.told_hello = told.hello;
        context.is_told = true;
        context.sender = None;
        self.output.push(Action::Reclassify(connection));
    }

    /// The result of [`Action::Reclassify`]: the new client of this session, or why it gets none.
    pub fn handle_client(&mut self, now: Instant, client: Result<(Arc<Rules>, Peer), Reply>) {
        self.now = now;
        let SessionState::Reclassifying(connection) = self.state else { return };
        self.state = SessionState::connected();
        let context = &mut self.context;
        context.connection = connection;
        match client {
            Err(reply) => self.close_with(&reply, SessionEnding::Refused),
            Ok((rules, peer)) => {
                let before = std::mem::replace(&mut context.peer, peer);
                context.peer.tls = before.tls;
                // If a proxy forwards its client's commands, the next XCLIENT is the client's: it
                // would choose its own connector.
                context.peer.may_use_xclient =
                    rules.proxies.may_use_xclient(context.connection.client());
                context.rules = rules;
                let connector = &context.peer.connector;
                self.timers = Timers::new(now, &connector.limits);
                self.output.set_connector(connector);
                self.greet();
            }
        }
    }
}
