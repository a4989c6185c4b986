//! The size and the header section of a message.

use super::*;

/// The limits of the connector `Other`.
pub(super) const LIMITS: &str = "permission_groups = [\"AnonymousUsers\"]\nmax_message_size = 65536\n\
    max_header_size = 100\nmax_hop_count = 3";

/// A message that reaches each limit and exceeds none.
pub(super) const FINE: MessageFacts = MessageFacts {
    size: 65_536,
    header_size: 100,
    header_fields: HEADER_FIELDS,
    hops: 3,
    local_hops: 5,
    bare_line_ending: false,
};

#[test]
fn a_declared_size_is_held_against_the_limit() {
    let rules = rules("permission_groups = [\"AnonymousUsers\"]\nmax_message_size = 65536");
    let decide = |size| mail(&rules, &peer(&rules, "Other"), &ReversePath::Null, Some(size));
    assert_eq!(decide(65_536).reply, reply::SENDER_OK);
    let large = decide(65_537);
    assert_eq!(large.reply, reply::MESSAGE_TOO_LARGE);
    let size = &large.because[2];
    assert_eq!(
        (size.rule, &size.found),
        (Rule::MaxMessageSize, &Found::MessageOctets { octets: 65_537, limit: 65_536 })
    );
    assert_eq!(rule(&large), Rule::Permission(Permission::BypassMessageSizeLimit));
    let trusted = peer(&rules, "SMTP Relay EXCH01");
    let decision = mail(&rules, &trusted, &ReversePath::Null, Some(u64::MAX));
    assert_eq!(decision.reply, reply::SENDER_OK);
}

#[test]
fn the_message_as_a_whole() {
    let rules = rules(LIMITS);
    let fine = FINE;
    let decide = |facts| message(&peer(&rules, "Other"), &facts);
    assert_eq!(decide(fine).reply, reply::QUEUED);
    let bypass = Rule::Permission(Permission::BypassMessageSizeLimit);
    let fields = HEADER_FIELDS as u64;
    for (facts, expected, because, found) in [
        (
            MessageFacts { bare_line_ending: true, ..fine },
            reply::BARE_LINE_ENDING,
            Rule::ForbiddenOctets,
            (None, None),
        ),
        (MessageFacts { size: 65_537, ..fine }, reply::MESSAGE_TOO_LARGE, bypass, (None, None)),
        (
            MessageFacts { header_size: 101, ..fine },
            reply::HEADER_TOO_LARGE,
            Rule::MaxHeaderSize,
            (Some(101), Some(100)),
        ),
        (
            MessageFacts { header_fields: HEADER_FIELDS + 1, ..fine },
            reply::HEADER_TOO_LARGE,
            Rule::HeaderFields,
            (Some(fields + 1), Some(fields)),
        ),
        (
            MessageFacts { local_hops: 6, ..fine },
            reply::HOP_COUNT_EXCEEDED,
            Rule::MaxLocalHopCount,
            (Some(6), Some(5)),
        ),
        (
            MessageFacts { hops: 4, ..fine },
            reply::HOP_COUNT_EXCEEDED,
            Rule::MaxHopCount,
            (Some(4), Some(3)),
        ),
    ] {
        let decision = decide(facts);
        assert_eq!(decision.reply, expected);
        assert_eq!((rule(&decision), numbers(&decision)), (because, found));
    }
}
