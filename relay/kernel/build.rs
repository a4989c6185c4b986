//! Embeds the kernel half, if it was built.
//!
//! `cargo xtask build` compiles relay-ebpf and sets RELAY_KERNEL_OBJECT to the object. Without the
//! variable, as in a plain `cargo build`, the embedded object is empty, and the daemon reports that
//! if the kernel is configured.

use std::path::PathBuf;
use std::{env, fs};

const OBJECT: &str = "RELAY_KERNEL_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={OBJECT}");
    let output = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let object = match env::var_os(OBJECT).map(PathBuf::from) {
        Some(path) => {
            println!("cargo::rerun-if-changed={}", path.display());
            fs::read(&path).unwrap_or_else(|error| {
                panic!("{OBJECT}={}: {error}; build it with `cargo xtask build`", path.display())
            })
        }
        None => Vec::new(),
    };
    fs::write(output.join("kernel-half"), object).expect("OUT_DIR is writable");
}
