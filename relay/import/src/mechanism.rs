//! `AuthMechanism`: how clients of a connector authenticate here.
//!
//! NTLM, Kerberos and Exchange's own server authentication need a Windows domain. BasicAuth is
//! taken over only if users have rights on the connector: Exchange's default connectors offer it to
//! clients whose logon then fails.

use relay_connector::{Permission, PermissionGroup, Principal};

use crate::report::{Danger, DangerLevel, Fate, PropertyFate, row};
use crate::rights::Rights;
use crate::source::ExportedObject;

/// The mechanisms of a connector here.
#[derive(Debug, Default)]
pub(crate) struct OfferedMechanisms {
    /// As `auth_mechanism` spells them.
    pub words: Vec<&'static str>,
    pub domain_secure: bool,
    notes: Vec<&'static str>,
    lost: Vec<Lost>,
}

/// A way to authenticate that clients lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Servers,
    WindowsUsers,
}

/// Reads the mechanisms.
pub(crate) fn read(
    object: &ExportedObject,
    groups: &[PermissionGroup],
    rights: &Rights,
    has_partners: bool,
) -> OfferedMechanisms {
    let words = object.words("AuthMechanism");
    let has = |name: &str| words.iter().any(|word| word.eq_ignore_ascii_case(name));
    let users_may_send = groups.contains(&PermissionGroup::ExchangeUsers)
        || rights
            .grants
            .get(Principal::User.name())
            .is_some_and(|list| list.contains(&Permission::Submit));
    let mut mechanism = OfferedMechanisms::default();
    // Exchange's default: a connector without the property has Tls.
    if has("Tls") || object.text("AuthMechanism").is_none() {
        mechanism.words.push("Tls");
    }
    if has("ExternalAuthoritative") {
        mechanism.words.push("ExternalAuthoritative");
    }
    if has("BasicAuth") && users_may_send {
        mechanism.words.push("BasicAuth");
        if has("BasicAuthRequireTLS") {
            mechanism.words.push("BasicAuthRequireTLS");
        }
    } else if has("BasicAuth") {
        mechanism.notes.push(
            "BasicAuth left out: PermissionGroups has no ExchangeUsers, so no logon succeeds",
        );
    }
    if has("Integrated") {
        mechanism.notes.push("Integrated left out: NTLM and Kerberos need a Windows domain");
        if users_may_send {
            mechanism.lost.push(Lost::WindowsUsers);
        }
    }
    if has("ExchangeServer") {
        mechanism.notes.push("ExchangeServer left out: it needs [fleet] with certificates here");
        if groups.contains(&PermissionGroup::ExchangeServers) {
            mechanism.lost.push(Lost::Servers);
        }
    }
    if mechanism.words.is_empty() {
        mechanism.words.push("None");
    }
    mechanism.domain_secure = object.is_true("DomainSecureEnabled")
        && has_partners
        && mechanism.words.contains(&"Tls")
        && !mechanism.words.contains(&"ExternalAuthoritative");
    mechanism
}

impl OfferedMechanisms {
    pub(crate) fn row(&self) -> PropertyFate {
        match self.notes.is_empty() {
            true => row(Fate::TakenOver, "auth_mechanism"),
            false => row(Fate::Changed, self.notes.join("; ")),
        }
    }

    /// Do users authenticate on the connector?
    pub(crate) fn has_users(&self) -> bool {
        self.words.contains(&"BasicAuth")
    }

    pub(crate) fn dangers(&self, connector: &str) -> Vec<Danger> {
        let mut dangers = Vec::new();
        let mut add = |level, problem: &str, mend: &str| {
            dangers.push(Danger::of_connector(level, connector, problem, mend));
        };
        if self.has_users() && !self.words.contains(&"BasicAuthRequireTLS") {
            add(
                DangerLevel::Danger,
                "BasicAuth without BasicAuthRequireTLS: passwords may cross the network unencrypted",
                "add BasicAuthRequireTLS, unless no client can encrypt",
            );
        }
        if self.has_users() {
            add(
                DangerLevel::ToDo,
                "users of Exchange do not exist here, and their passwords cannot be exported",
                "create each user that sends through this connector: relay passwd NAME \
                 --send-as ADDRESS",
            );
        }
        for lost in &self.lost {
            match lost {
                Lost::WindowsUsers => add(
                    DangerLevel::ToDo,
                    "clients that authenticate with NTLM or Kerberos cannot authenticate here",
                    "configure them for LOGIN or PLAIN with TLS, or give their addresses a \
                     connector of their own",
                ),
                Lost::Servers => add(
                    DangerLevel::Note,
                    "Exchange servers that authenticate on this connector are anonymous here",
                    "if servers send through the relay, write [fleet], or a connector with \
                     ExternalAuthoritative for their addresses",
                ),
            }
        }
        dangers
    }
}
