//! `relay explain`: what would become of a message, and why.
//!
//! Exit 0 when every recipient would be accepted, 1 when one would be refused, 2 when the
//! question or the configuration is at fault.

use std::net::{IpAddr, SocketAddr};

use clap::Args;
use relay::connector::{ConnectorIds, Permission};
use relay::policy::{Because, Explanation, Question, Rules, Step, explain};
use relay::smtp::command::HelloName;
use relay::smtp::path::{AddressError, ForwardPath, ReversePath};
use serde_json::{Value, json};

use super::rights::{rights, rights_as_json};
use super::{Common, Console, Outcome};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Where the client connects from.
    #[arg(long, value_name = "ADDRESS")]
    from: IpAddr,
    /// The local address and port that it connects to.
    #[arg(long, value_name = "ADDRESS:PORT")]
    to_binding: SocketAddr,
    /// The sender; `<>` for the null sender.
    #[arg(long, value_name = "MAILBOX", value_parser = sender)]
    mail_from: ReversePath,
    /// A recipient; may be given several times.
    #[arg(long, value_name = "MAILBOX", value_parser = recipient, required = true)]
    rcpt_to: Vec<ForwardPath>,
    /// What the client calls itself.
    #[arg(long, value_name = "NAME", value_parser = helo)]
    helo: Option<HelloName>,
    /// The client starts TLS.
    #[arg(long)]
    tls: bool,
    /// The client asks for SMTPUTF8, which addresses that are not ASCII need.
    #[arg(long)]
    smtputf8: bool,
    /// Octets of the message.
    #[arg(long, value_name = "OCTETS")]
    size: Option<u64>,
}

pub(super) fn run(arguments: Arguments, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let Some(config) = arguments.common.load(console)? else { return Ok(Outcome::Unusable) };
    let rules = Rules::build(&config, &mut ConnectorIds::default(), 1)?;
    let question = Question {
        remote: arguments.from,
        local: arguments.to_binding,
        helo: arguments.helo,
        tls: arguments.tls,
        smtputf8: arguments.smtputf8,
        sender: arguments.mail_from,
        recipients: arguments.rcpt_to,
        size: arguments.size,
    };
    let explanation = explain(&rules, &question);
    if arguments.common.json {
        console.json(&as_json(&explanation))?;
    } else {
        print(&question, &explanation, console)?;
    }
    Ok(if explanation.accepted { Outcome::Yes } else { Outcome::No })
}

fn sender(text: &str) -> Result<ReversePath, AddressError> {
    ReversePath::parse(&bracketed(text))
}

fn recipient(text: &str) -> Result<ForwardPath, AddressError> {
    ForwardPath::parse(&bracketed(text))
}

/// Angle brackets are the shell's, so they may be left out.
fn bracketed(text: &str) -> String {
    if text.starts_with('<') { text.to_owned() } else { format!("<{text}>") }
}

fn helo(text: &str) -> Result<HelloName, String> {
    HelloName::parse(text).map_err(|error| error.to_string())
}

fn as_json(explanation: &Explanation) -> Value {
    let permissions: Vec<_> = explanation.permissions.iter().map(Permission::name).collect();
    let rights = explanation.connector.as_ref().zip(explanation.principal);
    let rights = rights.map(|((connector, _), principal)| rights_as_json(connector, principal));
    let replies: Vec<_> = explanation.steps.iter().map(step_as_json).collect();
    let range = explanation
        .connector
        .as_ref()
        .and_then(|(connector, range)| connector.range(*range))
        .map(|range| range.text());
    json!({
        "connector": explanation.connector.as_ref().map(|(connector, _)| &connector.name),
        "range": range,
        "principal": explanation.principal.map(|principal| principal.name()),
        "permissions": permissions,
        "rights": rights,
        "replies": replies,
        "accepted": explanation.accepted,
    })
}

fn step_as_json(step: &Step) -> Value {
    let reply = &step.decision.reply;
    let because: Vec<_> = step
        .decision
        .because
        .iter()
        .map(|Because { rule, found }| json!({ "rule": rule, "found": found }))
        .collect();
    json!({
        "command": step.command,
        "code": reply.code,
        "enhanced": reply.enhanced.map(|enhanced| enhanced.to_string()),
        "text": reply.text,
        "because": because,
    })
}

fn print(
    question: &Question,
    explanation: &Explanation,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let out = &mut *console.out;
    writeln!(out, "{} connects to {}", question.remote, question.local)?;
    match explanation.binding {
        Some(binding) => writeln!(out, "  binding    {binding}")?,
        None => writeln!(out, "  binding    none")?,
    }
    match &explanation.connector {
        Some((connector, range)) => {
            writeln!(out, "  connector  {} (line {})", connector.name, connector.line)?;
            if let Some(range) = connector.range(*range) {
                writeln!(out, "  range      {range} (line {})", range.line)?;
            }
        }
        None => writeln!(out, "  connector  none")?,
    }
    if let Some(principal) = explanation.principal {
        writeln!(out, "  principal  {principal}")?;
    }
    if let (Some((connector, _)), Some(principal)) = (&explanation.connector, explanation.principal)
    {
        for (heading, rights) in rights(connector, principal) {
            for (number, (permission, source)) in rights.iter().enumerate() {
                let heading = if number == 0 { heading } else { "" };
                writeln!(out, "  {heading:9}  {permission}: {source}")?;
            }
        }
    }
    writeln!(out)?;
    for Step { command, decision } in &explanation.steps {
        if !command.is_empty() {
            writeln!(out, "C: {command}")?;
        }
        let mut octets = Vec::new();
        decision.reply.encode(&mut octets);
        for line in String::from_utf8_lossy(&octets).lines() {
            writeln!(out, "S: {line}")?;
        }
        for Because { rule, found } in &decision.because {
            writeln!(out, "     {rule}: {found}")?;
        }
    }
    let verdict = if explanation.accepted {
        "Accepted: every recipient would get the message."
    } else {
        "Refused: not every recipient would get the message."
    };
    writeln!(out, "\n{verdict}")?;
    Ok(())
}
