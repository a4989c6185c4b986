//! Are connectors of several servers one connector?
//!
//! Exchange stores connectors per server, and administrators copy them. Connectors of one name with
//! equal settings become one. If they differ, each gets the name of its server in parentheses.

use std::collections::BTreeMap;

use crate::connector::Mapped;
use crate::report::{Danger, DangerLevel};

/// One connector to write, and the connectors of the export that it stands for.
pub(crate) struct Merged {
    pub name: String,
    /// At least one; all are equal.
    pub members: Vec<Mapped>,
}

/// Merges connectors; notes connectors of one name that differ.
pub(crate) fn merge(mapped: Vec<Mapped>, dangers: &mut Vec<Danger>) -> Vec<Merged> {
    let mut servers: Vec<_> = mapped.iter().filter_map(|it| it.server.clone()).collect();
    servers.sort();
    servers.dedup();
    let has_several = servers.len() > 1;
    // The order of the export stays: that of the first member of each group.
    let mut order = Vec::new();
    let mut groups: BTreeMap<String, Vec<Mapped>> = BTreeMap::new();
    for connector in mapped {
        let base = if has_several { base_name(&connector) } else { &connector.name };
        let key = base.to_lowercase();
        if !groups.contains_key(&key) {
            order.push(key.clone());
        }
        groups.entry(key).or_default().push(connector);
    }
    let groups = order.into_iter().filter_map(|key| groups.remove(&key));
    groups.flat_map(|group| one_group(group, dangers)).collect()
}

fn one_group(group: Vec<Mapped>, dangers: &mut Vec<Danger>) -> Vec<Merged> {
    let [first, others @ ..] = &group[..] else { return Vec::new() };
    if others.is_empty() {
        return vec![Merged { name: first.name.clone(), members: group }];
    }
    let base = base_name(first).to_owned();
    let mut servers: Vec<_> = group.iter().map(|it| it.server.clone()).collect();
    servers.sort();
    servers.dedup();
    if servers.len() < group.len() {
        // Two connectors of one server are never one, even if their names begin alike.
        let alone = |it: Mapped| Merged { name: it.name.clone(), members: vec![it] };
        return group.into_iter().map(alone).collect();
    }
    let mut classes: Vec<Merged> = Vec::new();
    for connector in group {
        match classes.iter_mut().find(|class| is_equal(&class.members[0], &connector)) {
            Some(class) => class.members.push(connector),
            None => classes.push(Merged { name: base.clone(), members: vec![connector] }),
        }
    }
    if classes.len() > 1 {
        for class in &mut classes {
            if let Some(server) = &class.members[0].server {
                class.name = format!("{base} ({server})");
            }
        }
        let (first, others) = (&classes[0], &classes[1..]);
        for other in others {
            let keys = differing_keys(&first.members[0], &other.members[0]).join(", ");
            let problem = format!("differs from connector \"{}\" in {keys}", first.name);
            let mend = "make both equal in Exchange and export again, or import one server with \
                        --server";
            dangers.push(Danger::of_connector(DangerLevel::Note, &other.name, problem, mend));
        }
    }
    classes
}

/// The name without the server's name at its end, which Exchange adds to its default connectors.
fn base_name(connector: &Mapped) -> &str {
    let Some(server) = &connector.server else { return &connector.name };
    let at = connector.name.len().saturating_sub(server.len());
    match (connector.name.get(..at), connector.name.get(at..)) {
        (Some(base), Some(end)) if end.eq_ignore_ascii_case(server) && !base.trim().is_empty() => {
            base.trim_end()
        }
        _ => &connector.name,
    }
}

fn is_equal(one: &Mapped, other: &Mapped) -> bool {
    differing_keys(one, other).is_empty()
}

fn differing_keys(one: &Mapped, other: &Mapped) -> Vec<&'static str> {
    let rendered = |connector: &Mapped| -> BTreeMap<&'static str, String> {
        connector.keys.iter().map(|(key, value)| (*key, value.to_string())).collect()
    };
    let (one, other) = (rendered(one), rendered(other));
    let mut keys: Vec<_> = one.keys().chain(other.keys()).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| one.get(key) != other.get(key));
    keys
}
