//! `relay run`: the daemon, in the foreground.

use std::path::PathBuf;

use clap::Args;
use relay::config::LoadError;
use relay::daemon::{self, StartError};

use super::{Console, Outcome, print_refusals};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(short, long = "config", value_name = "FILE", default_value = "/etc/relay/relay.toml")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    match daemon::run(&arguments.config) {
        Ok(()) => Ok(Outcome::Yes),
        Err(StartError::Config(LoadError::Refused(refusals))) => {
            print_refusals(&refusals, console)?;
            Ok(Outcome::Unusable)
        }
        Err(error) => Err(error.into()),
    }
}
