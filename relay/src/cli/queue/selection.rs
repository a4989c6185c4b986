//! Which messages are meant: the options that make a [`Filter`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use relay_config::{read_duration, read_size};
use relay_mail::domain_pattern::DomainPattern;
use relay_queue::filter::{Filter, Wildcard};

/// All that is given must hold of a message.
#[derive(Args, Clone, Debug)]
#[group(id = "Selection", multiple = true)]
pub(super) struct Selection {
    /// From this sender. `*` stands for anything, and `<>` is the null sender.
    #[arg(long, value_name = "ADDRESS", value_parser = wildcard)]
    sender: Option<Wildcard>,
    /// To this recipient, who still waits. `*` stands for anything.
    #[arg(long, value_name = "ADDRESS", value_parser = wildcard)]
    recipient: Option<Wildcard>,
    /// To a recipient in this domain who still waits; `*.DOMAIN` for all below it too.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<DomainPattern>,
    /// Deferred by a next hop whose name has this in it.
    #[arg(long, value_name = "TEXT", value_parser = part)]
    next_hop: Option<String>,
    /// Deferred for a reason that has this in it: a reply's text or code, or what we found.
    #[arg(long, value_name = "TEXT", value_parser = part)]
    because: Option<String>,
    /// Accepted longer ago, as in 30m, 4h, 2d or 01:30:00.
    #[arg(long, value_name = "TIME", value_parser = age)]
    older_than: Option<Duration>,
    /// Accepted less long ago.
    #[arg(long, value_name = "TIME", value_parser = age)]
    younger_than: Option<Duration>,
    /// Larger than this, in octets or as in "64 KB".
    #[arg(long, value_name = "SIZE", value_parser = size)]
    larger_than: Option<u64>,
    /// Smaller than this.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    smaller_than: Option<u64>,
    /// Held by an administrator.
    #[arg(long, conflicts_with = "deferred")]
    held: bool,
    /// Tried, and waiting for another attempt.
    #[arg(long)]
    deferred: bool,
}

impl Selection {
    /// What it means now. Ages become times, which mean the same however long it takes.
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

/// A blank text is in every other one: a forgotten variable of a script would mean every message.
fn part(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("write a part of it, which is not blank".to_owned()),
        text => Ok(text.to_owned()),
    }
}

pub(in crate::cli) fn wildcard(text: &str) -> Result<Wildcard, String> {
    let is_address = text.contains(['@', '*']) || text == "<>";
    if !text.is_empty() && !is_address && !text.eq_ignore_ascii_case("postmaster") {
        return Err(format!(
            "an address has an @, so nothing would match; for a domain write *@{text}"
        ));
    }
    // Everybody is not a sender, and neither is a forgotten variable of a script.
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
