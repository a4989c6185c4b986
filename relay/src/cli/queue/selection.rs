//! The options that select messages, and the [`Filter`] that they make.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use relay_config::{read_duration, read_size};
use relay_mail::domain_pattern::DomainPattern;
use relay_queue::filter::{Filter, Wildcard};

/// A message must match all given options.
#[derive(Args, Clone, Debug)]
#[group(id = "Selection", multiple = true)]
pub(super) struct Selection {
    /// Messages from this sender. `*` stands for any text; `<>` is the null sender.
    #[arg(long, value_name = "ADDRESS", value_parser = wildcard)]
    sender: Option<Wildcard>,
    /// Messages with this waiting recipient. `*` stands for any text.
    #[arg(long, value_name = "ADDRESS", value_parser = wildcard)]
    recipient: Option<Wildcard>,
    /// Messages with a waiting recipient in this domain; `*.DOMAIN` includes its subdomains.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<DomainPattern>,
    /// Messages deferred by a next hop whose name contains this text.
    #[arg(long, value_name = "TEXT", value_parser = part)]
    next_hop: Option<String>,
    /// Messages deferred for a reason that contains this text: a reply's text or code, or a local
    /// cause.
    #[arg(long, value_name = "TEXT", value_parser = part)]
    because: Option<String>,
    /// Messages older than this: 30m, 4h, 2d or 01:30:00.
    #[arg(long, value_name = "TIME", value_parser = age)]
    older_than: Option<Duration>,
    /// Messages younger than this.
    #[arg(long, value_name = "TIME", value_parser = age)]
    younger_than: Option<Duration>,
    /// Messages larger than this, in octets or as in "64 KB".
    #[arg(long, value_name = "SIZE", value_parser = size)]
    larger_than: Option<u64>,
    /// Messages smaller than this.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    smaller_than: Option<u64>,
    /// Messages that an administrator holds.
    #[arg(long, conflicts_with = "deferred")]
    held: bool,
    /// Messages that were tried and wait for another attempt.
    #[arg(long)]
    deferred: bool,
}

impl Selection {
    /// The filter. Ages become times now, so that a long command does not shift them.
    pub(super) fn filter(&self) -> Filter {
        let this = self.clone();
        let ago = |age: Duration| {
            let time = SystemTime::now().checked_sub(age).unwrap_or(UNIX_EPOCH);
            time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
        };
        Filter {
            sender: this.sender,
            recipient: this.recipient,
            domain: this.domain,
            next_hop: this.next_hop,
            because: this.because,
            arrived_before: this.older_than.map(ago),
            arrived_since: this.younger_than.map(ago),
            larger_than: this.larger_than,
            smaller_than: this.smaller_than,
            held: this.held.then_some(true),
            deferred: this.deferred,
        }
    }
}

/// Refuses a blank text, because every text contains it: an empty variable of a script would select
/// every message.
fn part(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("write a part of the text; it must not be blank".to_owned()),
        text => Ok(text.to_owned()),
    }
}

pub(in crate::cli) fn wildcard(text: &str) -> Result<Wildcard, String> {
    let is_address = text.contains(['@', '*']) || text == "<>";
    if !text.is_empty() && !is_address && !text.eq_ignore_ascii_case("postmaster") {
        return Err(format!("an address needs an @; for a domain write *@{text}"));
    }
    // An empty text is no sender; it may be an empty variable of a script.
    if text.is_empty() {
        Err("write <> for the null sender".to_owned())
    } else {
        Ok(Wildcard::new(text))
    }
}

fn age(text: &str) -> Result<Duration, String> {
    read_duration(text).ok_or_else(|| "write a number and a unit, as in 30m, 4h or 2d".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    read_size(text).ok_or_else(|| "write octets, or a text such as \"64 KB\"".to_owned())
}
