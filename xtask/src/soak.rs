//! `cargo xtask soak`: the long form of the live test of tags under reloads.

use anyhow::Result;

use crate::bench;
use crate::workspace::Workspace;

/// The verb.
pub fn run(workspace: &Workspace) -> Result<()> {
    bench::run_target(workspace, "soak")
}
