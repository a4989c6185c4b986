//! Runs every dialogue file below this directory in four modes: against the session line by line,
//! octet by octet and in one write, and against the server over a socket. All four results must
//! equal the file. The queued messages are then sent on, see [`next_hop`].
//!
//! [`explained`] compares `relay explain` with the same server.
//!
//! A file is one behaviour. Its first line is a comment that names it; [`script`] describes the
//! rest. `UPDATE_EXPECT=1` rewrites the server lines and the queue lines.

mod checks;
mod explained;
mod matching;
mod memory_queue;
mod next_hop;
mod player;
mod profile;
mod script;
mod socket;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::player::{Pace, Player};
use crate::script::Script;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("dialogues");
    let mut files = Vec::new();
    find(&root, &mut files).expect("the dialogues can be listed");
    files.sort();
    let explained = Trial::test("explained", || Ok(explained::run()?));
    let trials = files.into_iter().map(|file| {
        let name = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        Trial::test(name, move || run(&file))
    });
    libtest_mimic::run(&Arguments::from_args(), trials.chain([explained]).collect()).exit_code()
}

fn find(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension() == Some(OsStr::new("smtp")) {
            files.push(path);
        }
    }
    Ok(())
}

fn run(file: &Path) -> Result<(), Failed> {
    let text = fs::read_to_string(file)?;
    let script = Script::parse(&text)?;
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let mut player = Player::new(&script.settings)?;
        let turns = script.turns.iter().map(|turn| player.play(turn, Pace::Lines));
        let turns = turns.collect::<Result<Vec<_>, _>>()?;
        let updated = script::update(&text, &turns, &player.queued_lines());
        if updated != text {
            fs::write(file, updated)?;
        }
        return Ok(());
    }
    for pace in [Pace::Lines, Pace::Octets, Pace::OneWrite] {
        let mut player = Player::new(&script.settings)?;
        let turns = match pace {
            Pace::Lines | Pace::Octets => script.turns.clone(),
            Pace::OneWrite => script.merged_turns(),
        };
        for turn in &turns {
            let said = player.play(turn, pace)?;
            matching::lines(&turn.expected, &said)
                .map_err(|problem| format!("{pace:?}, line {}: {problem}", turn.line))?;
        }
        matching::lines(&script.queued, &player.queued_lines())
            .map_err(|problem| format!("{pace:?}, queued messages: {problem}"))?;
        next_hop::check(player.kept())?;
    }
    if socket::can_play(&script) {
        socket::play(&script)?
    }
    Ok(())
}
