//! No circle between the modules of a crate: if one module uses a second, the second uses the first
//! neither directly nor by way of others. Between crates Cargo refuses circles.
//!
//! Modules are compared with their siblings; a module and the modules inside it are one. A module uses
//! another if a path in it begins at the crate, a parent or a child module and leads there. Paths are
//! followed through re-exports to the module that has the item. A call of a method names no path, so
//! this rule does not see it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Path, UseTree, Visibility};

use super::layers::is_test;
use super::{Finding, Tree, error};

/// Re-exports that lead from one to another. More would be a circle of their own.
const RE_EXPORTS: usize = 8;

/// A module's place below the root of its crate.
type Module = Vec<String>;

/// The modules of a crate depend on each other in one direction.
pub fn modules_form_no_circle(tree: &Tree) -> Vec<Finding> {
    let mut crates: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (file, text) in tree.below("", ".rs") {
        if let Some((of, _)) = file.split_once("/src/").filter(|_| !is_test(file)) {
            crates.entry(of).or_default().push((file, text));
        }
    }
    crates.iter().flat_map(|(of, files)| circles(of, files)).collect()
}

/// The circles of one crate.
fn circles(of: &str, files: &[(&str, &str)]) -> Vec<Finding> {
    let mut sources = BTreeMap::new();
    for (file, text) in files {
        match syn::parse_file(text) {
            Ok(parsed) => sources.insert(module_of(file), Source::read(&parsed)),
            Err(problem) => return vec![error(file, 0, format!("cannot be parsed: {problem}"))],
        };
    }
    let mut uses: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, source) in &sources {
        for end in source.paths.iter().filter_map(|path| end_of(&sources, module, path)) {
            if let Some((one, other)) = siblings(module, &end) {
                uses.entry(one).or_default().insert(other);
            }
        }
    }
    let mut reported = BTreeSet::new();
    let mut findings = Vec::new();
    for module in uses.keys() {
        if let Some(circle) = circle_from(&uses, module).filter(|_| !reported.contains(module)) {
            let names: Vec<_> = circle.iter().map(|module| module.join("::")).collect();
            findings.push(error(of, 0, format!("modules in a circle: {}", names.join(" uses "))));
            reported.extend(circle);
        }
    }
    findings
}

/// The modules beside each other in which two modules are. `None` if one is inside the other.
fn siblings(one: &Module, other: &Module) -> Option<(Module, Module)> {
    let common = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let below = |module: &Module| module.get(..=common).map(<[_]>::to_vec);
    Some((below(one)?, below(other)?))
}

/// The shortest way from a module back to itself, which stands at both ends.
fn circle_from(uses: &BTreeMap<Module, BTreeSet<Module>>, first: &Module) -> Option<Vec<Module>> {
    let mut came_from: BTreeMap<&Module, &Module> = BTreeMap::new();
    let mut waiting = VecDeque::from([first]);
    while let Some(module) = waiting.pop_front() {
        for next in uses.get(module).into_iter().flatten() {
            if !came_from.contains_key(next) {
                came_from.insert(next, module);
                waiting.push_back(next);
            }
        }
    }
    let mut way = vec![first.clone()];
    let mut at = *came_from.get(first)?;
    while at != first {
        way.push(at.clone());
        at = came_from.get(at)?;
    }
    way.push(first.clone());
    way.reverse();
    Some(way)
}

/// `relay/queue/src/sqlite/wal.rs` is the module `sqlite::wal`.
fn module_of(file: &str) -> Module {
    let below = file.split_once("/src/").map_or(file, |(_, below)| below);
    let path = below.trim_end_matches(".rs");
    let path = path.trim_end_matches("/mod");
    match path {
        // The root of a program is a module here, so that a crate may have a library beside it.
        "lib" => Vec::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

/// What one file names.
#[derive(Default)]
struct Source {
    /// Paths, as they stand in the file.
    paths: Vec<Module>,
    /// Names that other modules may import from here, and the paths that they stand for.
    re_exports: BTreeMap<String, Module>,
}

impl Source {
    fn read(parsed: &syn::File) -> Self {
        let mut reader = Reader::default();
        reader.visit_file(parsed);
        reader.source
    }
}

/// The module in which a path of `module` ends, if that is a module of this crate.
fn end_of(sources: &BTreeMap<Module, Source>, module: &Module, path: &Module) -> Option<Module> {
    let (mut module, mut path) = (module.clone(), path.clone());
    for _ in 0..RE_EXPORTS {
        let mut names = path.into_iter().peekable();
        let mut at = match names.peek().map(String::as_str)? {
            "crate" => Vec::new(),
            "self" | "super" => module.clone(),
            // A child of this module; any other path begins at another crate or at an import.
            first if is_child(sources, &module, first) => module.clone(),
            _ => return None,
        };
        while let Some(name) = names.next_if(|it| matches!(it.as_str(), "crate" | "self" | "super"))
        {
            if name == "super" {
                at.pop();
            }
        }
        while let Some(name) = names.next_if(|it| is_child(sources, &at, it)) {
            at.push(name);
        }
        let source = sources.get(&at);
        match names.next().and_then(|name| source?.re_exports.get(&name)) {
            Some(other) => (module, path) = (at, other.clone()),
            None => return Some(at),
        }
    }
    None
}

fn is_child(sources: &BTreeMap<Module, Source>, module: &Module, name: &str) -> bool {
    let mut child = module.clone();
    child.push(name.to_owned());
    sources.contains_key(&child)
}

/// Collects the paths of a file, except in code for tests.
#[derive(Default)]
struct Reader {
    /// Modules inside the file around the current item; `super` leads out of them first.
    depth: usize,
    source: Source,
}

impl Reader {
    fn add(&mut self, mut path: Module) {
        if self.depth > 0 && path.first().is_some_and(|first| first == "super") {
            path.drain(..1);
            path.insert(0, "self".to_owned());
        }
        self.source.paths.push(path);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if !attributes(item).iter().any(is_for_tests) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.depth += 1;
        visit::visit_item_mod(self, item);
        self.depth -= 1;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        for (name, path) in paths {
            if !matches!(item.vis, Visibility::Inherited) && self.depth == 0 {
                self.source.re_exports.insert(name, path.clone());
            }
            self.add(path);
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path.segments.len() > 1 {
            self.add(path.segments.iter().map(|it| it.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }
}

/// Every name that a `use` brings, with its path.
fn flatten(tree: &UseTree, prefix: &mut Module, into: &mut Vec<(String, Module)>) {
    let with = |name: String| prefix.iter().cloned().chain([name]).collect();
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            flatten(&path.tree, prefix, into);
            prefix.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            into.push((prefix.last().cloned().unwrap_or_default(), prefix.clone()));
        }
        UseTree::Name(name) => into.push((name.ident.to_string(), with(name.ident.to_string()))),
        UseTree::Rename(name) => into.push((name.rename.to_string(), with(name.ident.to_string()))),
        UseTree::Glob(_) => into.push((String::new(), prefix.clone())),
        UseTree::Group(group) => group.items.iter().for_each(|it| flatten(it, prefix, into)),
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]`, also beside the feature `testing`.
fn is_for_tests(attribute: &Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let words = list.tokens.to_string();
    list.path.is_ident("cfg")
        && words.split(|it: char| !it.is_alphanumeric()).any(|it| it == "test")
}
