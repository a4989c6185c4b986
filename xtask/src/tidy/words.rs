//! The words of the tree: no two types of one name, and none of the words that the style guide rules
//! out.

use std::collections::BTreeMap;

use super::{Finding, Tree, error};

/// Words that hide who acts. The style guide says which ones replace them.
const HIDING: [&str; 6] = ["anew", "lest", "nobody", "somebody", "whatever", "whoever"];

/// It quotes the words that it rules out.
const STYLE_GUIDE: &str = "docs/style.md";

/// In the product a type that other modules can see has a name of its own.
pub fn public_types_have_a_name_of_their_own(tree: &Tree) -> Vec<Finding> {
    let mut owners: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
    for (file, text) in tree.below("relay", ".rs").filter(|(file, _)| !is_test(file)) {
        for (index, line) in text.lines().enumerate() {
            if let Some(name) = public_type(line) {
                owners.entry(name).or_default().push((file, index + 1));
            }
        }
    }
    owners
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .flat_map(|(name, places)| {
            let (first, line) = places[0];
            places.into_iter().skip(1).map(move |(file, at)| {
                error(file, at, format!("the type `{name}` has its name from {first}:{line}"))
            })
        })
        .collect()
}

/// Sentences name who acts. The system's user `nobody` is written in quotes or backticks.
pub fn sentences_name_who_acts(tree: &Tree) -> Vec<Finding> {
    let is_text = |file: &str| {
        [".rs", ".md", ".toml"].iter().any(|ending| file.ends_with(ending)) && file != STYLE_GUIDE
    };
    let own = |file: &str| file.starts_with("xtask/src/tidy/");
    let mut findings = Vec::new();
    for (file, text) in tree.files().filter(|(file, _)| is_text(file) && !own(file)) {
        for (index, line) in text.lines().enumerate() {
            let lower = line.to_ascii_lowercase();
            let found = HIDING.iter().find(|word| has_word(&lower, word));
            findings.extend(found.map(|word| {
                error(file, index + 1, format!("`{word}`: name who acts, see {STYLE_GUIDE}"))
            }));
        }
    }
    findings
}

fn is_test(file: &str) -> bool {
    file.contains("/tests") || file.ends_with("tests.rs") || file.contains("/testing")
}

/// The name of a type that this line declares for other modules.
fn public_type(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(restricted) => restricted.split_once(") ")?.1,
        None => rest.strip_prefix(' ')?,
    };
    let (kind, rest) = rest.split_once(' ')?;
    if !["enum", "struct", "trait", "type", "union"].contains(&kind) {
        return None;
    }
    let end = rest.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(rest.len());
    Some(&rest[..end])
}

/// Does the line have the word in a sentence? In quotes, in backticks, and as a part of a name or a
/// setting it is data.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let is_part = |it: char| it.is_alphanumeric() || "_-`\"='\\:".contains(it);
        !before.is_some_and(|it| is_part(it) || it == '(') && !after.is_some_and(is_part)
    })
}
