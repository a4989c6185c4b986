//! What a principal may do on a connector, with the source of each right and each denial.

use relay::connector::{Connector, Permission, Principal, Standing};
use serde_json::{Value, json};

/// What a principal has, and what `denies` keeps from it: a heading, and each permission with what
/// is said of it.
pub(super) fn rights(
    connector: &Connector,
    principal: Principal,
) -> [(&'static str, Vec<(Permission, String)>); 2] {
    let standings =
        Permission::ALL.iter().map(|&right| (right, connector.standing(principal, None, right)));
    let list = |wanted: fn(&Standing) -> bool| {
        standings
            .clone()
            .filter(|(_, standing)| wanted(standing))
            .map(|(permission, standing)| (permission, standing.sentence(principal)))
            .collect()
    };
    [
        ("may", list(|standing| matches!(standing, Standing::Granted(_)))),
        ("may not", list(|standing| matches!(standing, Standing::Denied { .. }))),
    ]
}

/// The same as a list of objects.
pub(super) fn rights_as_json(connector: &Connector, principal: Principal) -> Value {
    let list = |(heading, rights): (&str, Vec<(Permission, String)>)| {
        let has = heading == "may";
        let rights = rights.into_iter();
        rights.map(move |(permission, because)| {
            json!({ "permission": permission.name(), "has": has, "because": because })
        })
    };
    rights(connector, principal).into_iter().flat_map(list).collect()
}
