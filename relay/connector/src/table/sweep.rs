//! One pass over the ranges on one binding: the winner at each address, the conflicts, and the
//! prefixes of each range.

use std::collections::HashSet;

use crate::range::{Block, Family};
use crate::table::{Conflict, Idle, RangeAt};
use crate::{Binding, Connector, RangeId};

/// A range, while one binding is compiled.
#[derive(Clone, Copy)]
pub(super) struct RangeClaim {
    low: u128,
    high: u128,
    owner: RangeAt,
}

/// The conflicts found so far; a pair that meets on several bindings is reported once.
#[derive(Default)]
pub(super) struct Conflicts {
    pub(super) found: Vec<Conflict>,
    pairs: HashSet<(RangeAt, RangeAt)>,
}

impl Conflicts {
    fn add(&mut self, pair: (RangeAt, RangeAt), conflict: Conflict) {
        if self.pairs.insert(pair) {
            self.found.push(conflict);
        }
    }
}

/// The ranges of a family, of all enabled connectors with the binding, ordered so that an outer
/// range precedes the ranges inside it.
pub(super) fn ranges_on(
    binding: Binding,
    family: Family,
    connectors: &[Connector],
) -> Vec<RangeClaim> {
    let mut claims = Vec::new();
    for (connector, data) in connectors.iter().enumerate() {
        if !data.enabled || !data.bindings.contains(&binding) {
            continue;
        }
        for (range, id) in data.remote_ip_ranges.iter().zip(0..) {
            if range.family() == family {
                let owner = RangeAt { connector, range: RangeId(id) };
                claims.push(RangeClaim { low: range.low(), high: range.high(), owner });
            }
        }
    }
    claims.sort_unstable_by_key(|claim| (claim.low, std::cmp::Reverse(claim.high), claim.owner));
    claims
}

/// One pass over the sorted ranges with a stack of open ranges: the top is the smallest range that
/// contains the current address. A range that does not fit into the top is a conflict.
pub(super) fn sweep(
    binding: Binding,
    claims: &[RangeClaim],
    idle: &mut Vec<Idle>,
    conflicts: &mut Conflicts,
) -> Vec<(u128, Option<RangeAt>)> {
    let mut segments = Segments(Vec::with_capacity(2 * claims.len()));
    let mut open: Vec<RangeClaim> = Vec::new();
    for &claim in claims {
        while let Some(closed) = open.pop_if(|top| top.high < claim.low) {
            segments.close(closed, open.last());
        }
        if let Some(outer) = open.last() {
            let pair = (outer.owner, claim.owner);
            if (outer.low, outer.high) == (claim.low, claim.high) {
                let (first, second) = pair;
                conflicts.add(pair, Conflict::Duplicate { binding, first, second });
                continue;
            }
            if claim.high > outer.high {
                let (lower, upper) = pair;
                conflicts.add(pair, Conflict::PartialOverlap { binding, lower, upper });
                continue;
            }
            if outer.owner.connector == claim.owner.connector {
                let (outer, inner) = pair;
                idle.push(Idle::Redundant { binding, inner, outer });
            }
        }
        segments.begin(claim.low, Some(claim.owner));
        open.push(claim);
    }
    while let Some(closed) = open.pop() {
        segments.close(closed, open.last());
    }
    let winners: HashSet<RangeAt> = segments.0.iter().filter_map(|&(_, owner)| owner).collect();
    let shadowed = claims.iter().filter(|claim| !winners.contains(&claim.owner));
    idle.extend(shadowed.map(|claim| Idle::Shadowed { binding, range: claim.owner }));
    segments.0
}

/// Segments in ascending order. An empty segment is overwritten by the next one with its beginning.
struct Segments(Vec<(u128, Option<RangeAt>)>);

impl Segments {
    fn begin(&mut self, start: u128, owner: Option<RangeAt>) {
        match self.0.last_mut() {
            Some(last) if last.0 == start => last.1 = owner,
            _ => self.0.push((start, owner)),
        }
    }

    fn close(&mut self, closed: RangeClaim, outer: Option<&RangeClaim>) {
        // After the highest address there is nothing to say.
        if let Some(start) = closed.high.checked_add(1) {
            self.begin(start, outer.map(|claim| claim.owner));
        }
    }
}

/// The blocks of all claims; equal ones belong to the smaller range. `None` over the limit.
pub(super) fn blocks_of(
    claims: &[RangeClaim],
    connectors: &[Connector],
    limit: usize,
) -> Option<Vec<(Block, RangeAt)>> {
    let mut blocks: Vec<(Block, u128, RangeAt)> = Vec::with_capacity(claims.len().min(limit));
    for claim in claims {
        let range = connectors[claim.owner.connector].range(claim.owner.range)?;
        for block in range.blocks() {
            if blocks.len() == limit {
                return None;
            }
            blocks.push((block, claim.high - claim.low, claim.owner));
        }
    }
    blocks.sort_unstable();
    blocks.dedup_by_key(|&mut (block, ..)| block);
    Some(blocks.into_iter().map(|(block, _, owner)| (block, owner)).collect())
}
