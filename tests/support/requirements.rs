//! A test's requirements, and the result if one is missing.
//!
//! If [`REQUIRE_KERNEL`] is `1`, as on a machine that `cargo xtask test` found suitable, a missing
//! requirement fails the test. Otherwise the test is skipped and says so directly on the terminal,
//! because the harness hides the output of a test that passes.

use std::env;
use std::fmt;
use std::io::Write;
use std::path::Path;

use crate::namespace;

/// If set to `1`, no test may skip itself.
pub const REQUIRE_KERNEL: &str = "RELAY_REQUIRE_KERNEL";

/// A requirement that a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Requirement {
    /// The superuser, who may load programs and create namespaces.
    Root,
    /// A daemon with the kernel half embedded.
    KernelHalf,
    /// Permission to create network namespaces.
    NetworkNamespaces,
    /// A program on `PATH`, by its name.
    Program(&'static str),
    /// A mechanism of Debian's Cyrus SASL, by the name of its plugin.
    SaslPlugin(&'static str),
}

impl Requirement {
    fn is_met(self) -> bool {
        match self {
            Self::Root => rustix::process::geteuid().is_root(),
            Self::KernelHalf => env::var_os("RELAY_KERNEL_OBJECT").is_some(),
            Self::NetworkNamespaces => Self::Root.is_met() && namespace::are_allowed(),
            Self::Program(name) => env::var_os("PATH").is_some_and(|path| {
                env::split_paths(&path).any(|folder| folder.join(name).is_file())
            }),
            Self::SaslPlugin(name) => {
                let architecture = env::consts::ARCH;
                let file = format!("/usr/lib/{architecture}-linux-gnu/sasl2/lib{name}.so");
                Path::new(&file).is_file()
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => formatter.write_str("it needs root"),
            Self::KernelHalf => {
                formatter.write_str("it needs the kernel half; run `cargo xtask test`")
            }
            Self::NetworkNamespaces => formatter.write_str("it needs network namespaces"),
            Self::Program(name) => {
                write!(formatter, "it needs {name}; run `cargo xtask setup`")
            }
            Self::SaslPlugin(name) => {
                write!(formatter, "it needs Cyrus SASL's {name}; run `cargo xtask setup`")
            }
        }
    }
}

/// Whether the test called `test` may run. If `false`, a message was printed and the test must
/// return.
///
/// # Panics
///
/// If no test may skip itself and a requirement is missing.
#[must_use]
pub fn met(test: &str, requirements: &[Requirement]) -> bool {
    let missing = requirements.iter().find(|requirement| !requirement.is_met());
    let required = env::var(REQUIRE_KERNEL).is_ok_and(|value| value == "1");
    match judge(missing.copied(), required) {
        Verdict::Run => true,
        Verdict::Skip(reason) => {
            say_skipped(test, &reason);
            false
        }
        Verdict::Fail(reason) => panic!("{test} must run here and cannot: {reason}"),
    }
}

/// Prints that a test returns without having run, because an optional requirement is missing.
pub fn say_skipped(test: &str, reason: &dyn fmt::Display) {
    // Not `eprintln!`: the harness hides such output of a passing test. A message that cannot be
    // written is not worth a failure.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {reason}");
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Run,
    Skip(Requirement),
    Fail(Requirement),
}

fn judge(missing: Option<Requirement>, required: bool) -> Verdict {
    match missing {
        None => Verdict::Run,
        Some(requirement) if required => Verdict::Fail(requirement),
        Some(requirement) => Verdict::Skip(requirement),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_requirement_skips_or_fails_but_never_passes() {
        let missing = Some(Requirement::Root);
        assert_eq!(judge(None, true), Verdict::Run);
        assert_eq!(judge(missing, false), Verdict::Skip(Requirement::Root));
        assert_eq!(judge(missing, true), Verdict::Fail(Requirement::Root));
    }

    #[test]
    fn a_program_is_looked_for_on_the_path() {
        assert!(Requirement::Program("sh").is_met());
        assert!(!Requirement::Program("no-such-program-of-relay").is_met());
    }
}
