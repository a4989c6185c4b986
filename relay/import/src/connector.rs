//! What becomes of one receive connector: its keys, and a line of the report for each property.

mod notation;
mod special;

use relay_connector::{Permission, PermissionGroup, Principal, Range};
use toml_edit::{Array, InlineTable, Value};

use self::notation::{list, range};
use crate::form::{Converted, convert, switch};
use crate::mechanism::{self, OfferedMechanisms};
use crate::properties::{Meaning, meaning};
use crate::report::{Danger, DangerLevel, Fate, ObjectReport, PropertyFate, PropertyReport, row};
use crate::rights::Rights;
use crate::source::{AccessRow, ExportedObject};

/// Exports an access list in a form that the import reads: accounts and rights are objects, whose text
/// a plain ConvertTo-Json does not have.
const ACCESS_LIST_EXPORT: &str = "Get-ADPermission | Select-Object @{n='Identity';e={\"$($_.Identity)\"}}, \
    @{n='User';e={\"$($_.User)\"}}, Deny, IsInherited, \
    @{n='ExtendedRights';e={@($_.ExtendedRights | ForEach-Object { \"$_\" })}} | \
    ConvertTo-Json -Depth 4 | Out-File -Encoding UTF8 permissions.json";

/// One receive connector in the form of the configuration.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub name: String,
    pub server: Option<String>,
    /// Without `name`, in the order of the file.
    pub keys: Vec<(&'static str, Value)>,
    /// Values without a key, for comments.
    pub references: Vec<String>,
    pub enabled: bool,
    pub bindings: Vec<String>,
    pub ranges: Vec<Range>,
    pub trust: Trust,
    /// The name of `[[certificate]]`, and the subject of the certificate.
    pub certificate: Option<(String, String)>,
    pub mechanism: OfferedMechanisms,
    pub report: ObjectReport,
    pub dangers: Vec<Danger>,
}

/// May the connector's clients relay without authentication?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    No,
    AnonymousRelay,
    ExternallySecured,
}

/// What a connector is mapped with.
#[derive(Clone, Copy)]
pub(crate) struct MappingContext<'e> {
    /// The whole access list.
    pub access: &'e [AccessRow],
    /// `TLSReceiveDomainSecureList` has entries.
    pub has_partners: bool,
    /// The server of this connector has connectors with `FrontendTransport`.
    pub has_frontend: bool,
}

/// Maps one connector.
pub(crate) fn map(object: &ExportedObject, context: MappingContext<'_>) -> Mapped {
    let name = object.name().to_owned();
    let (groups, group_note) = groups(object);
    let rows: Vec<_> =
        context.access.iter().filter(|row| object.is_named(&row.connector)).collect();
    let rights = Rights::read(&groups, &rows);
    let mechanism = mechanism::read(object, &groups, &rights, context.has_partners);
    let mut mapped = Mapped {
        server: object.server().map(str::to_owned),
        keys: Vec::new(),
        references: Vec::new(),
        enabled: true,
        bindings: object.values("Bindings").to_vec(),
        ranges: Vec::new(),
        trust: Trust::No,
        certificate: None,
        report: ObjectReport {
            object: "receive connector",
            name: name.clone(),
            server: object.server().map(str::to_owned),
            written_as: String::new(),
            properties: Vec::new(),
            rights: rights.reports.clone(),
        },
        dangers: Vec::new(),
        name,
        mechanism,
    };
    mapped.head(object, context, &groups, &rights);
    for property in &object.properties {
        let row = mapped.property(object, property.name.as_str(), context, &group_note);
        if row.fate == Fate::Reference {
            let value = property.values.join(", ");
            mapped.references.push(format!("{} = {value}", property.name));
        }
        mapped.report.properties.push(PropertyReport {
            property: property.name.clone(),
            value: property.values.join(", "),
            fate: row.fate,
            note: row.note,
        });
    }
    mapped.trust = trust(&mapped.mechanism, &groups, &rights);
    mapped.warn_of_rights(object, &rights, rows.is_empty());
    mapped
}

impl Mapped {
    /// The keys that come first in the file.
    fn head(
        &mut self,
        object: &ExportedObject,
        context: MappingContext<'_>,
        groups: &[PermissionGroup],
        rights: &Rights,
    ) {
        let is_inner = is_inner_stage(object, context);
        self.enabled = !is_inner && object.text("Enabled").and_then(switch).unwrap_or(true);
        if !self.enabled {
            self.keys.push(("enabled", false.into()));
            let (problem, mend) = if is_inner {
                let problem = "belongs to Exchange's inner transport stage, which a relay does not \
                               have; written with enabled = false";
                (problem, "enable it only if devices use its port")
            } else {
                ("is disabled in Exchange, and here too", "remove it if it is not needed")
            };
            let danger = Danger::of_connector(DangerLevel::Note, &self.name, problem, mend);
            self.dangers.push(danger);
        }
        self.keys.push(("bindings", list(object.values("Bindings"))));
        let mut texts = Vec::new();
        for text in object.values("RemoteIPRanges") {
            match range(text) {
                Ok(range) => {
                    texts.push(range.text().to_owned());
                    self.ranges.push(range);
                }
                Err(problem) => self.dangers.push(Danger::of_connector(
                    DangerLevel::Danger,
                    &self.name,
                    format!("RemoteIPRanges: {problem}; the range is not taken over"),
                    "correct it in the export, or write the range into the file",
                )),
            }
        }
        self.keys.push(("remote_ip_ranges", list(&texts)));
        let words: Vec<_> = self.mechanism.words.iter().map(|&word| word.to_owned()).collect();
        self.keys.push(("auth_mechanism", list(&words)));
        let kept = self.effective_groups(groups);
        self.keys.push(("permission_groups", list(&kept)));
        for (key, entries) in [("grants", &rights.grants), ("denies", &rights.denies)] {
            let mut table = InlineTable::new();
            for (principal, permissions) in entries {
                let names = permissions.iter().map(|permission| permission.name());
                table.insert(*principal, Value::Array(names.collect::<Array>()));
            }
            if !table.is_empty() {
                self.keys.push((key, table.into()));
            }
        }
    }

    /// The groups that give rights to a principal which a client can be here.
    fn effective_groups(&self, groups: &[PermissionGroup]) -> Vec<String> {
        let mut kept: Vec<_> = groups
            .iter()
            .filter(|group| self.is_effective(**group))
            .map(|group| group.name().to_owned())
            .collect();
        if kept.is_empty() {
            kept.push("None".to_owned());
        }
        kept
    }

    fn is_effective(&self, group: PermissionGroup) -> bool {
        let has = |word| self.mechanism.words.contains(&word);
        match group {
            PermissionGroup::AnonymousUsers => !has("ExternalAuthoritative"),
            PermissionGroup::ExchangeServers => has("ExternalAuthoritative"),
            PermissionGroup::ExchangeUsers => has("BasicAuth"),
            PermissionGroup::Partners => self.mechanism.domain_secure,
            PermissionGroup::ExchangeLegacyServers => false,
        }
    }

    fn property(
        &mut self,
        object: &ExportedObject,
        name: &str,
        context: MappingContext<'_>,
        group_note: &str,
    ) -> PropertyFate {
        let meaning = meaning(name);
        let Some(text) = object.text(name) else {
            return match meaning {
                Meaning::Nothing(why) => row(Fate::Meaningless, why),
                _ => row(Fate::TakenOver, "not set"),
            };
        };
        match meaning {
            Meaning::Nothing(why) => row(Fate::Meaningless, why),
            Meaning::Reference(why) => row(Fate::Reference, why),
            Meaning::Key(key, form) => match convert(form, text) {
                Ok(Converted::Default) => row(Fate::TakenOver, "the default here too"),
                Ok(Converted::Value(value)) => {
                    self.keys.push((key, value));
                    row(Fate::TakenOver, key)
                }
                Err(problem) => {
                    self.dangers.push(Danger::of_connector(
                        DangerLevel::ToDo,
                        &self.name,
                        format!("{name}: `{text}` {problem}"),
                        format!("write {key} into the file"),
                    ));
                    row(Fate::Reference, problem)
                }
            },
            Meaning::Special => self.special(object, name, text, context, group_note),
        }
    }

    fn special(
        &mut self,
        object: &ExportedObject,
        name: &str,
        text: &str,
        context: MappingContext<'_>,
        group_note: &str,
    ) -> PropertyFate {
        match name.to_ascii_lowercase().as_str() {
            "name" => row(Fate::TakenOver, "name"),
            "identity" | "server" => row(Fate::Reference, "a relay.toml is for one host"),
            "bindings" => self.binding_row(),
            "remoteipranges" => self.range_row(object),
            "enabled" if is_inner_stage(object, context) => {
                row(Fate::Changed, "false: the connector is of Exchange's inner stage")
            }
            "enabled" => row(Fate::TakenOver, "enabled"),
            "transportrole" => row(Fate::Reference, "a relay has one stage"),
            "authmechanism" => self.mechanism.row(),
            "permissiongroups" => self.group_row(object, group_note),
            "requiretls" => self.require_tls(text),
            "tlscertificatename" => self.tls_certificate_name(text),
            "domainsecureenabled" => self.domain_secure(text),
            "barelinefeedrejectionenabled" => {
                let fate =
                    if text.eq_ignore_ascii_case("true") { Fate::TakenOver } else { Fate::Changed };
                row(fate, "bare line feeds are always refused")
            }
            "banner" => self.banner(text),
            "fqdn" => self.fqdn(text),
            "messageratesource" => self.message_rate_source(object, text),
            "maxinboundconnectionpercentagepersource" => self.percentage(object, text),
            _ => row(Fate::Reference, "not known to this version"),
        }
    }

    /// Rights that an administrator must look at.
    fn warn_of_rights(&mut self, object: &ExportedObject, rights: &Rights, has_no_rows: bool) {
        let has_custom =
            object.words("PermissionGroups").iter().any(|word| word.eq_ignore_ascii_case("Custom"));
        if has_custom && has_no_rows {
            let identity = format!("{}\\{}", self.server.as_deref().unwrap_or("SERVER"), self.name);
            self.dangers.push(Danger::of_connector(
                DangerLevel::Danger,
                &self.name,
                "PermissionGroups has Custom, and the export has no access list of the connector: \
                 rights such as ms-Exch-SMTP-Accept-Any-Recipient are missing",
                format!(
                    "export the access list too: Get-ReceiveConnector '{identity}' | \
                     {ACCESS_LIST_EXPORT}"
                ),
            ));
        }
        for account in &rights.unknown_accounts {
            self.dangers.push(Danger::of_connector(
                DangerLevel::ToDo,
                &self.name,
                format!("the account {account} has rights of its own, and does not exist here"),
                "create a user with `relay passwd`, and grant the rights to \"user:NAME\"",
            ));
        }
        let dangers = self.mechanism.dangers(&self.name);
        self.dangers.extend(dangers);
    }
}

fn trust(mechanism: &OfferedMechanisms, groups: &[PermissionGroup], rights: &Rights) -> Trust {
    let holds = |principal: Principal, permission: Permission| {
        let in_list = |list: &std::collections::BTreeMap<&'static str, Vec<Permission>>| {
            list.get(principal.name()).is_some_and(|list| list.contains(&permission))
        };
        let by_group = groups.iter().any(|group| group.permissions(principal).contains(permission));
        (by_group || in_list(&rights.grants)) && !in_list(&rights.denies)
    };
    if mechanism.words.contains(&"ExternalAuthoritative") {
        Trust::ExternallySecured
    } else if holds(Principal::Anonymous, Permission::AcceptAnyRecipient) {
        Trust::AnonymousRelay
    } else {
        Trust::No
    }
}

/// A connector of the hub stage, behind connectors of the front end.
fn is_inner_stage(object: &ExportedObject, context: MappingContext<'_>) -> bool {
    context.has_frontend
        && object
            .text("TransportRole")
            .is_some_and(|role| role.eq_ignore_ascii_case("HubTransport"))
}

/// The groups of a connector. The documentation also writes `Anonymous` and `Partner`.
fn groups(object: &ExportedObject) -> (Vec<PermissionGroup>, String) {
    let mut groups = Vec::new();
    let mut unknown = Vec::new();
    for word in object.words("PermissionGroups") {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        let known = PermissionGroup::ALL.iter().find(|group| is(group.name()));
        match known {
            Some(&group) => groups.push(group),
            None if is("Anonymous") => groups.push(PermissionGroup::AnonymousUsers),
            None if is("Partner") => groups.push(PermissionGroup::Partners),
            None if is("None") || is("Custom") => {}
            None => unknown.push(word),
        }
    }
    let note = match unknown.is_empty() {
        true => String::new(),
        false => format!("{} is not a group", unknown.join(", ")),
    };
    (groups, note)
}
