//! The text of the configuration: new tables, grouped and with comments, alone or below an
//! existing file.
//!
//! An existing text stays as it is, octet by octet; new tables are appended. So its comments and
//! its order stay, and a comparison of the two files shows only what the import added.

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use crate::ImportError;
use crate::merge::Merged;
use crate::report::{Danger, DangerLevel};
use crate::surroundings::Surroundings;

/// Where the files of certificates and users are expected.
const DIRECTORY: &str = "/etc/relay";

/// Everything that is written.
pub(crate) struct Contents<'i> {
    pub hostname: Option<&'i str>,
    pub connectors: &'i [Merged],
    pub surroundings: &'i Surroundings,
}

/// Writes the text.
///
/// # Errors
/// The existing text is not TOML, or already has a connector of one of these names; or there is no
/// host name for a new text.
pub(crate) fn write(
    contents: &Contents<'_>,
    existing: Option<&str>,
    dangers: &mut Vec<Danger>,
) -> Result<String, ImportError> {
    let before: DocumentMut = match existing {
        Some(text) => text.parse().map_err(ImportError::NotToml)?,
        None => DocumentMut::new(),
    };
    refuse_existing_names(&before, contents.connectors)?;
    let mut new = DocumentMut::new();
    if existing.is_none() {
        let hostname = contents.hostname.ok_or(ImportError::NoHostName)?;
        new.insert("hostname", value(hostname));
        if let Some(postmaster) = &contents.surroundings.postmaster {
            new.insert("postmaster", value(postmaster));
        }
    }
    delivery(contents, &before, &mut new, dangers);
    encryption(contents, &before, &mut new, dangers);
    domains(contents, &before, &mut new, dangers);
    routes(contents, &before, &mut new, dangers);
    let mut tables = ArrayOfTables::new();
    for connector in contents.connectors {
        tables.push(connector_table(connector));
    }
    if !tables.is_empty() {
        new.insert("connector", Item::ArrayOfTables(tables));
    }
    Ok(match existing {
        None => format!("{HEADER}\n{new}"),
        Some(text) => {
            let text = text.trim_end();
            format!("{text}\n\n# Imported from Exchange.\n{}", new.to_string().trim_start())
        }
    })
}

const HEADER: &str = "\
# Imported from Exchange. `relay check` reads this file as the daemon would. Keys that have their
# default here are not written; the import's report has each property of the export.
";

fn refuse_existing_names(before: &DocumentMut, connectors: &[Merged]) -> Result<(), ImportError> {
    let existing = names_in(before, "connector");
    let taken = |connector: &&Merged| {
        existing.iter().any(|name| name.to_lowercase() == connector.name.to_lowercase())
    };
    let names: Vec<_> = connectors.iter().filter(taken).map(|it| it.name.clone()).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(ImportError::Exists { names })
}

/// The `name` of each table of an array.
fn names_in(document: &DocumentMut, key: &str) -> Vec<String> {
    let tables = document.get(key).and_then(Item::as_array_of_tables).into_iter().flatten();
    let names = tables.filter_map(|table| table.get("name")?.as_str());
    names.map(str::to_owned).collect()
}

fn comment(table: &mut Table, lines: &[String]) {
    let lines = lines.iter().map(|line| format!("# {}\n", line.replace(['\n', '\r'], " ")));
    table.decor_mut().set_prefix(format!("\n{}", lines.collect::<String>()));
}

fn note(dangers: &mut Vec<Danger>, level: DangerLevel, place: &str, problem: String, mend: &str) {
    dangers.push(Danger { level, place: place.to_owned(), problem, mend: mend.to_owned() });
}

fn delivery(
    contents: &Contents<'_>,
    before: &DocumentMut,
    new: &mut DocumentMut,
    dangers: &mut Vec<Danger>,
) {
    let place = "[delivery]";
    let Some(all) = contents.surroundings.routes.iter().find(|route| route.domain == "*") else {
        if !before.contains_key("delivery") {
            let problem = "no send connector for all domains was imported: mail goes to the mail \
                           exchangers (MX) of each recipient's domain";
            let mend = "write [delivery] and smart_host = \"mail.contoso.example:25\", if the mail \
                        must go to your own server";
            note(dangers, DangerLevel::ToDo, place, problem.to_owned(), mend);
        }
        return;
    };
    if before.contains_key("delivery") {
        let problem =
            format!("exists already; the smart hosts of \"{}\" are not added", all.connector);
        note(dangers, DangerLevel::Note, place, problem, "compare both, and edit the file");
        return;
    }
    let mut table = Table::new();
    comment(&mut table, &[format!("Send connector \"{}\".", all.connector)]);
    next_hop(&mut table, &all.smart_hosts, all.require_tls);
    new.insert("delivery", Item::Table(table));
}

fn next_hop(table: &mut Table, hosts: &[String], require_tls: bool) {
    if !hosts.is_empty() {
        let hosts: Array = hosts.iter().map(String::as_str).collect();
        table.insert("smart_hosts", value(hosts));
    }
    if require_tls {
        table.insert("tls", value("required"));
    }
}

/// `[tls]`, `[[certificate]]`, `[partners]` and `[authentication]`, as far as connectors need them.
fn encryption(
    contents: &Contents<'_>,
    before: &DocumentMut,
    new: &mut DocumentMut,
    dangers: &mut Vec<Danger>,
) {
    let first = |it: &Merged| -> bool {
        it.members[0].mechanism.words.contains(&"Tls") && it.members[0].certificate.is_none()
    };
    if contents.connectors.iter().any(first) && !before.contains_key("tls") {
        let mut table = Table::new();
        comment(&mut table, &["The certificate of STARTTLS, and its key: PEM files.".to_owned()]);
        table.insert("certificate", value(format!("{DIRECTORY}/chain.pem")));
        table.insert("key", value(format!("{DIRECTORY}/key.pem")));
        new.insert("tls", Item::Table(table));
        let problem = format!("expects {DIRECTORY}/chain.pem and {DIRECTORY}/key.pem");
        note(dangers, DangerLevel::ToDo, "[tls]", problem, EXPORT_CERTIFICATE);
    }
    let existing = names_in(before, "certificate");
    let mut certificates: Vec<_> =
        contents.connectors.iter().filter_map(|it| it.members[0].certificate.clone()).collect();
    certificates.sort();
    certificates.dedup_by(|one, other| one.0 == other.0);
    let mut tables = ArrayOfTables::new();
    for (name, subject) in certificates.iter().filter(|(name, _)| !existing.contains(name)) {
        let mut table = Table::new();
        comment(&mut table, &[format!("Subject in Exchange: {subject}")]);
        table.insert("name", value(name));
        table.insert("certificate", value(format!("{DIRECTORY}/{name}.pem")));
        table.insert("key", value(format!("{DIRECTORY}/{name}.key")));
        tables.push(table);
        let problem = format!("expects {DIRECTORY}/{name}.pem and {DIRECTORY}/{name}.key");
        let place = format!("certificate \"{name}\" ({subject})");
        note(dangers, DangerLevel::ToDo, &place, problem, EXPORT_CERTIFICATE);
    }
    if !tables.is_empty() {
        new.insert("certificate", Item::ArrayOfTables(tables));
    }
    let partners = &contents.surroundings.partners;
    let uses_partners = contents.connectors.iter().any(|it| it.members[0].mechanism.domain_secure);
    if uses_partners && !before.contains_key("partners") {
        let mut table = Table::new();
        comment(&mut table, &["TLSReceiveDomainSecureList of the organization.".to_owned()]);
        table.insert("ca", value("/etc/ssl/certs/ca-certificates.crt"));
        let names: Array = partners.iter().map(String::as_str).collect();
        table.insert("tls_receive_domain_secure_list", value(names));
        new.insert("partners", Item::Table(table));
    }
    let has_users = contents.connectors.iter().any(|it| it.members[0].mechanism.has_users());
    if has_users && !before.contains_key("authentication") {
        let mut table = Table::new();
        comment(&mut table, &["`relay passwd` creates the file.".to_owned()]);
        table.insert("users_file", value(format!("{DIRECTORY}/users.toml")));
        new.insert("authentication", Item::Table(table));
    }
}

const EXPORT_CERTIFICATE: &str = "export the certificate with its key by hand: \
    Export-PfxCertificate on the server, then `openssl pkcs12 -in FILE.pfx -nodes` here; or get a \
    new one";

fn domains(
    contents: &Contents<'_>,
    before: &DocumentMut,
    new: &mut DocumentMut,
    dangers: &mut Vec<Danger>,
) {
    let existing = names_in(before, "accepted_domain");
    let mut tables = ArrayOfTables::new();
    for domain in &contents.surroundings.domains {
        if existing.iter().any(|name| name.eq_ignore_ascii_case(&domain.name)) {
            let place = format!("accepted domain \"{}\"", domain.name);
            let problem = format!("exists already; its type in Exchange is {}", domain.kind);
            note(dangers, DangerLevel::Note, &place, problem, "compare both types");
            continue;
        }
        let mut table = Table::new();
        if tables.is_empty() {
            comment(
                &mut table,
                &["Domains for which mail is accepted from all clients.".to_owned()],
            );
        }
        table.insert("name", value(&domain.name));
        table.insert("type", value(&domain.kind));
        tables.push(table);
    }
    if !tables.is_empty() {
        new.insert("accepted_domain", Item::ArrayOfTables(tables));
    }
    if contents.surroundings.domains.is_empty() && existing.is_empty() {
        let problem = "no accepted domain was imported: clients without the relay right can send \
                       to no recipient";
        let mend = "export them too: Get-AcceptedDomain | Select-Object Name, \
                    @{n='DomainName';e={\"$($_.DomainName)\"}}, \
                    @{n='DomainType';e={\"$($_.DomainType)\"}}, MatchSubDomains | \
                    ConvertTo-Json -Depth 4 | Out-File -Encoding UTF8 domains.json";
        note(dangers, DangerLevel::ToDo, "[[accepted_domain]]", problem.to_owned(), mend);
    }
}

fn routes(
    contents: &Contents<'_>,
    before: &DocumentMut,
    new: &mut DocumentMut,
    dangers: &mut Vec<Danger>,
) {
    let routes: Vec<_> =
        contents.surroundings.routes.iter().filter(|it| it.domain != "*").collect();
    if routes.is_empty() {
        return;
    }
    if before.contains_key("route") {
        let problem = format!("exists already; {} routes are not added", routes.len());
        note(dangers, DangerLevel::Note, "[[route]]", problem, "compare both, and edit the file");
        return;
    }
    let mut tables = ArrayOfTables::new();
    for route in routes {
        let mut table = Table::new();
        comment(
            &mut table,
            &[format!("Send connector \"{}\", cost {}.", route.connector, route.cost)],
        );
        table.insert("recipient_domains", value(Array::from_iter([route.domain.as_str()])));
        next_hop(&mut table, &route.smart_hosts, route.require_tls);
        tables.push(table);
    }
    new.insert("route", Item::ArrayOfTables(tables));
}

fn connector_table(connector: &Merged) -> Table {
    let first = &connector.members[0];
    let sources = connector.members.iter().map(|member| match &member.server {
        Some(server) => format!("{server}\\{}", member.report.name),
        None => member.report.name.clone(),
    });
    let mut lines = vec![format!("From {}.", sources.collect::<Vec<_>>().join(", "))];
    lines.extend(first.references.iter().cloned());
    let mut table = Table::new();
    comment(&mut table, &lines);
    table.insert("name", value(&connector.name));
    for (key, of_key) in &first.keys {
        table.insert(key, Item::Value(of_key.clone()));
    }
    table
}
