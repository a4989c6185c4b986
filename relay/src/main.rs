//! The `relay` command. What it can do is the command table in [`cli`].

mod cli;

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// glibc keeps what is freed between things that live long: after four thousand sessions that held
/// much, 125 MB stayed with a daemon that used 23. SQLite has glibc's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
