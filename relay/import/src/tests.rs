//! Imports of made-up exports.

mod dangers;
mod formats;
mod mapping;
mod reading;
mod verified;

use crate::report::{DangerLevel, Fate, ObjectReport};
use crate::source::{
    AccessKind, AccessOrigin, AccessRow, ExportedObject, ExportedObjects, ExportedProperty,
    ObjectKind,
};
use crate::*;

/// An object from lines `Name : value`; values of a list are in braces.
fn object(kind: ObjectKind, text: &str) -> ExportedObject {
    let property = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        let values = match value.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
            Some(list) => list.split(',').map(|it| it.trim().to_owned()).collect(),
            None if value.is_empty() => Vec::new(),
            None => vec![value.to_owned()],
        };
        Some(ExportedProperty { name: name.trim().to_owned(), values })
    };
    ExportedObject { kind, properties: text.lines().filter_map(property).collect() }
}

fn receive(text: &str) -> ExportedObject {
    object(ObjectKind::ReceiveConnector, text)
}

fn domain(name: &str, kind: &str) -> ExportedObject {
    let text = format!("Name: {name}\nDomainName: {name}\nDomainType: {kind}");
    object(ObjectKind::AcceptedDomain, &text)
}

fn row(connector: &str, account: &str, right: &str, kind: AccessKind) -> AccessRow {
    AccessRow {
        connector: connector.to_owned(),
        account: account.to_owned(),
        rights: vec![right.to_owned()],
        kind,
        origin: AccessOrigin::Own,
    }
}

const ANONYMOUS: &str = "NT AUTHORITY\\ANONYMOUS LOGON";
const ANY_RECIPIENT: &str = "ms-Exch-SMTP-Accept-Any-Recipient";

const DEFAULT_FRONTEND: &str = "\
Name: Default Frontend EX01
Identity: EX01\\Default Frontend EX01
Server: EX01
Bindings: {[::]:25, 0.0.0.0:25}
RemoteIPRanges: {::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff, 0.0.0.0-255.255.255.255}
Enabled: True
TransportRole: FrontendTransport
AuthMechanism: Tls, Integrated, BasicAuth, BasicAuthRequireTLS, ExchangeServer
PermissionGroups: AnonymousUsers, ExchangeServers, ExchangeLegacyServers
DomainSecureEnabled: True
Fqdn: EX01.contoso.example
MaxMessageSize: 36 MB (37,748,736 bytes)
ProtocolLoggingLevel: Verbose";

const SCANNERS: &str = "\
Name: Scanners
Identity: EX01\\Scanners
Server: EX01
Bindings: {0.0.0.0:25}
RemoteIPRanges: {10.4.8.20, 10.4.9.0/24, 10.5.0.10-10.5.0.40}
Enabled: True
TransportRole: FrontendTransport
AuthMechanism: Tls
PermissionGroups: AnonymousUsers, Custom
MaxMessageSize: 10 MB (10,485,760 bytes)
TarpitInterval: 00:00:00";

const SECURED: &str = "\
Name: Applications
Identity: EX01\\Applications
Server: EX01
Bindings: {0.0.0.0:25}
RemoteIPRanges: {10.6.0.15}
Enabled: True
TransportRole: FrontendTransport
AuthMechanism: Tls, ExternalAuthoritative
PermissionGroups: ExchangeServers";

const CLIENTS: &str = "\
Name: Client Frontend EX01
Server: EX01
Bindings: {0.0.0.0:587}
RemoteIPRanges: {0.0.0.0-255.255.255.255}
Enabled: True
TransportRole: FrontendTransport
AuthMechanism: Tls, Integrated, BasicAuth, BasicAuthRequireTLS
PermissionGroups: ExchangeUsers
TlsCertificateName: <I>CN=Root<S>CN=mail.contoso.example, O=Contoso
MessageRateLimit: 5
MessageRateSource: User";

/// A server as they are: its default connectors, scanners, and an externally secured one.
fn typical() -> ExportedObjects {
    ExportedObjects {
        objects: vec![
            receive(DEFAULT_FRONTEND),
            receive(SCANNERS),
            receive(SECURED),
            receive(CLIENTS),
            domain("contoso.example", "Authoritative"),
            domain("*.fabrikam.example", "InternalRelay"),
        ],
        access: vec![row("EX01\\Scanners", ANONYMOUS, ANY_RECIPIENT, AccessKind::Allow)],
    }
}

fn options() -> ImportOptions {
    ImportOptions { hostname: Some("edge1.contoso.example".to_owned()), server: None }
}

fn imported(exported: &ExportedObjects) -> Imported {
    import(exported, None, "relay.toml", &options()).unwrap_or_else(|error| panic!("{error}"))
}

/// The configuration, which must be sound.
fn config(imported: &Imported) -> Config {
    assert_eq!(imported.refusals, None, "{}", imported.text);
    Config::parse(&imported.text, "relay.toml").unwrap()
}

fn report<'r>(imported: &'r Imported, name: &str) -> &'r ObjectReport {
    imported.report.objects.iter().find(|it| it.name == name).unwrap()
}

fn fate(report: &ObjectReport, property: &str) -> Fate {
    let mut found = report.properties.iter().filter(|it| it.property == property);
    let fate = found.next().unwrap_or_else(|| panic!("{property} is missing")).fate;
    assert!(found.next().is_none(), "{property} is reported twice");
    fate
}

/// The dangers of a level about a place, as one text.
fn dangers(imported: &Imported, level: DangerLevel, place: &str) -> String {
    let of_place =
        imported.report.dangers.iter().filter(|it| it.level == level && it.place.contains(place));
    of_place.map(|it| format!("{} | {}\n", it.problem, it.mend)).collect()
}
