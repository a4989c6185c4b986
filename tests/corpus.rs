//! A short run of each fuzz target without libFuzzer: the committed inputs, `fuzz/corpus/TARGET/*`,
//! and changed copies of them go through the same checks. The copies are the same in each run;
//! `cargo xtask fuzz` searches for new inputs.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::fuzz::{TARGETS, Target};

/// Changed copies for each target: seconds in all, in a build without optimisation.
const COPIES: usize = 4_000;
/// The seed of the copies. Another number gives others.
const SEED: u64 = 0x5321;
/// Longest copy, so that one input cannot take the time of many.
const COPY_OCTETS: usize = 16 * 1024;

fn main() -> ExitCode {
    let trials = TARGETS.map(|target| Trial::test(target.0, move || replay(target)));
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn replay((name, check): Target) -> Result<(), Failed> {
    let files = corpus(name)?;
    if files.is_empty() {
        return Err("the corpus is empty".into());
    }
    let mut inputs = Vec::new();
    for file in files {
        let input = fs::read(&file)?;
        // The panic itself has printed the fault, but not the input.
        catch_unwind(AssertUnwindSafe(|| check(&input)))
            .map_err(|_| format!("{} does not hold", file.display()))?;
        inputs.push(input);
    }
    let mut random = fastrand::Rng::with_seed(SEED);
    for _ in 0..COPIES {
        let input = changed_copy(&inputs, &mut random);
        catch_unwind(AssertUnwindSafe(|| check(&input)))
            .map_err(|_| format!("\"{}\" does not hold", input.escape_ascii()))?;
    }
    Ok(())
}

/// One of these inputs with some changes: octets changed, a part removed or doubled, or a part of
/// another inserted.
fn changed_copy(inputs: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let any = |random: &mut fastrand::Rng| &inputs[random.usize(..inputs.len())][..];
    let mut copy = any(random).to_vec();
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(..=copy.len());
        let end = (at + random.usize(..=24)).min(copy.len());
        match random.u8(..4) {
            0 => copy[at..end].iter_mut().for_each(|octet| *octet = random.u8(..)),
            1 => drop(copy.drain(at..end)),
            2 => {
                let twice = copy[at..end].to_vec();
                drop(copy.splice(at..at, twice));
            }
            _ => {
                let other = any(random);
                let from = random.usize(..=other.len());
                let to = (from + random.usize(..=64)).min(other.len());
                drop(copy.splice(at..at, other[from..to].iter().copied()));
            }
        }
    }
    copy.truncate(COPY_OCTETS);
    copy
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
