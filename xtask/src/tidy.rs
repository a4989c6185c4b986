//! `cargo xtask tidy`: the rules that the compiler does not check. Each rule is one function from
//! the tree's text to findings, and has a test that shows that it can fail.

mod circles;
mod documents;
mod layers;
mod parameters;
mod size;
#[cfg(test)]
mod tests;
mod tree;
mod words;

use anyhow::{Result, bail};

pub use self::tree::Tree;
use crate::workspace::Workspace;

/// A violation of a rule.
#[derive(Debug)]
struct Finding {
    file: String,
    /// Counted from one; zero for the whole file.
    line: usize,
    says: String,
    severity: Severity,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Severity {
    Warning,
    Error,
}

type Rule = fn(&Tree) -> Vec<Finding>;

/// Every rule, in the order their findings are printed.
const RULES: [Rule; 17] = [
    layers::protocol_and_policy_touch_no_world,
    layers::one_crate_names_a_library,
    layers::relay_common_stands_alone,
    layers::pure_crates_depend_on_no_world,
    layers::only_command_line_uses_anyhow,
    circles::modules_form_no_circle,
    documents::dialogues_begin_with_a_sentence,
    documents::limits_name_unit_or_source,
    documents::the_fuzzer_knows_every_key,
    documents::readme_is_short,
    documents::documents_name_existing_verbs,
    documents::documents_name_existing_files,
    parameters::exchange_parameters_are_told_and_tested,
    words::public_types_have_a_name_of_their_own,
    words::sentences_name_who_acts,
    size::rust_files_are_short,
    size::no_file_names_this_checkout,
];

/// The verb.
pub fn run(workspace: &Workspace) -> Result<()> {
    let tree = Tree::read(workspace.root())?;
    let findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    for Finding { file, line, says, severity } in &findings {
        let severity = if *severity == Severity::Error { "error" } else { "warning" };
        println!("{severity}: {file}:{line}: {says}");
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if errors > 0 {
        bail!("{errors} rules are broken");
    }
    println!("tidy: {} files, {} rules", tree.files().count(), RULES.len());
    Ok(())
}

fn error(file: &str, line: usize, says: impl Into<String>) -> Finding {
    Finding { file: file.to_owned(), line, says: says.into(), severity: Severity::Error }
}

fn warning(file: &str, line: usize, says: impl Into<String>) -> Finding {
    Finding { severity: Severity::Warning, ..error(file, line, says) }
}
