//! Searches the log by what a sender or a recipient knows: an address, a time, a Message-ID. Pure.
//!
//! A refusal may have happened before the client named a sender or a recipient. Whether such a
//! refusal matches is not known: [`QueryMatch::Unknown`].

use std::net::{IpAddr, SocketAddr};

use crate::line::{OutcomeGroup, ReceiveLine, RefusedLine, TrackingLine, What};
use relay_connector::Range;
use relay_policy::Rule;
use relay_queue::filter::Wildcard;

/// The conditions for a message or a refusal. The default matches all.
#[derive(Clone, Debug, Default)]
pub struct Criteria {
    /// The envelope sender, or an address in From.
    pub from: Option<Wildcard>,
    /// A recipient.
    pub to: Option<Wildcard>,
    /// The Message-ID, with or without its angle brackets.
    pub message_id: Option<Wildcard>,
    /// The client's address.
    pub remote: Option<Range>,
    /// Not before this time, in the form of [`super::line::moment`].
    pub since: Option<String>,
    /// Not after this time.
    pub until: Option<String>,
}

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueryMatch {
    /// No match.
    No,
    /// The known values do not exclude a match.
    Unknown,
    /// A match.
    Yes,
}

impl QueryMatch {
    fn of(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }

    /// `Unknown` instead of `No`.
    fn or_unknown(self, is_unknown: bool) -> Self {
        if self == Self::No && is_unknown { Self::Unknown } else { self }
    }
}

impl Criteria {
    /// Is this time within the searched time?
    pub fn selects_time(&self, time: &str) -> bool {
        self.since.as_deref().is_none_or(|since| time >= since)
            && self.until.as_deref().is_none_or(|until| time <= until)
    }

    /// Is this gap within the searched time?
    pub fn selects_gap(&self, line: &TrackingLine) -> bool {
        let What::Lost { since, .. } = &line.what else { return false };
        self.since.as_ref().is_none_or(|from| line.time >= *from)
            && self.until.as_ref().is_none_or(|until| since <= until)
    }

    /// Does this line begin a matching message, or is it a matching refusal?
    pub fn matches(&self, line: &TrackingLine) -> QueryMatch {
        if !self.selects_time(&line.time) {
            return QueryMatch::No;
        }
        match &line.what {
            What::Receive(received) => self.of_received(received),
            What::Refuse(refused) | What::Abort(refused) => self.of_refused(refused),
            // A report is a message from the null sender to the original sender.
            What::Dsn { sender, .. } => all([
                self.from.as_ref().map(|from| QueryMatch::of(from.matches(""))),
                self.to.as_ref().map(|to| QueryMatch::of(to.matches_address(sender))),
                self.message_id.as_ref().map(|_| QueryMatch::No),
                self.remote.as_ref().map(|_| QueryMatch::No),
            ]),
            _ => QueryMatch::No,
        }
    }

    /// The same for a line that begins a message, at any time: could later events make the message
    /// match?
    pub fn selects_message(&self, line: &TrackingLine) -> bool {
        let ever = Self { since: None, until: None, ..self.clone() };
        ever.matches(line) != QueryMatch::No
    }

    /// Does a line about delivery name a searched message? Such a line does not have all values; it
    /// names a message if at least one value matches and no value excludes a match.
    pub fn names(&self, line: &TrackingLine) -> bool {
        let asked = match &line.what {
            What::Send(tried) | What::Deliver(tried) | What::Defer(tried) | What::Fail(tried) => {
                let OutcomeGroup { recipients, recipients_left_out, .. } = tried;
                [
                    self.from.as_ref().map(|_| QueryMatch::Unknown),
                    self.is_to(recipients, *recipients_left_out),
                ]
            }
            // A report goes to the original sender.
            What::Dsn { sender, recipients, recipients_left_out, .. } => [
                self.from.as_ref().map(|from| is_from(from, Some(sender), None).or_unknown(true)),
                self.is_to(recipients, *recipients_left_out),
            ],
            _ => return false,
        };
        let asks_more = self.message_id.is_some() || self.remote.is_some();
        let mut asked = asked.into_iter().flatten();
        let asks_nothing = !asks_more && asked.clone().next().is_none();
        self.selects_time(&line.time)
            && asked.clone().all(|it| it != QueryMatch::No)
            && (asks_nothing || asked.any(|it| it == QueryMatch::Yes))
    }

    fn is_to(&self, recipients: &[String], left_out: u64) -> Option<QueryMatch> {
        let wanted = self.to.as_ref()?;
        let is_one = recipients.iter().any(|recipient| wanted.matches_address(recipient));
        Some(QueryMatch::of(is_one).or_unknown(left_out > 0))
    }

    fn of_received(&self, received: &ReceiveLine) -> QueryMatch {
        let ReceiveLine { sender, from, message_id, remote, decisions, .. } = received;
        let recipients = || {
            let one = decisions.iter().filter_map(|decision| decision.recipient.as_ref());
            one.chain(decisions.iter().flat_map(|decision| &decision.also))
        };
        let left_out = received.decisions_left_out > 0;
        all([
            self.from.as_ref().map(|wanted| is_from(wanted, Some(sender), from.as_deref())),
            self.to.as_ref().map(|wanted| {
                QueryMatch::of(recipients().any(|it| wanted.matches_address(it)))
                    .or_unknown(left_out)
            }),
            self.message_id.as_ref().map(|wanted| is_id(wanted, message_id.as_deref())),
            self.remote.as_ref().map(|wanted| QueryMatch::of(is_at(wanted, remote))),
        ])
    }

    fn of_refused(&self, refused: &RefusedLine) -> QueryMatch {
        let RefusedLine { sender, from, message_id, remote, recipients, .. } = refused;
        // Before the end of data, the message is not known.
        let has_no_header = message_id.is_none() && from.is_none();
        let left_out = recipients.is_empty() || refused.recipients_left_out > 0;
        // Without a header, the client behind the proxy is not known.
        let is_any_client = refused.rule.as_deref() == Some(Rule::ProxyProtocolFrom.name());
        all([
            self.from.as_ref().map(|wanted| {
                is_from(wanted, sender.as_deref(), from.as_deref()).or_unknown(sender.is_none())
            }),
            self.to.as_ref().map(|wanted| {
                QueryMatch::of(recipients.iter().any(|it| wanted.matches_address(it)))
                    .or_unknown(left_out)
            }),
            self.message_id
                .as_ref()
                .map(|wanted| is_id(wanted, message_id.as_deref()).or_unknown(has_no_header)),
            self.remote
                .as_ref()
                .map(|wanted| QueryMatch::of(is_at(wanted, remote)).or_unknown(is_any_client)),
        ])
    }
}

/// The smallest of all results.
fn all<const N: usize>(found: [Option<QueryMatch>; N]) -> QueryMatch {
    found.into_iter().flatten().min().unwrap_or(QueryMatch::Yes)
}

fn is_from(wanted: &Wildcard, sender: Option<&str>, from: Option<&str>) -> QueryMatch {
    let is_sender = sender.is_some_and(|sender| wanted.matches_address(sender));
    QueryMatch::of(
        is_sender || from.is_some_and(|from| addresses(from).any(|it| wanted.matches_address(it))),
    )
}

/// The texts in From that look like addresses.
fn addresses(from: &str) -> impl Iterator<Item = &str> {
    from.split([' ', ',', ';', '<', '>', '"', '(', ')', '|']).filter(|part| part.contains('@'))
}

fn is_id(wanted: &Wildcard, message_id: Option<&str>) -> QueryMatch {
    let id = message_id.unwrap_or_default().trim();
    let inner = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id);
    QueryMatch::of(message_id.is_some() && wanted.matches(inner))
}

fn is_at(wanted: &Range, remote: &str) -> bool {
    let address = remote.parse::<SocketAddr>().map(|remote| remote.ip());
    address.or_else(|_| remote.parse::<IpAddr>()).is_ok_and(|ip| wanted.contains(ip.into()))
}

#[cfg(test)]
mod tests {
    use crate::query::*;
    use relay_mail::queue_id::QueueId;

    fn refused(sender: Option<&str>, recipients: &[&str]) -> TrackingLine {
        let what = What::Refuse(Box::new(RefusedLine {
            remote: "192.0.2.7:4711".to_owned(),
            sender: sender.map(str::to_owned),
            recipients: recipients.iter().map(|&it| it.to_owned()).collect(),
            ..RefusedLine::default()
        }));
        TrackingLine { time: "2027-01-15T08:00:00.123000Z".to_owned(), id: None, what }
    }

    #[test]
    fn a_proxy_without_a_header_may_have_forwarded_any_client() {
        let mut line = refused(None, &[]);
        let What::Refuse(refused) = &mut line.what else { unreachable!() };
        refused.rule = Some(Rule::ProxyProtocolFrom.name().into());
        for (remote, expected) in
            [("192.0.2.7", QueryMatch::Yes), ("198.51.100.1", QueryMatch::Unknown)]
        {
            let remote = Some(remote.parse::<Range>().unwrap());
            let criteria = Criteria { remote, ..Criteria::default() };
            assert_eq!(criteria.matches(&line), expected);
        }
    }

    #[test]
    fn unknown_values_of_a_refusal_give_an_unknown_match() {
        let wild = |text: &str| Some(Wildcard::new(text));
        let remote = |text: &str| Some(text.parse::<Range>().unwrap());
        let all = Criteria::default();
        let whole = refused(Some("a@b.example"), &["c@d.example"]);
        let at_mail = refused(Some("a@b.example"), &[]);
        let at_connect = refused(None, &[]);
        for (criteria, of_whole, of_mail, of_connect) in [
            (all.clone(), QueryMatch::Yes, QueryMatch::Yes, QueryMatch::Yes),
            (
                Criteria { from: wild("A@*"), ..all.clone() },
                QueryMatch::Yes,
                QueryMatch::Yes,
                QueryMatch::Unknown,
            ),
            (
                Criteria { from: wild("x@*"), ..all.clone() },
                QueryMatch::No,
                QueryMatch::No,
                QueryMatch::Unknown,
            ),
            (
                Criteria { to: wild("*@d.example"), ..all.clone() },
                QueryMatch::Yes,
                QueryMatch::Unknown,
                QueryMatch::Unknown,
            ),
            (
                Criteria { to: wild("x"), ..all.clone() },
                QueryMatch::No,
                QueryMatch::Unknown,
                QueryMatch::Unknown,
            ),
            (
                Criteria { remote: remote("192.0.2.0/24"), to: wild("x"), ..all.clone() },
                QueryMatch::No,
                QueryMatch::Unknown,
                QueryMatch::Unknown,
            ),
            (
                Criteria { remote: remote("192.0.2.8"), ..all.clone() },
                QueryMatch::No,
                QueryMatch::No,
                QueryMatch::No,
            ),
            (
                Criteria { since: Some("2027-01-15T08:00:01.000000Z".to_owned()), ..all.clone() },
                QueryMatch::No,
                QueryMatch::No,
                QueryMatch::No,
            ),
        ] {
            let found = [&whole, &at_mail, &at_connect].map(|line| criteria.matches(line));
            assert_eq!(found, [of_whole, of_mail, of_connect], "{criteria:?}");
        }
    }

    #[test]
    fn a_line_names_a_message_if_one_value_matches_and_none_excludes_it() {
        let wild = |text: &str| Some(Wildcard::new(text));
        let time = "2027-01-15T08:00:00.123000Z".to_owned();
        let line = |what| TrackingLine { time: time.clone(), id: None, what };
        let recipients = vec!["c@d.example".to_owned()];
        let tried = OutcomeGroup { recipients: recipients.clone(), ..OutcomeGroup::default() };
        let send = line(What::Send(tried.clone()));
        let short = line(What::Fail(OutcomeGroup { recipients_left_out: 7, ..tried }));
        let (report, sender) = (QueueId::from_u64(7), "a@b.example".to_owned());
        let dsn = line(What::Dsn { report, sender, recipients, recipients_left_out: 0 });
        let end = line(What::End);
        let all = Criteria::default();
        let to = |to: &str| Criteria { to: wild(to), ..Criteria::default() };
        for (criteria, names) in [
            (all.clone(), [true, true, true, false]),
            (to("c@*"), [true, true, true, false]),
            (to("x@*"), [false, false, false, false]),
            // Only the report has the sender and the client.
            (Criteria { from: wild("a@*"), ..to("c@*") }, [true, true, true, false]),
            (Criteria { message_id: wild("1@*"), ..to("c@*") }, [true, true, true, false]),
            (Criteria { from: wild("a@*"), ..all.clone() }, [false, false, true, false]),
            (Criteria { message_id: wild("1@*"), ..all.clone() }, [false, false, false, false]),
            (Criteria { until: Some(time.replace('8', "7")), ..to("c@*") }, [false; 4]),
        ] {
            let found = [&send, &short, &dsn, &end].map(|line| criteria.names(line));
            assert_eq!(found, names, "{criteria:?}");
        }
    }

    #[test]
    fn from_and_message_id_are_found_as_written() {
        let is = |wanted: &str, from: &str| is_from(&Wildcard::new(wanted), Some("x"), Some(from));
        assert_eq!(is("ann@b.example", "\"Ann, B.\" <Ann@B.example>"), QueryMatch::Yes);
        assert_eq!(is("*@b.example", "a@c.example | z@b.example"), QueryMatch::Yes);
        assert_eq!(is("ann", "ann <a@b.example>"), QueryMatch::No);
        let id = |wanted: &str| is_id(&Wildcard::new(wanted), Some(" <1.2@host.example> "));
        assert_eq!(
            [id("<1.2@HOST.example>"), id("1.2@*"), id("2@*")],
            [QueryMatch::Yes, QueryMatch::Yes, QueryMatch::No]
        );
    }
}
