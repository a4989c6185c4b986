//! The `relay` command. What it can do is the command table in [`cli`].

mod cli;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: relay::allocator::Allocator = relay::allocator::Allocator;

/// jemalloc's options. With an arena for each few threads, what lives long is strewn over all of them
/// and keeps their pages: 49 MB stayed of four minutes of attacks. Threads have caches before the one.
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
