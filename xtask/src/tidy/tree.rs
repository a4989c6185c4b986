//! The checkout's text files, in memory.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Text files by their path below the root, with `/` between folders.
pub struct Tree {
    root: String,
    files: Vec<(String, String)>,
}

impl Tree {
    /// Reads every text file below `root`, except those of tools: `.git` and `target` directories.
    pub fn read(root: &Path) -> Result<Self> {
        let mut tree = Self { root: root.display().to_string(), files: Vec::new() };
        tree.read_folder(root, "")?;
        tree.files.sort();
        Ok(tree)
    }

    /// A tree in memory only.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let own = |&(path, text): &(&str, &str)| (path.to_owned(), text.to_owned());
        Self { root: "/checkout/of/user".to_owned(), files: files.iter().map(own).collect() }
    }

    /// The checkout's absolute path.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Path and text of every file.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The files below `folder` (all of them for an empty one) whose name ends in `ending`.
    pub fn below(&self, folder: &str, ending: &str) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(move |(path, _)| path.starts_with(folder) && path.ends_with(ending))
    }

    /// The text of one file.
    pub fn file(&self, wanted: &str) -> Option<&str> {
        self.files().find(|(path, _)| *path == wanted).map(|(_, text)| text)
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> Result<()> {
        let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if name == ".git" || name == "target" {
                continue;
            }
            if kind.is_dir() {
                self.read_folder(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file()
                && let Ok(text) = String::from_utf8(fs::read(entry.path())?)
            {
                self.files.push((path, text));
            }
        }
        Ok(())
    }
}

/// A Rust file's lines of production code, numbered from one: without line comments, and without
/// code for unit tests, anywhere in the file.
pub fn production_code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut tests = Tests::default();
    text.lines()
        .enumerate()
        .filter(move |(_, line)| !tests.contain(line))
        .map(|(index, line)| (index + 1, line.find("//").map_or(line, |start| &line[..start])))
}

/// Follows items under `#[cfg(test)]`. In formatted code an item ends with a semicolon, or with a
/// brace at the indentation of its first line.
#[derive(Default)]
struct Tests {
    /// The indentation of the current item.
    margin: Option<usize>,
}

impl Tests {
    fn contain(&mut self, line: &str) -> bool {
        let code = line.trim();
        let margin = line.len() - line.trim_start().len();
        let Some(of_item) = self.margin else {
            self.margin = (code == "#[cfg(test)]").then_some(margin);
            return self.margin.is_some();
        };
        let is_last = margin == of_item && (code.ends_with(';') || code.starts_with('}'));
        if is_last || margin == of_item && code.ends_with(['}', ',']) && !code.starts_with('#') {
            self.margin = None;
        }
        true
    }
}

/// Whether `code` contains `word` as a whole identifier or path.
pub fn names(code: &str, word: &str) -> bool {
    let part_of_name = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).any(|(start, _)| {
        let before = code[..start].chars().next_back();
        let after = code[start + word.len()..].chars().next();
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}
