//! `cargo xtask fuzz`: builds the targets of `fuzz/` and runs each for a set time.
//!
//! Stable Rust is enough: libFuzzer's coverage needs no sanitizer. New inputs stay in the target
//! directory. `--keep` copies the few inputs with the most coverage into `fuzz/corpus`, which
//! `cargo test` replays.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::process;
use crate::workspace::Workspace;

/// Installed if there is no cargo-fuzz.
const VERSION: &str = "0.13.2";

/// Octets of the largest input, by target; 1024 by default. Two frames, a command line over its
/// limit, and a session of a few messages fit.
const MOST_OCTETS: [(&str, usize); 5] = [
    ("command", 4200),
    ("configuration", 4096),
    ("content", 4096),
    ("ranges", 193),
    ("session", 4096),
];
/// Inputs of a committed corpus: `cargo test` replays them, and every clone downloads them.
const MOST_KEPT: usize = 50;
/// Seconds for one input, on a machine that also has other work.
const MOST_SECONDS: usize = 10;

/// Which targets, and for how long.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only this target.
    #[arg(long)]
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Copy into fuzz/corpus the inputs with the most coverage, from it and from all found here.
    #[arg(long)]
    keep: bool,
}

/// The verb.
pub fn run(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    ensure!(arguments.seconds > 0, "--seconds 0 would never end");
    let known = targets(workspace)?;
    let wanted = match arguments.target {
        Some(target) if known.contains(&target) => vec![target],
        Some(target) => bail!("no target is called {target}; there are {}", known.join(", ")),
        None => known,
    };
    let folder = build(workspace, &wanted)?;
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for target in &wanted {
        let campaign = Campaign::new(workspace, &folder, target)?;
        println!("fuzz: {target} for {} s", arguments.seconds);
        match campaign.run(arguments.seconds) {
            Ok(found) => rows.push((target, found)),
            Err(error) => {
                eprintln!("fuzz: {target} FAILED: {error:#}");
                failed.push(target.as_str());
            }
        }
        if arguments.keep {
            campaign.keep()?;
        }
    }
    println!(
        "\n{:<14} {:>12} {:>9} {:>9} {:>8}",
        "target", "executions", "per s", "coverage", "corpus"
    );
    for (target, Found { executions, per_second, coverage, corpus }) in rows {
        println!("{target:<14} {executions:>12} {per_second:>9} {coverage:>9} {corpus:>8}");
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// The targets, by their files.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let files = files(&workspace.root().join("fuzz/fuzz_targets"))?;
    let name = |file: &PathBuf| Some(file.file_stem()?.to_string_lossy().into_owned());
    Ok(files.iter().filter_map(name).collect())
}

/// Builds these targets and returns the directory of their programs.
fn build(workspace: &Workspace, targets: &[String]) -> Result<PathBuf> {
    let cargo_fuzz = find_or_install(workspace)?;
    let target_directory = workspace.target().join("fuzz");
    let host = host()?;
    let only = match targets {
        [target] => Some(target),
        _ => None,
    };
    let mut build = process::outside_cargo(cargo_fuzz);
    build.args(["build", "--sanitizer", "none", "--target", &host, "--target-dir"]);
    build.arg(&target_directory).args(only).current_dir(workspace.root());
    process::run(&mut build)?;
    Ok(target_directory.join(host).join("release"))
}

/// cargo-fuzz on `PATH` or in our own tools, otherwise a new one there.
fn find_or_install(workspace: &Workspace) -> Result<PathBuf> {
    let own = workspace.tools().join("bin/cargo-fuzz");
    let on_path = process::find_program("cargo-fuzz");
    if let Some(found) = [Some(own.clone()), on_path].into_iter().flatten().find(|it| it.is_file())
    {
        return Ok(found);
    }
    println!("fuzz: building cargo-fuzz {VERSION}, which takes some minutes");
    let mut install = process::outside_cargo("cargo");
    install.args(["install", "cargo-fuzz", "--version", VERSION, "--locked", "--root"]);
    process::run(install.arg(workspace.tools()))?;
    Ok(own)
}

/// The compiler's host target: cargo-fuzz puts programs into a directory of that name.
fn host() -> Result<String> {
    let version = process::output(Command::new("rustc").arg("-vV"))?;
    let line = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc prints no host")?.to_owned())
}

/// One target's program and directories.
struct Campaign {
    program: PathBuf,
    committed: PathBuf,
    /// Inputs found by earlier runs on this machine.
    found: PathBuf,
    dictionary: PathBuf,
    artifacts: PathBuf,
    most_octets: usize,
}

/// The result of a run.
struct Found {
    executions: String,
    per_second: String,
    coverage: String,
    corpus: usize,
}

impl Campaign {
    fn new(workspace: &Workspace, programs: &Path, target: &str) -> Result<Self> {
        let fuzz = workspace.root().join("fuzz");
        let campaign = Self {
            program: programs.join(target),
            committed: fuzz.join("corpus").join(target),
            found: workspace.target().join("fuzz/corpus").join(target),
            dictionary: fuzz.join("dictionaries").join(target),
            artifacts: fuzz.join("artifacts").join(target),
            most_octets: MOST_OCTETS.iter().find(|it| it.0 == target).map_or(1024, |it| it.1),
        };
        for folder in [&campaign.committed, &campaign.found, &campaign.artifacts] {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        Ok(campaign)
    }

    fn run(&self, seconds: u32) -> Result<Found> {
        let mut command = self.command();
        command.arg(format!("-max_total_time={seconds}"));
        command.args(["-print_final_stats=1", "-rss_limit_mb=2048"]);
        // Only the end of a long log is printed: it contains the panic message.
        command.env("RUST_BACKTRACE", "0");
        command.arg(format!("-artifact_prefix={}/", self.artifacts.display()));
        if self.dictionary.is_file() {
            command.arg(format!("-dict={}", self.dictionary.display()));
        }
        // libFuzzer writes new inputs into the first directory.
        command.arg(&self.found).arg(&self.committed);
        let output = command.stdin(Stdio::null()).output().context("the target does not start")?;
        let log = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(40)..].join("\n");
            bail!("{}, input in {}\n{end}", output.status, self.artifacts.display());
        }
        let number = |name| statistic(&log, name).unwrap_or("?").to_owned();
        Ok(Found {
            executions: number("stat::number_of_executed_units:"),
            per_second: number("stat::average_exec_per_sec:"),
            coverage: coverage(&log).unwrap_or("?").to_owned(),
            corpus: files(&self.committed)?.len() + files(&self.found)?.len(),
        })
    }

    /// Copies into fuzz/corpus the inputs that together reach the most edges. Edge counters would
    /// also distinguish the number of loop iterations.
    fn keep(&self) -> Result<()> {
        let best = tempfile::tempdir_in(&self.artifacts)?;
        let mut command = self.command();
        command.args(["-set_cover_merge=1", "-use_counters=0"]);
        command.arg(best.path()).arg(&self.committed).arg(&self.found);
        process::output(&mut command)?;
        for file in files(&self.committed)?.into_iter().filter(|file| is_found(file)) {
            fs::remove_file(file)?;
        }
        // libFuzzer writes the inputs in order of the additional coverage that they give.
        let mut best = files(best.path())?;
        best.sort_by_cached_key(|file| fs::metadata(file).and_then(|it| it.modified()).ok());
        for file in best.iter().take(MOST_KEPT) {
            let name = file.file_name().context("a file has a name")?;
            fs::copy(file, self.committed.join(name))?;
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = process::outside_cargo(&self.program);
        command.arg(format!("-max_len={}", self.most_octets));
        command.arg(format!("-timeout={MOST_SECONDS}"));
        command
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// libFuzzer names an input by its SHA-1. An input with another name was added by a person and must
/// stay.
fn is_found(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.len() == 40 && name.bytes().all(|octet| octet.is_ascii_hexdigit())
}

/// The value in one line of libFuzzer's closing statistics.
fn statistic<'log>(log: &'log str, name: &str) -> Option<&'log str> {
    log.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The last number of edges, as in `#512 DONE cov: 83 ft: 90 corp: 3/12b`.
fn coverage(log: &str) -> Option<&str> {
    let line = log.lines().rev().find(|line| line.contains(" cov: "))?;
    line.split(" cov: ").nth(1)?.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_libfuzzer_are_parsed() {
        let log = "#2\tINITED cov: 40 ft: 41 corp: 1/1b\n#512\tDONE   cov: 83 ft: 90 corp: 3/12b\n\
                   stat::number_of_executed_units: 512\nstat::average_exec_per_sec:     256\n";
        assert_eq!(statistic(log, "stat::number_of_executed_units:"), Some("512"));
        assert_eq!(statistic(log, "stat::average_exec_per_sec:"), Some("256"));
        assert_eq!(coverage(log), Some("83"));
        assert!(is_found(Path::new("a/002708ea4b1b48bfceede6b7fa30b9512874348d")));
        assert!(!is_found(Path::new("a/lone_dot_after_cr")));
        assert_eq!((coverage("x"), statistic("x", "stat::y:")), (None, None));
    }
}
