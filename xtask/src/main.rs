//! `cargo xtask`: the project's tools. One file per verb; this one only dispatches.
fn main() {}
