//! The guard over hash maps instead of kernel maps.

extern crate std;

use core::cell::{Cell, RefCell};
use core::net::IpAddr;
use std::collections::HashMap;
use std::rc::Rc;
use std::vec::Vec;

use super::*;
use crate::budget::TokenBudget;
use crate::tables::{BindingEntry, BindingKey, RangeEntry, RangeKey};

const GENERATION: u32 = 3;
const FRONTEND: u32 = 1;
const RELAY: u32 = 2;
const REFUSED: u32 = 3;

#[derive(Clone, Default)]
struct Word(Rc<Cell<u64>>);

impl Bucket for Word {
    fn load(&self) -> u64 {
        self.0.get()
    }
    fn replace(&self, current: u64, new: u64) -> bool {
        self.0.get() == current && {
            self.0.set(new);
            true
        }
    }
}

#[derive(Default)]
struct Fake {
    bindings: HashMap<BindingKey, BindingEntry>,
    ranges: Vec<(RangeKey, u32, RangeEntry)>,
    connectors: HashMap<ConnectorKey, ConnectorEntry>,
    buckets: RefCell<HashMap<u32, Word>>,
    source_buckets: RefCell<HashMap<SourceKey, Word>>,
    no_source_buckets: bool,
    clock: Cell<u64>,
}

impl Tables for Fake {
    fn binding(&self, key: &BindingKey) -> Option<BindingEntry> {
        self.bindings.get(key).copied()
    }
    fn range(&self, key: &RangeKey) -> Option<RangeEntry> {
        let address = u128::from_be_bytes(key.address.octets);
        self.ranges
            .iter()
            .filter(|(block, bits, _)| {
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                (block.generation, block.binding) == (key.generation, key.binding)
                    && u128::from_be_bytes(block.address.octets) == address & mask
            })
            .max_by_key(|(_, bits, _)| *bits)
            .map(|(_, _, entry)| *entry)
    }
}

impl GuardTables for Fake {
    type Bucket = Word;

    fn connector(&self, key: &ConnectorKey) -> Option<ConnectorEntry> {
        self.connectors.get(key).copied()
    }
    fn bucket(&self, connector: u32) -> Option<Word> {
        Some(self.buckets.borrow_mut().entry(connector).or_default().clone())
    }
    fn source_bucket(&self, key: &SourceKey) -> Option<Word> {
        (!self.no_source_buckets)
            .then(|| self.source_buckets.borrow_mut().entry(*key).or_default().clone())
    }
    fn now(&self) -> u64 {
        self.clock.get()
    }
}

impl Fake {
    /// All addresses to the frontend; 10.0.0.0/8 to the relay; 10.9.9.9 refused; and an exact
    /// binding on 198.51.100.9 for 10.1.0.0/16 only.
    fn new(entry: ConnectorEntry) -> Self {
        let mut fake = Self::default();
        fake.clock.set(1_000_000_000);
        fake.bind("0.0.0.0", 0);
        fake.bind("::", 1);
        fake.bind("198.51.100.9", 2);
        for (binding, first, bits, connector) in [
            (0, "0.0.0.0", 96, FRONTEND),
            (0, "10.0.0.0", 104, RELAY),
            (0, "10.9.9.9", 128, REFUSED),
            (1, "::", 0, FRONTEND),
            (2, "10.1.0.0", 112, RELAY),
        ] {
            let key = RangeKey { generation: GENERATION, binding, address: address(first) };
            fake.ranges.push((key, bits, RangeEntry { connector, range: 0 }));
        }
        fake.connectors.insert(ConnectorKey { generation: GENERATION, connector: FRONTEND }, entry);
        fake.connectors.insert(
            ConnectorKey { generation: GENERATION, connector: REFUSED },
            ConnectorEntry { refuse: 1, ..Default::default() },
        );
        fake
    }

    fn bind(&mut self, local: &str, binding: u32) {
        let key = BindingKey { generation: GENERATION, port: 25, address: address(local) };
        self.bindings.insert(key, BindingEntry { binding });
    }

    fn syn(&self, remote: &str, local: &str, port: u16) -> GuardDecision {
        decide(&frame(remote, local, port, 0x02)[..], self, GENERATION)
    }
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn frame(remote: &str, local: &str, port: u16, flags: u8) -> Vec<u8> {
    let (remote, local) = (remote.parse().unwrap(), local.parse().unwrap());
    let mut frame = Vec::from([0; 12]);
    match (remote, local) {
        (IpAddr::V4(remote), IpAddr::V4(local)) => {
            frame.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
            frame.extend(remote.octets());
            frame.extend(local.octets());
        }
        (IpAddr::V6(remote), IpAddr::V6(local)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64]);
            frame.extend(remote.octets());
            frame.extend(local.octets());
        }
        _ => unreachable!("one family"),
    }
    frame.extend([0x80, 0]);
    frame.extend(port.to_be_bytes());
    frame.extend([0; 8]);
    frame.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    frame
}

#[test]
fn the_longest_prefix_of_the_binding_decides() {
    let fake = Fake::new(ConnectorEntry::default());
    let pass = GuardDecision::PassConnector;
    assert_eq!(fake.syn("192.0.2.1", "198.51.100.1", 25), pass(FRONTEND));
    assert_eq!(fake.syn("10.1.2.3", "198.51.100.1", 25), pass(RELAY));
    assert_eq!(fake.syn("2001:db8::7", "2001:db8::1", 25), pass(FRONTEND));
    assert_eq!(
        fake.syn("10.9.9.9", "198.51.100.1", 25),
        GuardDecision::Drop(REFUSED, DropReason::Refused)
    );
}

#[test]
fn an_exact_binding_has_no_fallback_to_the_wildcard() {
    let fake = Fake::new(ConnectorEntry::default());
    assert_eq!(fake.syn("10.1.2.3", "198.51.100.9", 25), GuardDecision::PassConnector(RELAY));
    assert_eq!(
        fake.syn("192.0.2.1", "198.51.100.9", 25),
        GuardDecision::Pass(PassReason::NoConnector),
        "a range of the wildcard binding contains the client"
    );
}

#[test]
fn frames_without_a_rule_pass_with_a_reason() {
    let fake = Fake::new(ConnectorEntry { refuse: 1, ..Default::default() });
    let pass = |reason| GuardDecision::Pass(reason);
    assert_eq!(fake.syn("192.0.2.1", "198.51.100.1", 26), pass(PassReason::NoBinding));
    let ack = frame("192.0.2.1", "198.51.100.1", 25, 0x10);
    assert_eq!(decide(&ack[..], &fake, GENERATION), pass(PassReason::NotSyn));
    let syn = frame("192.0.2.1", "198.51.100.1", 25, 0x02);
    assert_eq!(decide(&syn[..], &fake, NO_GENERATION), pass(PassReason::NoGeneration));
    assert_eq!(decide(&syn[..], &fake, GENERATION + 1), pass(PassReason::NoBinding));
    assert_eq!(
        decide(&syn[..20], &fake, GENERATION),
        pass(PassReason::NotSegment(NotSegment::Truncated))
    );
}

#[test]
fn a_connector_has_one_budget_for_all_its_sources() {
    let entry = ConnectorEntry { budget: TokenBudget::per_second(10, 3), ..Default::default() };
    let fake = Fake::new(entry);
    let verdicts: Vec<_> = (0..5).map(|_| fake.syn("192.0.2.1", "198.51.100.1", 25)).collect();
    let over = GuardDecision::Drop(FRONTEND, DropReason::OverBudget);
    assert_eq!(verdicts[..3], [GuardDecision::PassConnector(FRONTEND); 3]);
    assert_eq!(verdicts[3..], [over; 2]);
    assert_eq!(fake.syn("2001:db8::7", "2001:db8::1", 25), over, "IPv6 shares it");
    assert_eq!(fake.syn("10.1.2.3", "198.51.100.1", 25), GuardDecision::PassConnector(RELAY));
    fake.clock.set(fake.clock.get() + 100_000_000);
    assert_eq!(fake.syn("192.0.2.2", "198.51.100.1", 25), GuardDecision::PassConnector(FRONTEND));
}

#[test]
fn a_source_with_many_syns_uses_up_only_its_own_tokens() {
    let entry = ConnectorEntry {
        budget: TokenBudget::per_second(10, 4),
        budget_per_source: TokenBudget::per_second(1, 2),
        ..Default::default()
    };
    let fake = Fake::new(entry);
    let loud: Vec<_> = (0..50).map(|_| fake.syn("192.0.2.1", "198.51.100.1", 25)).collect();
    assert_eq!(loud[..2], [GuardDecision::PassConnector(FRONTEND); 2]);
    assert!(loud[2..].iter().all(|v| *v == GuardDecision::Drop(1, DropReason::OverSourceBudget)));
    assert_eq!(fake.syn("192.0.2.2", "198.51.100.1", 25), GuardDecision::PassConnector(FRONTEND));
    assert_eq!(
        fake.syn("2001:db8::1:7", "2001:db8::1", 25),
        GuardDecision::PassConnector(FRONTEND)
    );
    assert_eq!(
        fake.syn("192.0.2.3", "198.51.100.1", 25),
        GuardDecision::Drop(FRONTEND, DropReason::OverBudget)
    );
}

#[test]
fn a_missing_bucket_limits_nothing() {
    let entry =
        ConnectorEntry { budget_per_source: TokenBudget::per_second(1, 1), ..Default::default() };
    let fake = Fake { no_source_buckets: true, ..Fake::new(entry) };
    for _ in 0..10 {
        assert_eq!(
            fake.syn("192.0.2.1", "198.51.100.1", 25),
            GuardDecision::PassConnector(FRONTEND)
        );
    }
}
