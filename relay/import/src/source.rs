//! The exported objects as the import reads them: names and texts, without the forms of the files.
//!
//! The readers of the files decide which objects a file contains. Everything here is as the shell
//! printed it.

use serde::Serialize;

/// Everything that the given files contain.
#[derive(Clone, Debug, Default)]
pub struct ExportedObjects {
    /// The objects, in the order of the files.
    pub objects: Vec<ExportedObject>,
    /// The entries of `Get-ADPermission`, in the order of the files.
    pub access: Vec<AccessRow>,
}

/// What an exported object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// `Get-ReceiveConnector`.
    ReceiveConnector,
    /// `Get-SendConnector`.
    SendConnector,
    /// `Get-AcceptedDomain`.
    AcceptedDomain,
    /// `Get-TransportConfig`.
    TransportConfig,
}

/// One exported object.
#[derive(Clone, Debug)]
pub struct ExportedObject {
    /// What it is.
    pub kind: ObjectKind,
    /// Its properties, in the order of the file.
    pub properties: Vec<ExportedProperty>,
}

/// One property of an object.
#[derive(Clone, Debug)]
pub struct ExportedProperty {
    /// Its name, as Exchange spells it.
    pub name: String,
    /// Its values: none if it is null or empty.
    pub values: Vec<String>,
}

/// One entry of the access list of a connector, as `Get-ADPermission` prints it.
#[derive(Clone, Debug)]
pub struct AccessRow {
    /// The connector: `SERVER\Name`, its name, or its distinguished name.
    pub connector: String,
    /// The account, or its SID.
    pub account: String,
    /// `ExtendedRights`.
    pub rights: Vec<String>,
    /// `Deny`.
    pub kind: AccessKind,
    /// `IsInherited`.
    pub origin: AccessOrigin,
}

/// Does an entry give rights or remove them?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessKind {
    /// It gives them.
    Allow,
    /// It removes them.
    Deny,
}

/// Where an entry was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessOrigin {
    /// On the connector.
    Own,
    /// On an object above it in the directory.
    Inherited,
}

impl ExportedObject {
    /// The values of a property, by its name without regard to case.
    pub fn values(&self, name: &str) -> &[String] {
        let found = self.properties.iter().find(|it| it.name.eq_ignore_ascii_case(name));
        found.map_or(&[], |property| &property.values)
    }

    /// The first value of a property.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values(name).first().map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// The words of a property with flags: `Tls, BasicAuth`, or a list of them.
    pub fn words(&self, name: &str) -> Vec<&str> {
        let values = self.values(name).iter();
        let words = values.flat_map(|value| value.split([',', ' ']));
        words.filter(|word| !word.is_empty()).collect()
    }

    /// Is a property true?
    pub fn is_true(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// The name of the object, without its server.
    pub fn name(&self) -> &str {
        let identity =
            || self.text("Identity").map(|text| text.rsplit('\\').next().unwrap_or(text));
        self.text("Name").or_else(identity).unwrap_or("(without a name)")
    }

    /// The server of the object: `Server`, or the part of `Identity` before the backslash.
    pub fn server(&self) -> Option<&str> {
        let identity = || Some(self.text("Identity")?.split_once('\\')?.0);
        self.text("Server").or_else(identity)
    }

    /// Is `identity`, as other objects write it, this object?
    pub fn is_named(&self, identity: &str) -> bool {
        let is = |name: &str| name.eq_ignore_ascii_case(identity.trim());
        if is(self.name())
            || ["Identity", "DistinguishedName", "Guid"]
                .iter()
                .any(|key| self.text(key).is_some_and(is))
        {
            return true;
        }
        let Some(server) = self.server() else { return false };
        if is(&format!("{server}\\{}", self.name())) {
            return true;
        }
        // CN=Name,CN=SMTP Receive Connectors,CN=Protocols,CN=SERVER,…
        let mut parts = identity.split(',').filter_map(|part| part.trim().split_once('='));
        let mut next = || parts.next().map(|(_, value)| value.replace("\\", ""));
        next().is_some_and(|name| name.eq_ignore_ascii_case(self.name()))
            && std::iter::from_fn(next).any(|part| part.eq_ignore_ascii_case(server))
    }
}
