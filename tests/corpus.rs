//! Replays the inputs that fuzzing has found worth keeping, `fuzz/corpus/TARGET/*`, through the
//! same checks without libFuzzer: one test a target. `cargo xtask fuzz` looks for new ones.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::fuzz::{TARGETS, Target};

fn main() -> ExitCode {
    let trials = TARGETS.map(|target| Trial::test(target.0, move || replay(target)));
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn replay((name, check): Target) -> Result<(), Failed> {
    let files = corpus(name)?;
    if files.is_empty() {
        return Err("the corpus is empty".into());
    }
    for file in files {
        let input = fs::read(&file)?;
        // What was wrong has been printed by the panic itself; which input it was, has not.
        catch_unwind(AssertUnwindSafe(|| check(&input)))
            .map_err(|_| format!("{} does not hold", file.display()))?;
    }
    Ok(())
}

fn corpus(target: &str) -> io::Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}
