//! The length of files, and paths of one machine in them.

use super::{Finding, Tree, error, warning};

/// Lines of a file that is too long to read.
const LONG: usize = 400;
/// Lines of a file that probably has more than one purpose.
const TOO_LONG: usize = 500;

/// One file, one purpose.
pub fn rust_files_are_short(tree: &Tree) -> Vec<Finding> {
    tree.below("", ".rs")
        .filter_map(|(file, text)| match text.lines().count() {
            lines if lines > TOO_LONG => {
                Some(error(file, 0, format!("has {lines} lines; {TOO_LONG} are the most")))
            }
            lines if lines > LONG => {
                Some(warning(file, 0, format!("has {lines} lines; {LONG} are enough")))
            }
            _ => None,
        })
        .collect()
}

/// A checkout works at any path.
pub fn no_file_names_this_checkout(tree: &Tree) -> Vec<Finding> {
    let root = tree.root();
    tree.files()
        .flat_map(|(file, text)| {
            text.lines().enumerate().map(move |(index, line)| (file, index, line))
        })
        .filter(|(_, _, line)| line.contains(root))
        .map(|(file, index, _)| error(file, index + 1, "names the path of this checkout"))
        .collect()
}
