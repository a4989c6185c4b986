//! May this principal do that? Pure functions from facts to a decision with its reasons.
//!
//! The session uses the decisions and the log shows them; an explanation plays a session, so the
//! three can never differ. There is one file for each family of checks, in the order of a session:
//! [`mod@connect`] for the greeting, [`ehlo`], [`start_tls`] and [`auth`] for the offers, [`logon`]
//! at the end of AUTH, [`mail`] for the sender, [`rcpt`] for a recipient, [`mod@message`] at the
//! end of data; after MAIL and after the message [`antispam`] checks the mail that all of them let
//! pass. Passed checks are listed in the decision like failed ones, with the source of the right.
//!
//! [`relay_connector::table`] decides which connector a peer has, and `smtp` the order of commands.

mod accepted_domain;
pub mod antispam;
mod auth_as;
mod authentication;
mod back_pressure;
mod back_pressure_settings;
mod connect;
mod existence;
mod extensions;
mod hello;
mod identity;
mod inquiry;
pub mod limits;
mod message;
mod message_rate;
pub mod pressure;
mod protocol;
mod queue;
mod recipient;
mod recipient_list;
mod reports;
mod reserved_domain;
mod rule;
mod rules;
mod sender;
mod smtputf8;
mod transaction;

use std::sync::Arc;

use relay_connector::{Connector, Permission, PermissionSet, Principal};
use relay_mail::domain_pattern::DomainPattern;
use relay_mail::reply::Reply;
use relay_mail::user_name::UserName;
use relay_users::User;

pub use accepted_domain::{
    AcceptedDomain, AcceptedDomainType, AcceptedDomains, RecipientLookup, RecipientsFile,
};
pub use auth_as::auth_as;
pub use authentication::{auth, logon, logon_refused, mechanisms, password, submitter};
pub use back_pressure::{
    connect_under_pressure, mail_under_pressure, message_beyond_memory, rcpt_over_memory_share,
};
pub use back_pressure_settings::BackPressureSettings;
pub use connect::{connect, start_tls};
pub use extensions::{not_offered, unknown_bdat};
pub use hello::{ehlo, helo};
pub use inquiry::{
    DecisionOrInquiry, Findings, Inquiry, InquiryAnswer, MessageRateFinding, MessageRatePayers,
    PasswordFinding, RecipientFinding,
};
pub use message::{MessageFacts, chunk, header_too_large, message};
pub use message_rate::message_rate;
pub use protocol::{malformed, out_of_order};
pub use queue::{not_begun, not_stored, queue_closed};
pub use recipient::rcpt;
pub use recipient_list::{InvalidRecipientList, RecipientList};
pub use reports::{limit_notify, limit_ret};
pub use rule::Rule;
pub use rules::Rules;
pub use sender::{authors, mail};
pub use smtputf8::needs_smtputf8;
pub use transaction::{begin_transaction, no_certificate};

/// A reply together with the rules that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The reply to the client.
    pub reply: Reply,
    /// The rules in the order of their checks; the last one decided.
    pub because: Vec<Because>,
    /// What follows beside the reply.
    pub consequence: Consequence,
}

/// What follows from a decision, beside its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing more.
    None,
    /// A failed logon: counted for `max_logon_failures`, and the reply is delayed.
    LogonFailure,
    /// The logon was not tried, since too many others had failed.
    LogonRefused,
    /// The session ends: `require_ehlo_domain`.
    NoDomainName,
    /// A protocol error: counted for `max_protocol_errors`.
    ProtocolError,
    /// The session ends: `message_rate_limit`.
    TooManyMessages,
}

impl Decision {
    /// A decision without a further consequence, for one reason.
    pub fn new(reply: Reply, rule: Rule, found: impl Into<String>) -> Self {
        let because = vec![Because { rule, found: found.into() }];
        Self { reply, because, consequence: Consequence::None }
    }
}

/// One rule and its finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Because {
    /// The rule.
    pub rule: Rule,
    /// The finding, in a sentence.
    pub found: String,
}

/// The client of a session, and its rights.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The connector that the connection belongs to.
    pub connector: Arc<Connector>,
    /// The identity of the peer for the connector.
    pub principal: Principal,
    /// The permissions of that principal at the connector.
    pub permissions: PermissionSet,
    /// Is the session encrypted?
    pub tls: bool,
    /// Of a partner: the domains that its certificate is for.
    pub partner_domains: Vec<DomainPattern>,
    /// The user that it is, once it has authenticated.
    pub user: Option<Arc<User>>,
    /// Is its XCLIENT trusted? Decided by the address of the connection, not by XCLIENT.
    pub may_use_xclient: bool,
}

impl Peer {
    /// The peer at the beginning of a connection: without TLS, without authentication.
    pub fn new(connector: Arc<Connector>) -> Self {
        let principal = connector.principal();
        let permissions = connector.permissions(principal);
        Self {
            connector,
            principal,
            permissions,
            tls: false,
            partner_domains: Vec::new(),
            user: None,
            may_use_xclient: false,
        }
    }

    /// The peer after it has authenticated as this user: its former principal and permissions no
    /// longer apply.
    pub fn authenticated(&self, user: Arc<User>) -> Self {
        let connector = Arc::clone(&self.connector);
        let principal = Principal::User;
        let permissions = connector.permissions_of(principal, Some(&user.name));
        Self {
            principal,
            permissions,
            tls: self.tls,
            user: Some(user),
            may_use_xclient: self.may_use_xclient,
            ..Self::new(connector)
        }
    }

    /// The user's name, once it has authenticated.
    pub fn user_name(&self) -> Option<&UserName> {
        self.user.as_ref().map(|user| &user.name)
    }

    fn has(&self, permission: Permission) -> bool {
        self.permissions.contains(permission)
    }

    /// Why the peer has this permission, or why not.
    fn standing(&self, permission: Permission) -> Because {
        let standing =
            self.connector.source_of_permission(self.principal, self.user_name(), permission);
        let found = standing.describe(self.principal);
        Because { rule: Rule::Permission(permission), found }
    }
}

/// The reasons of a decision while it is made: each rule is noted with its finding.
#[derive(Default)]
struct Reasons(Vec<Because>);

impl Reasons {
    fn note(&mut self, rule: Rule, found: impl Into<String>) {
        self.0.push(Because { rule, found: found.into() });
    }

    /// Notes whether the peer has the permission, and says so.
    fn permits(&mut self, peer: &Peer, permission: Permission) -> bool {
        self.0.push(peer.standing(permission));
        peer.has(permission)
    }

    fn decide(self, reply: Reply) -> Decision {
        self.conclude(reply, Consequence::None)
    }

    fn conclude(self, reply: Reply, consequence: Consequence) -> Decision {
        Decision { reply, because: self.0, consequence }
    }
}
