//! `relay connectors`: the connector of each range.

use clap::Args;
use relay::daemon::explain::{ExplainedRight, rights};
use relay_config::Config;
use relay_connector::{Binding, Connector, Permission, Range};
use serde_json::{Map, Value, json};

use super::{Common, Console, Outcome};

#[derive(Args, Debug)]
pub(super) struct ConnectorsArguments {
    #[command(flatten)]
    pub(super) common: Common,
}

/// One range on one binding.
struct Row<'c> {
    binding: Binding,
    range: &'c Range,
    connector: &'c Connector,
}

impl Row<'_> {
    /// Has the range the other address family? Then a client reaches it only if a proxy, which
    /// connects by the family of the binding, states the client's address.
    fn is_through_proxy_only(&self) -> bool {
        self.range.family() != self.binding.family()
    }
}

pub(super) fn run(
    arguments: &ConnectorsArguments,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let Some(config) = arguments.common.load(console)? else { return Ok(Outcome::Unusable) };
    let rows = in_order_of_precedence(&config);
    if arguments.common.json {
        let rows: Vec<_> = rows.iter().map(as_json).collect();
        console.json(&json!({ "connectors": rows }))?;
    } else {
        print_table(&rows, console)?;
        for connector in config.connectors() {
            print_rights(connector, console)?;
        }
    }
    Ok(Outcome::Yes)
}

/// Rows in order of precedence: exact bindings before wildcards, small ranges before large ones.
/// The first row that fits a connection decides it. A connection to the address of an exact binding
/// uses only the rows of that binding. Ranges of the other address family have rows if there are
/// proxies.
fn in_order_of_precedence(config: &Config) -> Vec<Row<'_>> {
    let has_proxies = !config.proxies.is_empty();
    let mut rows: Vec<_> = config
        .connectors()
        .iter()
        .filter(|connector| connector.enabled)
        .flat_map(|connector| {
            connector.bindings.iter().flat_map(move |&binding| {
                connector
                    .remote_ip_ranges
                    .iter()
                    .map(move |range| Row { binding, range, connector })
                    .filter(move |row| has_proxies || !row.is_through_proxy_only())
            })
        })
        .collect();
    rows.sort_by_key(|Row { binding, range, .. }| {
        (binding.is_wildcard(), *binding, range.high() - range.low(), range.low())
    });
    rows
}

fn as_json(row: &Row<'_>) -> Value {
    let principal = row.connector.principal();
    let permissions: Vec<_> =
        row.connector.permissions(principal).iter().map(Permission::name).collect();
    let rights: Map<String, Value> = row
        .connector
        .principals()
        .map(|principal| {
            let mut rights = rights(row.connector, principal, None);
            rights.sort_by_key(|right| !right.has);
            (principal.name().to_owned(), json!(rights))
        })
        .collect();
    json!({
        "binding": row.binding.to_string(),
        "range": row.range.text(),
        "connector": row.connector.name,
        "principal": principal.name(),
        "permissions": permissions,
        "rights": rights,
        "refuse": row.connector.refuse,
        "through_proxy_only": row.is_through_proxy_only(),
    })
}

fn print_table(rows: &[Row<'_>], console: &mut Console<'_>) -> anyhow::Result<()> {
    let heading = ["BINDING", "RANGE", "CONNECTOR", "PRINCIPAL"].map(str::to_owned);
    let lines: Vec<[String; 4]> = std::iter::once(heading)
        .chain(rows.iter().map(|row| {
            let principal = if row.connector.refuse {
                "(refused)".to_owned()
            } else {
                row.connector.principal().to_string()
            };
            let note = if row.is_through_proxy_only() { " (through a proxy only)" } else { "" };
            let range = format!("{}{note}", row.range.text());
            [row.binding.to_string(), range, row.connector.name.clone(), principal]
        }))
        .collect();
    let width = |column: usize| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    };
    let widths = [width(0), width(1), width(2)];
    for [binding, range, connector, principal] in &lines {
        writeln!(
            console.out,
            "{binding:0$}  {range:1$}  {connector:2$}  {principal}",
            widths[0], widths[1], widths[2],
        )?;
    }
    Ok(())
}

fn print_rights(connector: &Connector, console: &mut Console<'_>) -> anyhow::Result<()> {
    let name = &connector.name;
    writeln!(console.out)?;
    if !connector.enabled {
        writeln!(console.out, "{name}: disabled")?;
        return Ok(());
    }
    if connector.refuse {
        writeln!(console.out, "{name}: refuses all connections")?;
        return Ok(());
    }
    for principal in connector.principals() {
        writeln!(console.out, "{name}: {principal}")?;
        let rights = rights(connector, principal, None);
        if !rights.iter().any(|right| right.has) {
            writeln!(console.out, "  has no permission")?;
        }
        for (heading, has) in [("may", true), ("may not", false)] {
            for ExplainedRight { permission, because, .. } in
                rights.iter().filter(|right| right.has == has)
            {
                writeln!(console.out, "  {heading} {permission}: {because}")?;
            }
        }
    }
    Ok(())
}
