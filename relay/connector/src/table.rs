//! To which connector, and to which of its ranges, does a connection belong?
//!
//! The binding is resolved first: the exact local address before the wildcard; if no range of an
//! exact binding matches, the wildcard is not used instead. On one binding the smallest range that
//! contains the remote address wins. Ranges on one binding must therefore nest or be disjoint;
//! equal ones and partial overlaps have no winner, and are refused here. This is also required
//! inside one connector: the connector would be the same, but the log and the counters name the
//! range, and a repeated or overlapping entry is nearly always a mistake.
//!
//! A connection's own addresses have one family. A client that a proxy states may have the other
//! one; then the ranges of its family count, of the connectors that have the binding.
//!
//! The rule is compiled twice, from one pass over the sorted ranges. [`Table::classify`], the
//! daemon's own answer, searches the sorted list of segments in which one range wins; it implements
//! the rule directly. [`Table::blocks`] are the prefixes for the kernel's trie. A longest prefix
//! finds the smallest range because an outer range's block around an address contains the inner
//! range's; if both are equal, the smaller range gets the block.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::limits::{BINDINGS, TABLE_BLOCKS};
use crate::range::{Block, Family, number_of};
use crate::table::sweep::{Conflicts, blocks_of, ranges_on, sweep};
use crate::{Binding, ClientAddress, Connector, ConnectorId, RangeId};

mod sweep;
#[cfg(test)]
mod tests;

/// The compiled bindings and ranges of all enabled connectors.
#[derive(Clone, Debug, Default)]
pub struct Table {
    layout: Arc<Layout>,
    /// By the position of the connector in the configuration.
    ids: Box<[ConnectorId]>,
}

/// Where a connection belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableMatch {
    /// No connector listens on this local address and port.
    NoBinding,
    /// The binding is known, and none of its ranges contains the remote address.
    NoConnector,
    /// The connector and the range that won.
    Connector {
        /// Whose rules apply.
        connector: ConnectorId,
        /// By which of its ranges.
        range: RangeId,
    },
}

/// One range of one connector, by position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RangeAt {
    /// The connector's position.
    pub connector: usize,
    /// The range's index.
    pub range: RangeId,
}

/// Whose addresses are looked up on a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Only addresses of connections: no proxy may state one.
    OfTheBindingsFamily,
    /// Also addresses that a proxy states.
    OfBothFamilies,
}

/// Why connectors do not make a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Two ranges on one binding are equal.
    Duplicate {
        /// Where.
        binding: Binding,
        /// The range that is first in the configuration.
        first: RangeAt,
        /// The other.
        second: RangeAt,
    },
    /// Two ranges on one binding overlap, and neither contains the other.
    PartialOverlap {
        /// Where.
        binding: Binding,
        /// The range that begins at the lower address.
        lower: RangeAt,
        /// The range that ends at the higher address.
        upper: RangeAt,
    },
    /// There are more distinct bindings than [`BINDINGS`].
    TooManyBindings {
        /// How many.
        count: usize,
    },
    /// The ranges need more prefixes than the kernel's trie has room for.
    TooManyBlocks {
        /// Where the count went over [`TABLE_BLOCKS`].
        binding: Binding,
    },
}

/// Legal settings without an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Smaller ranges cover every address of this one.
    Shadowed {
        /// Where.
        binding: Binding,
        /// The range that never wins.
        range: RangeAt,
    },
    /// The range lies directly inside another one of the same connector.
    Redundant {
        /// Where.
        binding: Binding,
        /// The smaller range.
        inner: RangeAt,
        /// The range around it.
        outer: RangeAt,
    },
    /// No binding of its connector has clients of the range's family. Reported for the first such
    /// range of a connector.
    WithoutBinding {
        /// The range that never wins.
        range: RangeAt,
        /// How many more of the connector's ranges never win for the same reason.
        more: usize,
    },
}

#[derive(Debug, Default)]
struct Layout {
    bindings: Vec<Binding>,
    numbers: HashMap<Binding, usize>,
    /// By binding number.
    claims: Vec<Claims>,
    idle: Vec<Idle>,
}

/// The ranges on one binding, compiled both ways.
#[derive(Debug)]
struct Claims {
    own: Segments,
    /// For clients of the other family, which only a proxy can state. The kernel never sees them.
    told: Segments,
    /// Those of `own`, by address and length.
    blocks: Vec<(Block, RangeAt)>,
}

/// By first address. A segment ends where the next begins.
type Segments = Vec<(u128, Option<RangeAt>)>;

impl Table {
    /// Compiles the enabled connectors among these. Until [`Table::with_ids`] changes it, the id of
    /// a connector is its position plus one.
    ///
    /// # Errors
    /// All conflicts between ranges, each pair of ranges once; or a limit is exceeded.
    pub fn compile(connectors: &[Connector], clients: Clients) -> Result<Self, Vec<Conflict>> {
        let mut layout = Layout::default();
        let mut conflicts = Conflicts::default();
        for connector in connectors.iter().filter(|connector| connector.enabled) {
            for &binding in &connector.bindings {
                layout.number(binding);
            }
        }
        let count = layout.bindings.len();
        if count > BINDINGS {
            return Err(vec![Conflict::TooManyBindings { count }]);
        }
        let mut blocks = 0;
        for &binding in &layout.bindings {
            let mut swept = |claims: &[_]| sweep(binding, claims, &mut layout.idle, &mut conflicts);
            let told = match clients {
                Clients::OfTheBindingsFamily => Segments::new(),
                Clients::OfBothFamilies => {
                    swept(&ranges_on(binding, binding.family().other(), connectors))
                }
            };
            let claims = ranges_on(binding, binding.family(), connectors);
            let own = swept(&claims);
            let compiled = blocks_of(&claims, connectors, TABLE_BLOCKS - blocks);
            let Some(compiled) = compiled else {
                conflicts.found.push(Conflict::TooManyBlocks { binding });
                break;
            };
            blocks += compiled.len();
            layout.claims.push(Claims { own, told, blocks: compiled });
        }
        if !conflicts.found.is_empty() {
            return Err(conflicts.found);
        }
        if clients == Clients::OfTheBindingsFamily {
            layout.idle.extend(without_binding(connectors));
        }
        let ids = (1_u32..).take(connectors.len()).map(ConnectorId).collect();
        Ok(Self { layout: Arc::new(layout), ids })
    }

    /// The same table with these ids, one for each connector that was compiled.
    pub fn with_ids(&self, ids: &[ConnectorId]) -> Self {
        debug_assert_eq!(ids.len(), self.ids.len(), "one id for each connector");
        Self { layout: Arc::clone(&self.layout), ids: ids.into() }
    }

    /// Every distinct binding. Its index is the binding number in the kernel's maps.
    pub fn bindings(&self) -> &[Binding] {
        &self.layout.bindings
    }

    /// The entries of the kernel's trie: binding number, block, connector and range. No block
    /// occurs twice on one binding. At most [`TABLE_BLOCKS`] entries.
    pub fn blocks(&self) -> impl Iterator<Item = (u32, Block, ConnectorId, RangeId)> {
        (0_u32..).zip(&self.layout.claims).flat_map(move |(number, claims)| {
            claims
                .blocks
                .iter()
                .map(move |&(block, at)| (number, block, self.id(at.connector), at.range))
        })
    }

    /// The match of a client that connects to `local`, or for which a proxy connects.
    ///
    /// ```
    /// # use relay_connector::*;
    /// # fn connector(name: &str, bindings: &[&str], ranges: &[&str]) -> Connector {
    /// #     Connector {
    /// #         name: name.to_owned(),
    /// #         line: 1,
    /// #         comment: String::new(),
    /// #         enabled: true,
    /// #         bindings: bindings.iter().map(|text| text.parse().unwrap()).collect(),
    /// #         remote_ip_ranges: ranges.iter().map(|text| text.parse().unwrap()).collect(),
    /// #         auth_mechanism: AuthMechanism::default(),
    /// #         permission_groups: PermissionGroups::default(),
    /// #         grants: Vec::new(),
    /// #         denies: Vec::new(),
    /// #         encryption: ConnectorTls::default(),
    /// #         require_tls: false,
    /// #         refuse: false,
    /// #         syn_budget: None,
    /// #         syn_budget_per_source: None,
    /// #         banner: None,
    /// #         fqdn: "edge1.contoso.example".to_owned(),
    /// #         require_ehlo_domain: false,
    /// #         extensions: Extensions::default(),
    /// #         reject_recipient_domains: RejectRecipientDomains::default(),
    /// #         protocol_logging_level: ProtocolLoggingLevel::None,
    /// #         antispam: AntiSpam::default(),
    /// #         limits: Limits::default(),
    /// #     }
    /// # }
    /// let everyone = connector("Default Frontend", &["0.0.0.0:25"], &["0.0.0.0/0"]);
    /// let subnet = connector("Scanners", &["0.0.0.0:25"], &["10.38.97.0/24"]);
    /// let exact = connector("Partners", &["192.0.2.1:25"], &["203.0.113.0/24"]);
    /// let table =
    ///     Table::compile(&[everyone, subnet, exact], Clients::OfTheBindingsFamily).unwrap();
    /// let ask = |local: &str, remote: &str| match table
    ///     .classify(local.parse().unwrap(), remote.parse().unwrap())
    /// {
    ///     TableMatch::Connector { connector, .. } => Some(connector.0),
    ///     TableMatch::NoBinding | TableMatch::NoConnector => None,
    /// };
    /// // The smallest range wins, in any order of the connectors.
    /// assert_eq!(ask("198.51.100.1:25", "10.38.97.9"), Some(2));
    /// assert_eq!(ask("198.51.100.1:25", "203.0.113.9"), Some(1));
    /// // An exact binding goes before the wildcard, and its other clients do not fall back to it.
    /// assert_eq!(ask("192.0.2.1:25", "203.0.113.9"), Some(3));
    /// assert_eq!(ask("192.0.2.1:25", "10.38.97.9"), None);
    /// ```
    pub fn classify(&self, local: SocketAddr, client: ClientAddress) -> TableMatch {
        let binding = Binding::of_connection(local);
        let numbers = &self.layout.numbers;
        let number = numbers.get(&binding).or_else(|| numbers.get(&binding.wildcard()));
        let Some(claims) = number.and_then(|&number| self.layout.claims.get(number)) else {
            return TableMatch::NoBinding;
        };
        let segments =
            if Family::of(client.ip()) == binding.family() { &claims.own } else { &claims.told };
        match winner(segments, number_of(client.ip())) {
            Some(at) => TableMatch::Connector { connector: self.id(at.connector), range: at.range },
            None => TableMatch::NoConnector,
        }
    }

    /// For each connector on each binding its lowest remote address.
    pub fn first_addresses(&self) -> impl Iterator<Item = (Binding, IpAddr, ConnectorId)> {
        self.layout.bindings.iter().zip(&self.layout.claims).flat_map(move |(&binding, claims)| {
            let mut seen = HashSet::new();
            claims.own.iter().chain(&claims.told).filter_map(move |&(low, owner)| {
                let id = self.id(owner?.connector);
                let address = IpAddr::V6(Ipv6Addr::from_bits(low)).to_canonical();
                seen.insert(id).then_some((binding, address, id))
            })
        })
    }

    /// The binding that decides for this local address, if there is one.
    pub fn binding_of(&self, local: SocketAddr) -> Option<Binding> {
        let binding = Binding::of_connection(local);
        [binding, binding.wildcard()]
            .into_iter()
            .find(|candidate| self.layout.numbers.contains_key(candidate))
    }

    /// Ranges that have no effect.
    pub fn idle(&self) -> &[Idle] {
        &self.layout.idle
    }

    fn id(&self, position: usize) -> ConnectorId {
        self.ids.get(position).copied().unwrap_or(ConnectorId::NONE)
    }
}

impl Layout {
    fn number(&mut self, binding: Binding) {
        let next = self.bindings.len();
        if *self.numbers.entry(binding).or_insert(next) == next {
            self.bindings.push(binding);
        }
    }
}

fn winner(segments: &Segments, address: u128) -> Option<RangeAt> {
    let following = segments.partition_point(|&(start, _)| start <= address);
    segments.get(following.checked_sub(1)?)?.1
}

/// The enabled connectors with ranges of a family that none of their bindings has, in addition to
/// ranges from which clients can come.
fn without_binding(connectors: &[Connector]) -> impl Iterator<Item = Idle> {
    let enabled = connectors.iter().enumerate().filter(|(_, connector)| connector.enabled);
    enabled.filter_map(|(at, connector)| {
        let takes = |family| connector.bindings.iter().any(|binding| binding.family() == family);
        let (taken, idle): (Vec<_>, Vec<_>) = (0..)
            .map(RangeId)
            .zip(&connector.remote_ip_ranges)
            .partition(|(_, range)| takes(range.family()));
        let &(range, _) = idle.first().filter(|_| !taken.is_empty())?;
        let range = RangeAt { connector: at, range };
        Some(Idle::WithoutBinding { range, more: idle.len() - 1 })
    })
}
