//! Rules for texts: dialogues, limits, the README, commands in documents.

use super::{Finding, Tree, error};

const README_LINES: usize = 90;

/// The first line of a dialogue says what it shows.
pub fn dialogues_begin_with_a_sentence(tree: &Tree) -> Vec<Finding> {
    tree.below("", ".smtp")
        .filter(|(_, text)| {
            let first = text.lines().next().unwrap_or_default();
            let sentence = first.strip_prefix('#').unwrap_or_default().trim();
            !sentence.contains(' ')
        })
        .map(|(file, _)| error(file, 1, "a dialogue must begin with `# ` and a sentence"))
        .collect()
}

/// A number without a unit or a source cannot be checked. The unit is the type; or the comment
/// begins with the counted things, in the plural; or it uses a word of the constant's name.
pub fn limits_name_unit_or_source(tree: &Tree) -> Vec<Finding> {
    /// Sources, and the one unit that is a relation; a backquote marks an Exchange parameter.
    const SOURCES: [&str; 4] = ["rfc ", "exchange", "`", "divisor"];
    let is_limits = |file: &str| file.ends_with("/limits.rs") || file.contains("/limits/");
    let mut findings = Vec::new();
    for (file, text) in tree.below("relay/", ".rs").filter(|(file, _)| is_limits(file)) {
        let mut comment = String::new();
        for (index, line) in text.lines().enumerate() {
            if let Some(sentence) = line.trim().strip_prefix("///") {
                comment.push_str(&sentence.to_lowercase());
            } else if let Some(constant) = line.strip_prefix("pub const ") {
                let name = constant.split(':').next().unwrap_or_default().to_lowercase();
                let mut words = name.split('_').map(|word| word.trim_end_matches('s'));
                let first = comment.split_whitespace().next().unwrap_or_default();
                let has_unit = constant.contains(": Duration")
                    || first.trim_end_matches([',', '\'']).ends_with('s')
                    || words.any(|word| word.len() >= 3 && comment.contains(word))
                    || SOURCES.iter().any(|source| comment.contains(source));
                if comment.is_empty() {
                    findings.push(error(file, index + 1, "a limit needs a comment"));
                } else if !has_unit {
                    findings.push(error(
                        file,
                        index + 1,
                        "a limit's comment must name its unit or source",
                    ));
                }
                comment.clear();
            } else if !line.trim_start().starts_with("#[") {
                comment.clear();
            }
        }
    }
    findings
}

/// The dictionary of the configuration's fuzzer has every key of the shipped file, also keys in
/// comments.
pub fn the_fuzzer_knows_every_key(tree: &Tree) -> Vec<Finding> {
    const DICTIONARY: &str = "fuzz/dictionaries/configuration";
    let words = tree.file(DICTIONARY).unwrap_or_default();
    let mut findings = Vec::new();
    for (index, line) in tree.file("deploy/relay.toml").unwrap_or_default().lines().enumerate() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        let table = line.trim_matches(['[', ']']);
        let key = line.split_once(" = ").map_or(table, |(key, _)| key);
        let is_key = key.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_');
        let is_one = line.starts_with('[') || line.contains(" = ");
        if is_one && is_key && !words.contains(&format!("\"{key}\"")) {
            let says = format!("`{key}` is not in {DICTIONARY}");
            findings.push(error("deploy/relay.toml", index + 1, says));
        }
    }
    findings
}

/// The README says what this is and where to read more.
pub fn readme_is_short(tree: &Tree) -> Vec<Finding> {
    let lines = tree.file("README.md").map_or(0, |text| text.lines().count());
    if lines < README_LINES {
        return Vec::new();
    }
    vec![error(
        "README.md",
        lines,
        format!("has {lines} lines; it must have less than {README_LINES}"),
    )]
}

/// A document that sends its reader to a file sends the reader to one that exists.
pub fn documents_name_existing_files(tree: &Tree) -> Vec<Finding> {
    const ROOTS: [&str; 6] =
        ["relay/", "relay-common/", "relay-ebpf/", "tests/", "xtask/", "fuzz/"];
    let is_path = |word: &&str| {
        let is_source = word.ends_with(".rs") || word.ends_with(".md");
        is_source
            && ROOTS.iter().any(|root| word.starts_with(root))
            && !word.contains(['{', '*'])
            && !word.contains("NAME")
    };
    let mut findings = Vec::new();
    for (file, text) in tree.below("", ".md") {
        for (index, line) in text.lines().enumerate() {
            let words = line.split(['`', ' ', '(', ')', ',', ';']);
            for path in words.filter(is_path).filter(|path| tree.file(path).is_none()) {
                findings.push(error(file, index + 1, format!("there is no file {path}")));
            }
        }
    }
    findings
}

/// A command in a document exists.
pub fn documents_name_existing_verbs(tree: &Tree) -> Vec<Finding> {
    let verbs = crate::verbs();
    let mut findings = Vec::new();
    for (file, text) in tree.below("", ".md") {
        for (index, line) in text.lines().enumerate() {
            for (start, command) in line.match_indices("cargo xtask ") {
                let rest = &line[start + command.len()..];
                let verb: String = rest
                    .chars()
                    .take_while(|character| character.is_ascii_lowercase() || *character == '-')
                    .collect();
                if !verb.is_empty() && !verbs.contains(&verb) {
                    findings.push(error(file, index + 1, format!("there is no verb {verb}")));
                }
            }
        }
    }
    findings
}
