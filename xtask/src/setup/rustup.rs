//! The formatter and the linter, which a minimal rustup toolchain lacks.

use anyhow::{Context, Result};

use crate::process;

const COMPONENTS: [(&str, &str); 2] = [("rustfmt", "cargo-fmt"), ("clippy", "cargo-clippy")];

/// Adds the components that the active toolchain lacks.
pub fn install_components() -> Result<()> {
    for (component, program) in COMPONENTS {
        let version = [program.trim_start_matches("cargo-"), "--version"];
        // rustup puts a proxy on PATH even for absent components: only running it shows whether it
        // is there.
        if process::output(process::cargo().args(version)).is_ok() {
            continue;
        }
        println!("setup: adding the rustup component {component}");
        process::run(process::outside_cargo("rustup").args(["component", "add", component]))
            .with_context(|| {
                format!("`cargo {}` does not run and rustup cannot add it", version[0])
            })?;
    }
    Ok(())
}
