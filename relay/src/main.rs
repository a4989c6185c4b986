//! The `relay` command. [`cli`] has the command table.

mod cli;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: relay::allocator::Allocator = relay::allocator::Allocator;

/// jemalloc's options. With one arena for each few threads, long-lived objects are spread over all
/// arenas and keep their pages: 49 MB remained after four minutes of attacks. Threads have caches
/// before the single arena.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_OPTIONS: &[u8; 10] = b"narenas:1\0";

fn main() -> ExitCode {
    cli::main()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_allocator_has_its_options() {
        assert_eq!(tikv_jemalloc_ctl::opt::narenas::read().unwrap(), 1);
    }
}
