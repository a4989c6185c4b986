//! The command table. Nouns read, verbs change.
//!
//! Each command is one file. It prints results and decides nothing. Results go to standard output,
//! findings and errors to standard error.

mod access;
mod check;
mod connectors;
mod explain;
mod generate;
mod import;
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
/// Exit codes: 0 done, or yes; 1 no; 2 an error in the command line or the configuration; 3 not
/// known, because no daemon answers or the records are incomplete.
#[derive(Debug, Parser)]
#[command(name = "relay", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration as the daemon would read it; print errors and warnings.
    Check(check::CheckArguments),
    /// Show the connector of each range, in order of precedence.
    Connectors(connectors::ConnectorsArguments),
    /// Explain what would happen to a message, and why.
    Explain(explain::ExplainArguments),
    /// Write shell completions and man pages into a directory, for the makers of packages.
    Generate(generate::GenerateArguments),
    /// Import the configuration of another mail server, with a report about each property.
    Import(import::ImportArguments),
    /// Set a user's password, or remove a user.
    Passwd(passwd::PasswdArguments),
    /// Manage the messages in the queue.
    Queue(queue::QueueArguments),
    /// Reload the configuration of the running daemon. If it has an error, nothing changes.
    Reload(reload::ReloadArguments),
    /// Run the daemon in the foreground.
    Run(run::RunArguments),
    /// Run the classic open-relay tests against the configuration, without a connection.
    Selftest(selftest::SelftestArguments),
    /// Show the state of the running daemon.
    Status(status::StatusArguments),
    /// Show the events of a message, found by queue id or by sender, recipient, Message-ID, client
    /// and time. Reads the message tracking log and the queue, with or without a running daemon.
    ///
    /// Exit codes: 0 found; 1 not found, and the records are complete; 3 not found, but the log has
    /// a gap, the queue could not be asked, or a refusal may be the message.
    Trace(Box<trace::TraceArguments>),
}

/// The configuration file of a command.
#[derive(Args, Debug)]
struct ConfigurationFile {
    /// The configuration file.
    #[arg(
        short = 'c',
        long = "config",
        id = "config",
        value_name = "FILE",
        env = "RELAY_CONFIG",
        default_value = "/etc/relay/relay.toml"
    )]
    path: PathBuf,
}

/// Options of all commands that read a configuration.
#[derive(Args, Debug)]
struct Common {
    #[command(flatten)]
    configuration: ConfigurationFile,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The result of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Done, or yes.
    Yes,
    /// No.
    No,
    /// An error in the command line or the configuration.
    Unusable,
    /// Not known: no daemon answers, or the records are incomplete.
    Unknown,
}

/// The output of a command.
struct Console<'w> {
    out: &'w mut dyn Write,
    err: &'w mut dyn Write,
    /// The terminal behind `err`, for the program's own control sequences, which `err` would show
    /// as text. `None` if standard error is no terminal.
    terminal: Option<&'w mut dyn Write>,
    /// Standard input is a terminal.
    in_is_terminal: bool,
}

/// Runs the command of the command line.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Output may contain text from a client, which must not control the terminal.
    let mut out = PrintableWriter::new(BufWriter::new(io::stdout()));
    let err = logging::Console::stderr();
    // Neither stream has a buffer, so their output appears in order.
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
            // If standard error is closed, the error cannot be reported.
            let _ = writeln!(err, "relay: {}", error_chain(error.as_ref()));
            Outcome::of(&error).into()
        }
    }
}

/// Runs a command. If the command prints JSON, an error is a JSON object too.
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
        Command::Generate(arguments) => generate::run(&arguments, console),
        Command::Import(arguments) => import::run(&arguments, console),
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
            // `check` prints errors itself, as findings.
            Self::Check(_) | Self::Generate(_) | Self::Passwd(_) | Self::Run(_) => false,
            Self::Connectors(arguments) => arguments.common.json,
            Self::Explain(arguments) => arguments.access.common.json,
            Self::Import(arguments) => arguments.prints_json(),
            Self::Queue(arguments) => arguments.common().json,
            Self::Reload(arguments) => arguments.access.common.json,
            Self::Selftest(arguments) => arguments.common.json,
            Self::Status(arguments) => arguments.access.common.json,
            Self::Trace(arguments) => arguments.access.daemon.common.json,
        }
    }
}

impl Outcome {
    /// The exit code for an error.
    fn of(error: &anyhow::Error) -> Self {
        match error.downcast_ref::<ControlError>() {
            Some(ControlError::Output(_)) | None => Self::Unusable,
            Some(_) => Self::Unknown,
        }
    }
}

impl Common {
    /// The configuration; `None` if it was refused and the refusals were printed.
    fn load(&self, console: &mut Console<'_>) -> anyhow::Result<Option<Config>> {
        printed(Config::load(&self.configuration.path), console)
    }
}

/// A configuration; `None` if it was refused and the refusals were printed.
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

/// The answer of the running daemon, unless it was printed already.
enum Asked {
    Answer(Value),
    Printed(Outcome),
}

impl Console<'_> {
    /// Can the command ask a question? Standard input and standard error must be terminals.
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

/// For example, in `relay connectors | head`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
