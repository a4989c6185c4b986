//! The command table. Nouns read, verbs change.
//!
//! Each command is one file, which prints and decides nothing. Results go to standard output,
//! findings and errors to standard error.

mod access;
mod check;
mod connectors;
mod explain;
mod passwd;
mod queue;
mod reload;
mod run;
mod selftest;
mod status;
mod trace;

#[cfg(test)]
mod tests;

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use relay::control::ControlError;
use relay::logging;
use relay_config::{Config, ConfigErrors, LoadError};
use relay_host::error_chain::error_chain;
use relay_mail::printable::PrintableWriter;
use serde_json::{Value, json};

use self::access::{DaemonAccess, FileAccess, Socket};

/// An SMTP relay with receive connectors, classified in the kernel.
///
/// Exit codes: 0 it was done, or the answer is yes; 1 the answer is no; 2 the command line or the
/// configuration is at fault; 3 it cannot be said, since no daemon answers or the records that would
/// tell are not whole.
#[derive(Debug, Parser)]
#[command(name = "relay", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read a configuration as the daemon would, and say what is wrong or unwise in it.
    Check(check::CheckArguments),
    /// Show which connector takes whom, in the order in which it is decided.
    Connectors(connectors::ConnectorsArguments),
    /// Show what would become of a message, and why.
    Explain(explain::ExplainArguments),
    /// Give a user a password, or take the user away.
    Passwd(passwd::PasswdArguments),
    /// Look after the messages that wait.
    Queue(queue::QueueArguments),
    /// Have the running daemon take its configuration anew: whole, or not at all.
    Reload(reload::ReloadArguments),
    /// Run the daemon in the foreground.
    Run(run::RunArguments),
    /// Play the classic open-relay set against the configuration, without a connection.
    Selftest(selftest::SelftestArguments),
    /// Show what the running daemon is doing.
    Status(status::StatusArguments),
    /// Show what became of a message, by its queue id or by sender, recipient, Message-ID, client and
    /// time: by the message tracking log and the queue, whether or not the daemon runs.
    ///
    /// Exits with 0 when something was found; with 1 when nothing was, and the records would have it;
    /// with 3 when nothing was found and that cannot be said, since the log has a gap, the queue
    /// could not be asked, or a refusal may be it.
    Trace(Box<trace::TraceArguments>),
}

/// Which configuration, and for whom to print: what all commands that read one share.
#[derive(Args, Debug)]
struct Common {
    /// The configuration file.
    #[arg(short, long = "config", value_name = "FILE", default_value = "/etc/relay/relay.toml")]
    config: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was done, or the answer is yes.
    Yes,
    /// The answer is no.
    No,
    /// The command line or the configuration is at fault.
    Unusable,
    /// It cannot be said: no daemon answers, or the records that would tell are not whole.
    Unknown,
}

/// Where a command prints.
struct Console<'w> {
    out: &'w mut dyn Write,
    err: &'w mut dyn Write,
    /// The terminal that `err` writes to, for the program's own control sequences, which `err` would
    /// show as text. `None` where nobody looks on.
    terminal: Option<&'w mut dyn Write>,
    /// Standard input is a terminal.
    in_is_terminal: bool,
}

/// Runs the command that the process was started with.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What is printed may have come from a stranger, who must not write to the terminal.
    let mut out = PrintableWriter::new(BufWriter::new(io::stdout()));
    let err = logging::Console::stderr();
    // Neither keeps what is written to it: what both write is shown in order.
    let mut stderr = io::stderr();
    let terminal = err.is_terminal().then_some(&mut stderr as &mut dyn Write);
    let mut err = PrintableWriter::new(err);
    let in_is_terminal = io::stdin().is_terminal();
    let mut console = Console { out: &mut out, err: &mut err, terminal, in_is_terminal };
    let outcome = answer(arguments.command, &mut console);
    let outcome = outcome.and_then(|outcome| {
        out.flush()?;
        Ok(outcome)
    });
    match outcome {
        Ok(outcome) => outcome.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is gone there is nobody left to tell.
            let _ = writeln!(err, "relay: {}", error_chain(error.as_ref()));
            Outcome::of(&error).into()
        }
    }
}

/// Runs a command. Where it prints JSON, an error is an object too.
fn answer(command: Command, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let json = command.prints_json();
    let outcome = run(command, console);
    if let Err(error) = &outcome
        && json
        && !is_broken_pipe(error)
    {
        console.json(&json!({ "error": error_chain(error.as_ref()) }))?;
        console.out.flush()?;
    }
    outcome
}

fn run(command: Command, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    match command {
        Command::Check(arguments) => check::run(&arguments, console),
        Command::Connectors(arguments) => connectors::run(&arguments, console),
        Command::Explain(arguments) => explain::run(arguments, console),
        Command::Passwd(arguments) => passwd::run(&arguments, console),
        Command::Queue(arguments) => queue::run(arguments, console),
        Command::Reload(arguments) => reload::run(&arguments, console),
        Command::Run(arguments) => run::run(&arguments, console),
        Command::Selftest(arguments) => selftest::run(&arguments, console),
        Command::Status(arguments) => status::run(&arguments, console),
        Command::Trace(arguments) => trace::run(*arguments, console),
    }
}

impl Command {
    fn prints_json(&self) -> bool {
        match self {
            // `check` says itself what is wrong, as findings.
            Self::Check(_) | Self::Passwd(_) | Self::Run(_) => false,
            Self::Connectors(arguments) => arguments.common.json,
            Self::Explain(arguments) => arguments.access.common.json,
            Self::Queue(arguments) => arguments.common().json,
            Self::Reload(arguments) => arguments.access.common.json,
            Self::Selftest(arguments) => arguments.common.json,
            Self::Status(arguments) => arguments.access.common.json,
            Self::Trace(arguments) => arguments.access.daemon.common.json,
        }
    }
}

impl Outcome {
    /// What an error means for the exit code.
    fn of(error: &anyhow::Error) -> Self {
        match error.downcast_ref::<ControlError>() {
            Some(ControlError::Output(_)) | None => Self::Unusable,
            Some(_) => Self::Unknown,
        }
    }
}

impl Common {
    /// The configuration, or `None` once its refusals are printed.
    fn load(&self, console: &mut Console<'_>) -> anyhow::Result<Option<Config>> {
        printed(Config::load(&self.config), console)
    }
}

/// A configuration, or `None` once its refusals are printed.
fn printed(
    loaded: Result<Config, LoadError>,
    console: &mut Console<'_>,
) -> anyhow::Result<Option<Config>> {
    match loaded {
        Ok(config) => Ok(Some(config)),
        Err(LoadError::Refused(refusals)) => {
            print_refusals(&refusals, console)?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What the running daemon said, unless that was printed already.
enum Asked {
    Answer(Value),
    Printed(Outcome),
}

impl Console<'_> {
    /// Is there somebody who sees a question and can answer it?
    fn can_ask(&self) -> bool {
        self.in_is_terminal && self.terminal.is_some()
    }

    /// Prints one JSON value on lines of its own.
    fn json(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.out, "{value:#}")
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Yes => 0,
            Outcome::No => 1,
            Outcome::Unusable => 2,
            Outcome::Unknown => 3,
        })
    }
}

fn print_refusals(refusals: &ConfigErrors, console: &mut Console<'_>) -> io::Result<()> {
    writeln!(console.err, "{refusals}")
}

/// `relay connectors | head` ends like this.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
