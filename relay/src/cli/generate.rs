//! `relay generate`: what a package has beside the program, made from the command table, so that it
//! cannot differ from the program.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

use super::{Arguments, Console, Outcome};

/// The section of man pages for the administrator's commands.
const SECTION: &str = "8";

/// Where a shell looks for completions, below `share` of its prefix.
const SHELLS: [(Shell, &str, &str); 3] = [
    (Shell::Bash, "bash-completion/completions", "relay"),
    (Shell::Zsh, "zsh/vendor-completions", "_relay"),
    (Shell::Fish, "fish/vendor_completions.d", "relay.fish"),
];

#[derive(Args, Debug)]
pub(super) struct GenerateArguments {
    /// The directory that becomes /usr/share or /usr/local/share; files in it are replaced.
    directory: PathBuf,
}

pub(super) fn run(
    arguments: &GenerateArguments,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let share = &arguments.directory;
    for (shell, below, name) in SHELLS {
        let folder = folder(share, below)?;
        let written = generate_to(shell, &mut Arguments::command(), "relay", &folder)
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        let file = folder.join(name);
        if written != file {
            fs::rename(&written, &file)
                .with_context(|| format!("cannot rename {}", written.display()))?;
        }
        writeln!(console.out, "{}", file.display())?;
    }
    let folder = folder(share, &format!("man/man{SECTION}"))?;
    let mut command = Arguments::command();
    command.build();
    man_pages(command, "relay", &folder, console)
}

fn folder(share: &Path, below: &str) -> anyhow::Result<PathBuf> {
    let folder = share.join(below);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// One page for the command and one for each command below it.
fn man_pages(
    command: Command,
    name: &str,
    folder: &Path,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    for below in command.get_subcommands().filter(|it| it.get_name() != "help") {
        let name = format!("{name}-{}", below.get_name());
        man_pages(below.clone(), &name, folder, console)?;
    }
    let page = Man::new(command.display_name(name.to_owned())).section(SECTION);
    let mut text = Vec::new();
    page.render(&mut text)?;
    let file = folder.join(format!("{name}.{SECTION}"));
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    writeln!(console.out, "{}", file.display())?;
    Ok(Outcome::Yes)
}
