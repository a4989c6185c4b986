//! `cargo xtask`: the project's tools. One file for each verb; this file only dispatches.

mod bench;
mod build_daemon;
mod crates;
mod demo;
mod ebpf;
mod fuzz;
mod guests;
mod package;
mod process;
mod run;
mod setup;
mod soak;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// The project's tools.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install missing packages and tools for building and testing; print what it installs.
    Setup,
    /// Build the kernel half and print the path of its object.
    Ebpf,
    /// Build target/release/relay with the kernel half embedded.
    Build(build_daemon::Arguments),
    /// Run the daemon in the foreground, with a sink as its next hop.
    Run,
    /// Run the article's scenario in network namespaces and check the results; needs root.
    Demo,
    /// Measure the cost of the kernel half, the memory of an idle session, and more.
    Bench(bench::Arguments),
    /// Compare the kernel's tags with brute force for 200,000 connections under reloads. Or, with
    /// `crash`, kill the daemon hundreds of times and count the messages that arrive.
    Soak(soak::Arguments),
    /// Search for inputs that break a parser, the session or the table of ranges.
    Fuzz(fuzz::Arguments),
    /// Boot Debian's kernels with the daemon in them, and the shipped unit under systemd; needs root.
    Guests(guests::Arguments),
    /// Make Debian packages of the daemon and of its debug information in target/package.
    Package(package::Arguments),
    /// Run all checks: formatting, lints, tidiness, and every test.
    Test,
    /// Print the crates and their dependencies, in layers.
    Crates(crates::Arguments),
    /// Check the rules that the compiler does not check.
    Tidy,
}

fn main() -> ExitCode {
    // Not returned from main: our own backtrace says nothing about a failed test.
    match dispatch(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Verb) -> Result<()> {
    let workspace = Workspace::find()?;
    match verb {
        Verb::Setup => setup::run(&workspace),
        Verb::Ebpf => ebpf::run(&workspace),
        Verb::Build(arguments) => build_daemon::run(&workspace, &arguments),
        Verb::Run => run::run(&workspace),
        Verb::Demo => demo::run(&workspace),
        Verb::Bench(arguments) => bench::run(&workspace, arguments),
        Verb::Soak(arguments) => soak::run(&workspace, arguments),
        Verb::Fuzz(arguments) => fuzz::run(&workspace, arguments),
        Verb::Guests(arguments) => guests::run(&workspace, &arguments),
        Verb::Package(arguments) => package::run(&workspace, &arguments),
        Verb::Test => test::run(&workspace),
        Verb::Crates(arguments) => crates::run(&workspace, &arguments),
        Verb::Tidy => tidy::run(&workspace),
    }
}

/// The verbs' names, for the check that documents name only existing verbs.
fn verbs() -> Vec<String> {
    use clap::CommandFactory;

    Arguments::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect()
}
