//! `relay explain`: what would happen to a message, and why.
//!
//! Exit 0: every recipient would be accepted; 1: a recipient would be refused; 2: an error in the
//! question or the configuration.

use std::convert::Infallible;
use std::net::{AddrParseError, SocketAddr};
use std::time::Instant;

use clap::Args;
use relay::control::{ControlRequest, QuestionText};
use relay::daemon::explain::{
    Beaten, Explained, ExplainedReply, ExplainedRight, ExplainedRoute, ExplainedRule, Live,
    certificate,
};
use relay_connector::connection::canonical;
use relay_connector::{ClientAddress, ConnectorIds};
use relay_explanation::{Question, explain};
use relay_mail::hello::HelloName;
use relay_mail::path::{AddressError, ForwardPath, ReversePath};
use relay_mail::user_name::UserName;

use super::{Asked, Console, DaemonAccess, Outcome};

#[derive(Args, Debug)]
pub(super) struct ExplainArguments {
    #[command(flatten)]
    pub(super) access: DaemonAccess,
    /// Ask the running daemon: with its rules, its limits, and inquiries at other servers.
    #[arg(long)]
    live: bool,
    /// The client's address.
    #[arg(long, value_name = "ADDRESS")]
    from: ClientAddress,
    /// The local address and port of the connection.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = local)]
    to_binding: SocketAddr,
    /// The sender; `<>` for the null sender.
    #[arg(long, value_name = "MAILBOX", value_parser = sender)]
    mail_from: ReversePath,
    /// A recipient; may be given several times.
    #[arg(long, value_name = "MAILBOX", value_parser = recipient, required = true)]
    rcpt_to: Vec<ForwardPath>,
    /// The client's name in EHLO; by default its address in brackets.
    #[arg(long, value_name = "NAME", value_parser = helo)]
    helo: Option<HelloName>,
    /// The client starts TLS.
    #[arg(long)]
    tls: bool,
    /// A host name in the client's certificate, which counts as verified; may be given several
    /// times.
    #[arg(long, value_name = "NAME")]
    client_certificate: Vec<String>,
    /// The client authenticates as this user, with the right password.
    #[arg(long, value_name = "USER")]
    auth: Option<UserName>,
    /// The client asks for SMTPUTF8, which addresses that are not ASCII need.
    #[arg(long)]
    smtputf8: bool,
    /// Octets of the message.
    #[arg(long, value_name = "OCTETS")]
    size: Option<u64>,
}

pub(super) fn run(
    arguments: ExplainArguments,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let question = arguments.question();
    let mut min_free_space = None;
    let explained = if arguments.live {
        let request = ControlRequest::Explain(Box::new(arguments.question_text()));
        match arguments.access.ask(&request, console)? {
            Asked::Answer(answer) => serde_json::from_value(answer)?,
            Asked::Printed(outcome) => return Ok(outcome),
        }
    } else {
        let Some(config) = arguments.access.common.load(console)? else {
            return Ok(Outcome::Unusable);
        };
        let rules = config.rules(&mut ConnectorIds::default(), 1)?;
        min_free_space = Some(config.queue.min_free_space);
        Explained::new(&explain(Instant::now(), &rules, &question)).with_routes(
            &config.routes,
            &question,
            |_| None,
        )
    };
    if arguments.access.common.json {
        console.json(&serde_json::to_value(&explained)?)?;
    } else {
        print(&question, &explained, console)?;
        if let Some(octets) = min_free_space.filter(|_| explained.accepted) {
            writeln!(
                console.out,
                "By the configuration alone: limits, back pressure and a disk with less than \
                 {octets} octets free (min_free_space) may refuse it; --live asks the daemon."
            )?;
        }
    }
    Ok(if explained.accepted { Outcome::Yes } else { Outcome::No })
}

impl ExplainArguments {
    fn question(&self) -> Question {
        Question {
            remote: self.from,
            local: self.to_binding,
            helo: self.helo.clone(),
            tls: self.tls,
            client_certificate: certificate(self.client_certificate.clone()),
            auth: self.auth.clone(),
            smtputf8: self.smtputf8,
            sender: self.mail_from.clone(),
            recipients: self.rcpt_to.clone(),
            size: self.size,
        }
    }

    fn question_text(&self) -> QuestionText {
        QuestionText {
            from: self.from.ip(),
            to_binding: self.to_binding,
            helo: self.helo.as_ref().map(|name| name.as_str().to_owned()),
            tls: self.tls,
            client_certificate: self.client_certificate.clone(),
            auth: self.auth.as_ref().map(ToString::to_string),
            smtputf8: self.smtputf8,
            mail_from: format!("<{}>", self.mail_from),
            rcpt_to: self.rcpt_to.iter().map(|recipient| format!("<{recipient}>")).collect(),
            size: self.size,
        }
    }
}

/// An IPv4 address written as IPv6 is the same address.
fn local(text: &str) -> Result<SocketAddr, AddrParseError> {
    text.parse().map(canonical)
}

fn sender(text: &str) -> Result<ReversePath, AddressError> {
    ReversePath::parse(&bracketed(text))
}

fn recipient(text: &str) -> Result<ForwardPath, AddressError> {
    ForwardPath::parse(&bracketed(text))
}

/// Angle brackets are special characters of the shell, so they are optional.
fn bracketed(text: &str) -> String {
    if text.starts_with('<') { text.to_owned() } else { format!("<{text}>") }
}

fn helo(text: &str) -> Result<HelloName, Infallible> {
    Ok(HelloName::read(text))
}

fn print(
    question: &Question,
    explained: &Explained,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let out = &mut *console.out;
    writeln!(out, "{} connects to {}", question.remote, question.local)?;
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
    writeln!(out, "  binding    {}", or_none(&explained.binding))?;
    match (&explained.connector, explained.connector_line) {
        (Some(connector), Some(line)) => writeln!(out, "  connector  {connector} (line {line})")?,
        _ => writeln!(out, "  connector  none")?,
    }
    if let (Some(range), Some(line)) = (&explained.range, explained.range_line) {
        writeln!(out, "  range      {range} (line {line})")?;
    }
    for Beaten { connector, range, line } in &explained.beaten {
        writeln!(out, "             smaller than {range} of {connector} (line {line})")?;
    }
    if let Some(principal) = &explained.principal {
        let user = explained.user.as_ref().map(|user| format!(" {user}")).unwrap_or_default();
        writeln!(out, "  principal  {principal}{user}")?;
    }
    for (heading, has) in [("may", true), ("may not", false)] {
        let rights = explained.rights.iter().filter(|right| right.has == has);
        for (number, ExplainedRight { permission, because, .. }) in rights.enumerate() {
            let heading = if number == 0 { heading } else { "" };
            writeln!(out, "  {heading:9}  {permission}: {because}")?;
        }
    }
    if let Some(Live { generation, limits, pressure, disk, guard }) = &explained.live {
        writeln!(out, "  live       generation {generation}, back pressure {pressure}")?;
        if let Some(disk) = disk {
            writeln!(
                out,
                "  disk       {} octets free, min_free_space {}",
                disk.free_octets, disk.min_free_space
            )?;
        }
        if let Some(guard) = guard {
            let drops = guard.drops.as_deref().unwrap_or("nothing");
            let dropped: u64 = guard.dropped.values().sum();
            writeln!(
                out,
                "  guard      drops SYNs of this client because of {drops}; {dropped} SYNs so far"
            )?;
        }
        for limit in limits {
            writeln!(out, "  limit      {}: {} of {}", limit.limit, limit.used, limit.most)?;
        }
    }
    writeln!(out)?;
    for ExplainedReply { command, code, enhanced, text, because } in &explained.replies {
        if !command.is_empty() {
            writeln!(out, "C: {command}")?;
        }
        let enhanced = enhanced.as_ref().map(|enhanced| format!("{enhanced} "));
        let enhanced = enhanced.unwrap_or_default();
        let last = text.lines().count().saturating_sub(1);
        for (number, line) in text.lines().enumerate() {
            let separator = if number < last { '-' } else { ' ' };
            writeln!(out, "S: {code}{separator}{enhanced}{line}")?;
        }
        for ExplainedRule { rule, found, .. } in because {
            writeln!(out, "     {rule}: {found}")?;
        }
    }
    if !explained.routes.is_empty() {
        writeln!(out)?;
    }
    for ExplainedRoute { recipient, because, next_hop, tls, waits } in &explained.routes {
        let tls = tls.as_ref().map(|tls| format!(", tls {tls}")).unwrap_or_default();
        writeln!(out, "route for {recipient}: {next_hop}{tls}, by {because}")?;
        if let Some(why) = waits {
            writeln!(out, "     now: {why}")?;
        }
    }
    // The next hop decides about the message only when it has the message.
    let verdict = if explained.accepted {
        "Accepted: this host would accept the message for every recipient."
    } else {
        "Refused: this host would not accept the message for every recipient."
    };
    writeln!(out, "\n{verdict}")?;
    Ok(())
}
