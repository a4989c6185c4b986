//! `relay run`: the daemon, in the foreground.

use clap::Args;
use relay::daemon::{self, StartError};
use relay::logging;
use relay_config::LoadError;
use relay_host::error_chain::error_chain;
use relay_host::privileges::with_user;

use super::{ConfigurationFile, Console, Outcome, print_refusals};

#[derive(Args, Debug)]
pub(super) struct RunArguments {
    #[command(flatten)]
    configuration: ConfigurationFile,
}

pub(super) fn run(arguments: &RunArguments, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let result = daemon::run(&arguments.configuration.path);
    let outcome = match result {
        Ok(()) => Ok(Outcome::Yes),
        // Logging starts after the configuration is loaded, so refusals are printed here.
        Err(StartError::Config(LoadError::Refused(refusals))) => {
            print_refusals(&refusals, console)?;
            Ok(Outcome::Unusable)
        }
        // Use the log's thread: a write to standard error could block for ever.
        Err(error)
            if logging::write_to_standard_error(&with_user(format!(
                "relay: {}",
                error_chain(&error)
            ))) =>
        {
            Ok(Outcome::Unusable)
        }
        Err(error) => Err(error.into()),
    };
    logging::finish();
    outcome
}
