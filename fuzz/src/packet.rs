//! Frames: the parser that the kernel runs on every packet, and the guard's decision.
//!
//! The first octet of an input says what the tables return, the rest is the frame.

use std::cell::Cell;

use relay_common::budget::{Bucket, TokenBudget};
use relay_common::classify::Tables;
use relay_common::guard::{DropReason, GuardDecision, GuardTables, PassReason, decide};
use relay_common::packet::{NotSegment, Segment, segment};
use relay_common::tables::{
    BindingEntry, BindingKey, ConnectorEntry, ConnectorKey, NO_GENERATION, RangeEntry, RangeKey,
    SourceKey,
};

const CONNECTOR: u32 = 7;

/// See the module.
pub fn check(input: &[u8]) {
    let Some((&answers, frame)) = input.split_first() else { return };
    let whole = segment(frame);
    if let Ok(segment) = whole {
        addresses_are_those_of_the_frame(frame, segment);
    }
    // Truncation can make a frame unreadable, but never give another segment or another reason.
    for end in 0..frame.len() {
        let part = segment(&frame[..end]);
        assert!(part == whole || part == Err(NotSegment::Truncated), "{end}: {part:?} {whole:?}");
    }
    let answers = Answers(answers);
    judgement_follows(&answers, whole, decide(frame, &answers, answers.generation()));
}

/// The frame contains the two addresses one after the other, and after them the port. A mapped
/// address may come from a header of either family.
fn addresses_are_those_of_the_frame(frame: &[u8], segment: Segment) {
    let Segment { remote, local, local_port, .. } = segment;
    let port = local_port.to_be_bytes();
    let ipv6 = [remote.octets, local.octets].concat();
    let in_ipv6 = positions(frame, &ipv6).any(|at| positions(&frame[at + 32..], &port).count() > 0);
    let ipv4 = [&remote.octets[12..], &local.octets[12..]].concat();
    let in_ipv4 = positions(frame, &ipv4).filter_map(|at| at.checked_sub(12)).any(|header| {
        let octets = usize::from(frame[header] & 0x0f) * 4;
        frame.get(header + octets + 2..).is_some_and(|rest| rest.starts_with(&port))
    });
    assert!(in_ipv6 || remote.is_ipv4() && local.is_ipv4() && in_ipv4, "{segment:?}");
}

fn positions<'a>(frame: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let windows = frame.windows(wanted.len()).enumerate();
    windows.filter(move |(_, window)| *window == wanted).map(|(at, _)| at)
}

fn judgement_follows(
    answers: &Answers,
    whole: Result<Segment, NotSegment>,
    verdict: GuardDecision,
) {
    let expected = match whole {
        Err(reason) => GuardDecision::Pass(PassReason::NotSegment(reason)),
        Ok(segment) if !segment.opens => GuardDecision::Pass(PassReason::NotSyn),
        Ok(_) if answers.generation() == NO_GENERATION => {
            GuardDecision::Pass(PassReason::NoGeneration)
        }
        Ok(_) if !answers.has(Answers::BINDING) => GuardDecision::Pass(PassReason::NoBinding),
        Ok(_) if !answers.has(Answers::RANGE) => GuardDecision::Pass(PassReason::NoConnector),
        Ok(_) if !answers.has(Answers::CONNECTOR) => GuardDecision::PassConnector(CONNECTOR),
        Ok(_) if answers.has(Answers::REFUSE) => {
            GuardDecision::Drop(CONNECTOR, DropReason::Refused)
        }
        Ok(_) if answers.has(Answers::SOURCE_SPENT) => {
            GuardDecision::Drop(CONNECTOR, DropReason::OverSourceBudget)
        }
        Ok(_) if answers.has(Answers::SPENT) => {
            GuardDecision::Drop(CONNECTOR, DropReason::OverBudget)
        }
        Ok(_) => GuardDecision::PassConnector(CONNECTOR),
    };
    assert_eq!(verdict, expected);
}

/// Tables that return the same entry for every key: one bit for each table.
struct Answers(u8);

impl Answers {
    const PUBLISHED: u8 = 1;
    const BINDING: u8 = 2;
    const RANGE: u8 = 4;
    const CONNECTOR: u8 = 8;
    const REFUSE: u8 = 16;
    const SPENT: u8 = 32;
    const SOURCE_SPENT: u8 = 64;

    const NOW: u64 = 1_000_000_000;

    fn has(&self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    fn generation(&self) -> u32 {
        if self.has(Self::PUBLISHED) { 3 } else { NO_GENERATION }
    }

    /// A bucket with one token, or with none.
    fn bucket_with(&self, spent: u8) -> Word {
        Word(Cell::new(if self.has(spent) { Self::NOW + 1 } else { 0 }))
    }
}

impl Tables for Answers {
    fn binding(&self, _: &BindingKey) -> Option<BindingEntry> {
        self.has(Self::BINDING).then_some(BindingEntry { binding: 0 })
    }

    fn range(&self, _: &RangeKey) -> Option<RangeEntry> {
        self.has(Self::RANGE).then_some(RangeEntry { connector: CONNECTOR, range: 0 })
    }
}

impl GuardTables for Answers {
    type Bucket = Word;

    fn connector(&self, _: &ConnectorKey) -> Option<ConnectorEntry> {
        let one = TokenBudget::per_second(1, 1);
        let refuse = u64::from(self.has(Self::REFUSE));
        let entry = ConnectorEntry { refuse, budget: one, budget_per_source: one };
        self.has(Self::CONNECTOR).then_some(entry)
    }

    fn bucket(&self, _: u32) -> Option<Word> {
        Some(self.bucket_with(Self::SPENT))
    }

    fn source_bucket(&self, _: &SourceKey) -> Option<Word> {
        Some(self.bucket_with(Self::SOURCE_SPENT))
    }

    fn now(&self) -> u64 {
        Self::NOW
    }
}

/// A bucket that only one CPU uses.
struct Word(Cell<u64>);

impl Bucket for Word {
    fn load(&self) -> u64 {
        self.0.get()
    }

    fn replace(&self, current: u64, new: u64) -> bool {
        assert_eq!(self.0.get(), current);
        self.0.set(new);
        true
    }
}
