//! `cargo xtask crates`: the crates in layers, from `cargo metadata`.
//!
//! A crate is one layer above the highest crate that it depends on. A dependency that follows from
//! another one is left out, so that the picture shows each path once. Dependencies of tests are
//! left out. `docs/ARCHITECTURE.md` has the same text; `cargo xtask test` compares the two.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process;
use crate::workspace::Workspace;

const DOCUMENT: &str = "docs/ARCHITECTURE.md";
const BEGIN: &str = "<!-- cargo xtask crates -->\n```\n";
const END: &str = "```\n<!-- end -->\n";

/// Each crate with the crates of this workspace that it depends on.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Options of the verb.
#[derive(clap::Args)]
pub struct Arguments {
    /// Write the picture to docs/ARCHITECTURE.md.
    #[arg(long)]
    write: bool,
}

/// The verb.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let picture = picture(&graph(&metadata(workspace)?)?)?;
    print!("{picture}");
    if arguments.write {
        let path = workspace.root().join(DOCUMENT);
        let text = fs::read_to_string(&path)?;
        fs::write(&path, with_picture(&text, &picture)?)?;
    }
    Ok(())
}

/// Compares the picture in the document with the crates.
///
/// # Errors
/// They differ.
pub fn check(workspace: &Workspace) -> Result<()> {
    let picture = picture(&graph(&metadata(workspace)?)?)?;
    let text = fs::read_to_string(workspace.root().join(DOCUMENT))?;
    ensure!(
        parts(&text)?.1 == picture,
        "the crates in {DOCUMENT} are not those of Cargo; run `cargo xtask crates --write`"
    );
    Ok(())
}

/// The text before the picture, the picture, and the text after it.
fn parts(text: &str) -> Result<(&str, &str, &str)> {
    let missing = || format!("{DOCUMENT} has no picture of the crates");
    let (before, rest) = text.split_once(BEGIN).with_context(missing)?;
    let (drawn, after) = rest.split_once(END).with_context(missing)?;
    Ok((before, drawn, after))
}

fn with_picture(text: &str, picture: &str) -> Result<String> {
    let (before, _, after) = parts(text)?;
    Ok([before, BEGIN, picture, END, after].concat())
}

fn metadata(workspace: &Workspace) -> Result<Value> {
    let mut command = process::cargo();
    command.args(["metadata", "--format-version", "1", "--no-deps"]);
    let output = command.current_dir(workspace.root()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The crates of the daemon; tools and tests are left out.
fn graph(metadata: &Value) -> Result<Graph> {
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let root = metadata["workspace_root"].as_str().unwrap_or_default();
    // Below the root: the checkout itself may be in a directory of any name.
    let is_product = |package: &&Value| {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let below = manifest.strip_prefix(root).unwrap_or_default();
        below.starts_with("/relay/") || below.starts_with("/relay-common/")
    };
    let packages: Vec<_> = packages.iter().filter(is_product).collect();
    let crates: BTreeSet<_> = packages.iter().map(|package| name(package)).collect();
    let dependencies = |package: &Value| {
        let all = package["dependencies"].as_array().into_iter().flatten();
        // The kind of a normal dependency is null.
        let normal = all.filter(|dependency| dependency["kind"].is_null()).map(name);
        normal.filter(|name| crates.contains(name)).collect()
    };
    Ok(packages.iter().map(|package| (name(package), dependencies(package))).collect())
}

/// One line for each crate, in layers from the ground up.
fn picture(graph: &Graph) -> Result<String> {
    let mut layers: BTreeMap<&str, usize> = BTreeMap::new();
    while layers.len() < graph.len() {
        let known = layers.len();
        for (name, below) in graph {
            let heights = below.iter().map(|name| layers.get(name.as_str()).copied());
            let height: Option<Vec<_>> = heights.collect();
            if let Some(height) = height {
                let height = height.into_iter().max().map_or(0, |highest| highest + 1);
                layers.entry(name).or_insert(height);
            }
        }
        ensure!(layers.len() > known, "the crates depend on each other in a circle");
    }
    let mut order: Vec<_> = layers.iter().map(|(name, layer)| (*layer, *name)).collect();
    order.sort_unstable();
    let width = graph.keys().map(String::len).max().unwrap_or_default();
    let mut text = String::new();
    for (layer, name) in order {
        let below: Vec<_> = direct(graph, name).into_iter().map(short).collect();
        let line = format!("{layer}  {name:width$}  {}", below.join(" "));
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(text)
}

/// The dependencies that do not follow from another one.
fn direct<'g>(graph: &'g Graph, name: &str) -> Vec<&'g str> {
    let below = &graph[name];
    let follows = |candidate: &String| below.iter().any(|other| reaches(graph, other, candidate));
    below.iter().filter(|candidate| !follows(candidate)).map(String::as_str).collect()
}

fn reaches(graph: &Graph, from: &str, to: &str) -> bool {
    graph[from].iter().any(|below| below == to || reaches(graph, below, to))
}

fn short(name: &str) -> &str {
    name.strip_prefix("relay-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph_of(crates: &[(&str, &[&str])]) -> Graph {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        crates.iter().map(|(name, below)| ((*name).to_owned(), names(below))).collect()
    }

    #[test]
    fn layers_follow_the_longest_way_and_each_way_is_shown_once() {
        let graph = graph_of(&[
            ("relay", &["relay-session", "relay-mail"]),
            ("relay-session", &["relay-policy", "relay-mail"]),
            ("relay-policy", &["relay-mail"]),
            ("relay-mail", &[]),
        ]);
        let picture = picture(&graph).unwrap();
        let expected = "0  relay-mail\n1  relay-policy   mail\n2  relay-session  policy\n3  relay          session\n";
        assert_eq!(picture, expected);
    }

    #[test]
    fn the_picture_replaces_the_one_before_and_nothing_else() {
        let document = |picture: &str| format!("# Title\n{BEGIN}{picture}{END}rest\n");
        for before in ["", "0  gone\n"] {
            let written = with_picture(&document(before), "0  relay-mail\n").unwrap();
            assert_eq!(written, document("0  relay-mail\n"));
        }
        assert!(with_picture("# Title\n", "0  relay-mail\n").is_err());
    }

    #[test]
    fn a_circle_is_an_error() {
        let graph = graph_of(&[("a", &["b"]), ("b", &["a"]), ("c", &[])]);
        assert!(picture(&graph).is_err());
    }
}
