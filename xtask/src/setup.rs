//! `cargo xtask setup`: installs missing packages and tools for building and testing.
//!
//! It checks before it installs, so a second run installs nothing. It never asks a question. If it
//! may not or cannot install something, it prints the command to type and continues: the daemon
//! builds and most tests run without the kernel half. Each file below knows one kind of tool.

mod clippy;
mod debian;
mod deny;
mod linker;
pub mod peers;
mod rustup;
mod toolchain;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

pub use self::toolchain::{TARGET, Toolchain, sysroot};
use crate::process;
use crate::workspace::Workspace;

/// Programs that the guests need in addition to root, and the packages that have them.
pub const GUEST_PROGRAMS: &[(&str, &str)] = &[
    ("busybox", "busybox-static"),
    ("cpio", "cpio"),
    ("mmdebstrap", "mmdebstrap"),
    ("nsenter", "util-linux"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("setpriv", "util-linux"),
    ("systemd-nspawn", "systemd-container"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

/// The tools of the machine after setup.
pub struct Machine {
    /// The compiler of the kernel half; if absent, `missing` has the reason.
    pub kernel_compiler: Option<KernelCompiler>,
    /// The directory of the unpacked `smtp-source` and `smtp-sink` of Postfix.
    pub postfix: Option<PathBuf>,
    /// The unpacked Exim.
    pub exim: Option<PathBuf>,
    /// Python's own tests; their messages are test data.
    pub python_tests: Option<PathBuf>,
    /// The checker of licences.
    pub cargo_deny: Option<PathBuf>,
    /// Missing tools: a sentence each, with the command that installs it.
    pub missing: Vec<String>,
}

/// A compiler and a linker that together make BPF objects.
pub struct KernelCompiler {
    /// The compiler and its `core`.
    pub toolchain: Toolchain,
    /// The linker's path.
    pub linker: PathBuf,
    /// The linter of the same version; builds do not need it.
    pub clippy: Option<PathBuf>,
}

/// The verb.
pub fn run(workspace: &Workspace) -> Result<()> {
    let machine = prepare(workspace)?;
    match &machine.kernel_compiler {
        Some(compiler) => println!(
            "setup: the kernel half is built by {}, linked by {}",
            compiler.toolchain,
            compiler.linker.display()
        ),
        None => println!("setup: the kernel half cannot be built here"),
    }
    if machine.missing.is_empty() {
        println!("setup: nothing is missing");
    }
    Ok(())
}

/// Installs missing tools, prints the ones that are still missing, and returns the available ones.
pub fn prepare(workspace: &Workspace) -> Result<Machine> {
    let mut missing = Vec::new();
    install_packages(&mut missing);
    note(&mut missing, rustup::install_components());
    let toolchain = note(&mut missing, toolchain::find_or_install());
    let linker = note(&mut missing, linker::find_or_install(workspace));
    let postfix = note(&mut missing, peers::postfix(workspace));
    let exim = note(&mut missing, peers::exim(workspace));
    let python_tests = note(&mut missing, peers::python_tests(workspace));
    let cargo_deny = deny::find_or_install(workspace)
        .inspect_err(|error| eprintln!("setup: MISSING: {error:#}"))
        .ok();
    for sentence in &missing {
        eprintln!("setup: MISSING: {sentence}");
    }
    let kernel_compiler = match (toolchain, linker) {
        (Some(toolchain), Some(linker)) => {
            let clippy = clippy::find_or_unpack(workspace, &toolchain)
                .inspect_err(|error| eprintln!("setup: no lints for the kernel half: {error:#}"))
                .ok();
            Some(KernelCompiler { toolchain, linker, clippy })
        }
        _ => None,
    };
    Ok(Machine { kernel_compiler, postfix, exim, python_tests, cargo_deny, missing })
}

/// The distribution's packages: programs, and the compiler for BPF unless one is here already.
fn install_packages(missing: &mut Vec<String>) {
    const PROGRAMS: &[(&str, &str)] = &[
        ("bpftool", "bpftool"),
        ("dkimsign", "python3-dkim"),
        ("faketime", "faketime"),
        ("haproxy", "haproxy"),
        ("ip", "iproute2"),
        ("make", "make"),
        ("msmtp", "msmtp"),
        ("nsd", "nsd"),
        ("openssl", "openssl"),
        ("rspamd", "rspamd"),
        ("strace", "strace"),
        ("swaks", "swaks"),
    ];
    // Without these swaks has neither IPv6 nor TLS; its package only recommends them.
    const PERL_MODULES: [(&str, &str); 2] =
        [("IO::Socket::INET6", "libio-socket-inet6-perl"), ("Net::SSLeay", "libnet-ssleay-perl")];
    let programs = PROGRAMS
        .iter()
        .chain(GUEST_PROGRAMS)
        .filter(|(name, _)| process::find_program(name).is_none());
    let modules = PERL_MODULES.iter().filter(|(name, _)| !has_perl_module(name));
    let mut wanted: Vec<debian::Choice> =
        programs.chain(modules).map(|(_, package)| debian::Choice::one(package)).collect();
    // Postfix uses these for AUTH.
    let plugin = format!("/usr/lib/{}-linux-gnu/sasl2/libscram.so", env::consts::ARCH);
    if !Path::new(&plugin).is_file() {
        wanted.push(debian::Choice::one("libsasl2-modules"));
    }
    if toolchain::find().is_none() {
        wanted.push(debian::Choice::first_offered(&toolchain::DEBIAN_PACKAGES));
    }
    if !wanted.is_empty() {
        note(missing, debian::install(&wanted));
    }
}

fn has_perl_module(module: &str) -> bool {
    process::output(Command::new("perl").args([&format!("-M{module}"), "-e", "1"])).is_ok()
}

/// Turns an error into a sentence of the list of missing tools.
fn note<T>(missing: &mut Vec<String>, result: Result<T>) -> Option<T> {
    result.map_err(|error| missing.push(format!("{error:#}"))).ok()
}
