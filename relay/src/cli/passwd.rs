//! `relay passwd`: sets a user's password, or removes the user.
//!
//! The password is read from the terminal, twice and without echo, or from the first line of
//! standard input. It is not an argument, because every user of the host can read arguments.

use std::io::{self, BufRead, IsTerminal, Read as _};

use anyhow::{Context, bail};
use clap::Args;
use relay::limits::PASSWORD_OCTETS;
use relay_config::user_entry::{UserChange, UserChanged, change};
use relay_config::{Config, LoadError, users};
use relay_mail::user_name::UserName;
use relay_users::SendAs;
use relay_users::password::Password;

use super::{ConfigurationFile, Console, Outcome, print_refusals, printed};

#[derive(Args, Debug)]
pub(super) struct PasswdArguments {
    #[command(flatten)]
    configuration: ConfigurationFile,
    /// The user.
    #[arg(value_name = "USER")]
    name: UserName,
    /// An address, or @domain, as which the user may send; may be given several times. Replaces the
    /// user's current list.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "remove")]
    send_as: Vec<SendAs>,
    /// Remove the user.
    #[arg(long)]
    remove: bool,
}

pub(super) fn run(
    arguments: &PasswdArguments,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let config = Config::load_without_users(&arguments.configuration.path);
    let Some(config) = printed(config, console)? else { return Ok(Outcome::Unusable) };
    let Some(authentication) = config.authentication else {
        bail!(
            "{}: no users file is configured; add [authentication] with users_file",
            arguments.configuration.path.display()
        );
    };
    let file = authentication.users_file;
    // Report errors of the users file before the password is asked for.
    if file.exists() {
        match users::load(&file) {
            Ok(_) => {}
            Err(LoadError::Refused(refusals)) => {
                print_refusals(&refusals, console)?;
                return Ok(Outcome::Unusable);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let wanted = if arguments.remove {
        UserChange::Remove
    } else {
        let password = Password::new(&read_password(&arguments.name)?)?;
        let send_as = (!arguments.send_as.is_empty()).then(|| arguments.send_as.clone());
        UserChange::Set { password, send_as }
    };
    let done =
        change(&file, &arguments.name, &wanted).with_context(|| file.display().to_string())?;
    let what = match done {
        UserChanged::Added => "added",
        UserChanged::Changed => "changed",
        UserChanged::Removed => "removed",
        UserChanged::NotThere => {
            writeln!(console.err, "{}: there is no user {}", file.display(), arguments.name)?;
            return Ok(Outcome::No);
        }
    };
    let name = &arguments.name;
    writeln!(console.out, "{}: {name} {what}; `relay reload` puts it in force", file.display())?;
    Ok(Outcome::Yes)
}

fn read_password(name: &UserName) -> anyhow::Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let mut line = String::new();
        stdin.lock().take(PASSWORD_OCTETS + 1).read_line(&mut line)?;
        if line.len() as u64 > PASSWORD_OCTETS {
            bail!("the password is longer than {PASSWORD_OCTETS} octets");
        }
        let line = line.strip_suffix('\n').unwrap_or(&line);
        return Ok(line.strip_suffix('\r').unwrap_or(line).to_owned());
    }
    let password = rpassword::prompt_password(format!("Password of {name}: "))?;
    if rpassword::prompt_password("Once more: ")? != password {
        bail!("the two passwords differ");
    }
    Ok(password)
}
