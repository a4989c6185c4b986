//! The conflicts of the table, in terms of the configuration.

use std::net::Ipv6Addr;

use crate::connector::error_location;
use crate::document::{Document, Wrong};
use relay_connector::limits::{BINDINGS, TABLE_BLOCKS};
use relay_connector::table::{Conflict, RangeAt};
use relay_connector::{Connector, Range};

/// A range and its connector.
struct Named<'c> {
    connector: &'c Connector,
    range: &'c Range,
}

/// Notes a conflict at the later of its two lines; the text names the earlier line.
pub(crate) fn refuse(document: &Document<'_>, connectors: &[Connector], conflict: Conflict) {
    let (pair, binding) = match conflict {
        Conflict::TooManyBindings { count } => {
            let problem = format!("{count} distinct bindings are over the limit of {BINDINGS}");
            let mend = "bind to `0.0.0.0` and `[::]` instead of each address";
            document.refuse(1, "", "bindings", Wrong::new(problem, mend));
            return;
        }
        Conflict::TooManyBlocks { binding } => {
            let problem = format!(
                "the ranges need more than {TABLE_BLOCKS} prefixes, counted up to {binding}"
            );
            let mend = "write ranges that begin and end on prefixes, or fewer ranges";
            document.refuse(1, "", "remote_ip_ranges", Wrong::new(problem, mend));
            return;
        }
        Conflict::Duplicate { binding, first, second }
        | Conflict::PartialOverlap { binding, lower: first, upper: second } => {
            ([first, second].map(|at| named(connectors, at)), binding)
        }
    };
    let [Some(mut earlier), Some(mut later)] = pair else { return };
    if earlier.range.line > later.range.line {
        std::mem::swap(&mut earlier, &mut later);
    }
    let same_connector = std::ptr::eq(earlier.connector, later.connector);
    let whose = if same_connector {
        format!("line {}", earlier.range.line)
    } else {
        format!("{}, line {}", error_location(&earlier.connector.name), earlier.range.line)
    };
    let (range, other) = (later.range, earlier.range);
    let wrong = match (conflict, same_connector) {
        (Conflict::Duplicate { .. }, true) => Wrong::new(
            format!("{range} is the same range as {other} ({whose})"),
            "remove one of them",
        ),
        (Conflict::Duplicate { .. }, false) => Wrong::new(
            format!("{range} on {binding} is also a range of {whose}"),
            "give the range to one of the two connectors",
        ),
        (_, true) => Wrong::new(
            format!("{range} overlaps {other} ({whose}), and neither contains the other"),
            format!(
                "write {} instead of both",
                between(range.low().min(other.low()), range.high().max(other.high()))
            ),
        ),
        (_, false) => Wrong::new(
            format!(
                "{range} on {binding} overlaps {other} ({whose}), and neither contains the other"
            ),
            format!(
                "remove {} from one of them, or let one contain the other",
                between(range.low().max(other.low()), range.high().min(other.high()))
            ),
        ),
    };
    document.refuse(range.line, &error_location(&later.connector.name), "remote_ip_ranges", wrong);
}

fn named(connectors: &[Connector], at: RangeAt) -> Option<Named<'_>> {
    let connector = connectors.get(at.connector)?;
    Some(Named { connector, range: connector.range(at.range)? })
}

fn between(low: u128, high: u128) -> String {
    let address = |number| Ipv6Addr::from_bits(number).to_canonical();
    if low == high {
        return address(low).to_string();
    }
    format!("{}-{}", address(low), address(high))
}
