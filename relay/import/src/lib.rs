//! Converts the configuration of another mail server to a `relay.toml`, and reports about each
//! property what became of it.
//!
//! [`source`] has the exported objects, [`properties`] says what each property of a receive
//! connector means here. [`connector`] maps one connector, [`rights`] and [`mechanism`] its access
//! list and its ways to authenticate; [`surroundings`] maps accepted domains, send connectors and
//! the transport configuration. [`merge`] decides which connectors of several servers are one,
//! [`danger`] looks for what is dangerous in all of them together, [`document`] writes the text.
//! [`mod@verify`] compares the result with [`model`], which knows only the export and Exchange's rules.

mod connector;
mod danger;
mod document;
mod form;
pub mod limits;
mod mechanism;
mod merge;
mod model;
mod output;
mod properties;
pub mod read;
pub mod report;
mod rights;
pub mod source;
mod surroundings;
mod verify;

#[cfg(test)]
mod tests;

use relay_config::{Config, ConfigErrors};

use crate::connector::MappingContext;
use crate::report::{Danger, DangerLevel, ImportReport};
use crate::source::{ExportedObject, ExportedObjects, ObjectKind};

pub use output::{OutputError, replace};
pub use verify::{Difference, Verification, verify};

/// What the administrator chose.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The name of this host, for a new file.
    pub hostname: Option<String>,
    /// Only connectors of this server.
    pub server: Option<String>,
}

/// The result of an import.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The text of the configuration.
    pub text: String,
    /// What became of each property.
    pub report: ImportReport,
    /// The names of connectors before and after the import.
    pub names: Vec<ImportedName>,
    /// The errors that `relay check` would find in the text.
    pub refusals: Option<ConfigErrors>,
}

/// A connector of the export, and its name here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedName {
    /// The server.
    pub server: Option<String>,
    /// The name in Exchange.
    pub exported: String,
    /// The name in the configuration.
    pub written: String,
}

/// Why nothing could be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// No receive connector is in the files, or none of the chosen server.
    #[error(
        "the files contain no receive connector{}; export them with Get-ReceiveConnector | \
         ConvertTo-Json -Depth 4 | Out-File -Encoding UTF8 connectors.json",
        of_server(.server.as_deref())
    )]
    NoConnector {
        /// The chosen server.
        server: Option<String>,
    },
    /// The existing file has connectors of the same names.
    #[error(
        "the file already has {}; an import never overwrites a connector: rename or remove it, or \
         write to another file",
        listed(names)
    )]
    Exists {
        /// Their names.
        names: Vec<String>,
    },
    /// A new file needs a name of this host.
    #[error(
        "a new configuration needs the name of this host; add --hostname edge1.contoso.example"
    )]
    NoHostName,
    /// The existing file cannot be read.
    #[error("the existing file is not TOML: {0}")]
    NotToml(#[source] toml_edit::TomlError),
}

fn of_server(server: Option<&str>) -> String {
    server.map(|server| format!(" of the server {server}")).unwrap_or_default()
}

fn listed(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("connector \"{name}\"")).collect();
    names.join(", ")
}

/// Imports an export, into a new text or below an existing one. `file` is its name in refusals.
///
/// # Errors
/// There is nothing to import, or the existing text cannot be extended. A text that `relay check`
/// would refuse is no error here: see [`Imported::refusals`].
pub fn import(
    exported: &ExportedObjects,
    existing: Option<&str>,
    file: &str,
    options: &ImportOptions,
) -> Result<Imported, ImportError> {
    let chosen = chosen(exported, options);
    if !chosen.iter().any(|object| object.kind == ObjectKind::ReceiveConnector) {
        return Err(ImportError::NoConnector { server: options.server.clone() });
    }
    let mut dangers = Vec::new();
    let surroundings = surroundings::read(&exported.objects, &mut dangers);
    let mut mapped = Vec::new();
    for object in chosen.iter().filter(|it| it.kind == ObjectKind::ReceiveConnector) {
        let has_frontend = chosen.iter().any(|other| {
            other.kind == ObjectKind::ReceiveConnector
                && other.server() == object.server()
                && is_frontend(other)
        });
        let context = MappingContext {
            access: &exported.access,
            has_partners: !surroundings.partners.is_empty(),
            has_frontend,
        };
        mapped.push(connector::map(object, context));
    }
    let merged = merge::merge(mapped, &mut dangers);
    danger::find(&merged, &mut dangers);
    let contents = document::Contents {
        hostname: options.hostname.as_deref(),
        connectors: &merged,
        surroundings: &surroundings,
    };
    let text = document::write(&contents, existing, &mut dangers)?;
    let mut names = Vec::new();
    let mut objects = Vec::new();
    for connector in merged {
        for member in connector.members {
            names.push(ImportedName {
                server: member.server,
                exported: member.report.name.clone(),
                written: connector.name.clone(),
            });
            dangers.extend(member.dangers);
            let mut report = member.report;
            report.written_as.clone_from(&connector.name);
            objects.push(report);
        }
    }
    objects.extend(surroundings.reports);
    let refusals = match Config::parse(&text, file) {
        Ok(config) => {
            dangers.extend(config.warnings().iter().map(as_danger));
            None
        }
        Err(refusals) => Some(refusals),
    };
    dangers.sort_by_key(|danger| danger.level);
    let mut seen = Vec::new();
    dangers.retain(|danger| {
        let is_new = !seen.contains(danger);
        if is_new {
            seen.push(danger.clone());
        }
        is_new
    });
    Ok(Imported { text, report: ImportReport { objects, dangers }, names, refusals })
}

/// A warning of `relay check`.
fn as_danger(warning: &relay_config::ConfigProblem) -> Danger {
    let key = if warning.key.is_empty() { String::new() } else { format!("{}: ", warning.key) };
    Danger {
        level: DangerLevel::Note,
        place: warning.place.clone(),
        problem: format!("{key}{}", warning.problem),
        mend: warning.mend.clone(),
    }
}

pub(crate) fn is_frontend(object: &ExportedObject) -> bool {
    object.text("TransportRole").is_some_and(|role| role.eq_ignore_ascii_case("FrontendTransport"))
}

/// The objects of the chosen server, and those without a server.
fn chosen<'e>(exported: &'e ExportedObjects, options: &ImportOptions) -> Vec<&'e ExportedObject> {
    let is_chosen = |object: &&ExportedObject| match (&options.server, object.server()) {
        (Some(wanted), Some(server)) => server.eq_ignore_ascii_case(wanted),
        (Some(_), None) => object.kind != ObjectKind::ReceiveConnector,
        (None, _) => true,
    };
    exported.objects.iter().filter(is_chosen).collect()
}
