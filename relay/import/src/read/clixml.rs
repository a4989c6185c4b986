//! The XML that `Export-Clixml` writes (`[MS-PSRP]` section 2.2.5).
//!
//! An object may stand for another by `Ref`. Serialised objects of .NET (`BA`) are the bulk of such a
//! file and are never decoded.

use std::cell::Cell;
use std::collections::HashMap;

use roxmltree::{Document, Node};

use super::{ExportError, is_needed};
use crate::limits::{CLIXML_DEPTH, CLIXML_ELEMENTS};
use crate::source::ExportedProperty;

/// The properties of each object.
///
/// # Errors
/// The text is not XML of Export-Clixml, or a value that the import needs has an unknown form.
pub(super) fn objects(text: &str) -> Result<Vec<Vec<ExportedProperty>>, ExportError> {
    let document = Document::parse(text).map_err(ExportError::NotXml)?;
    let root = document.root_element();
    if root.tag_name().name() != "Objs" {
        return Err(ExportError::NotClixml("the first element is not Objs"));
    }
    let is_object = |node: &Node<'_, '_>| node.tag_name().name() == "Obj";
    let with_id = document.descendants().filter(is_object);
    let known = with_id.filter_map(|node| Some((node.attribute("RefId")?, node))).collect();
    let reader = Reader { known, left: Cell::new(CLIXML_ELEMENTS) };
    let mut objects = Vec::new();
    for node in root.children().filter(Node::is_element) {
        match elements(node, "LST").next() {
            // A variable that held a list is one object.
            Some(list) => list.children().filter(Node::is_element).try_for_each(|node| {
                objects.push(reader.properties(objects.len() + 1, node)?);
                Ok(())
            })?,
            None => objects.push(reader.properties(objects.len() + 1, node)?),
        }
    }
    Ok(objects)
}

struct Reader<'a, 'input> {
    /// The objects that `Ref` may name.
    known: HashMap<&'a str, Node<'a, 'input>>,
    /// The elements that may still be read. `Ref` in lists of `Ref` could multiply a few of them.
    left: Cell<usize>,
}

impl<'a, 'input> Reader<'a, 'input> {
    fn properties(
        &self,
        number: usize,
        node: Node<'a, 'input>,
    ) -> Result<Vec<ExportedProperty>, ExportError> {
        let node = self.resolved(node).ok_or(ExportError::UnknownObject { number })?;
        let bags = elements(node, "Props").chain(elements(node, "MS"));
        let mut properties: Vec<ExportedProperty> = Vec::new();
        for value in bags.flat_map(|bag| bag.children()).filter(Node::is_element) {
            let Some(name) = value.attribute("N").map(unescaped) else { continue };
            let is_blob = value.tag_name().name() == "BA" && !is_needed(&name);
            if is_blob || properties.iter().any(|other| other.name.eq_ignore_ascii_case(&name)) {
                continue;
            }
            let mut values = Vec::new();
            if !self.texts(value, CLIXML_DEPTH, &mut values) && is_needed(&name) {
                return Err(ExportError::UnknownForm { number, property: name });
            }
            properties.push(ExportedProperty { name, values });
        }
        Ok(properties)
    }

    /// The object that a `Ref` stands for, or the node itself.
    fn resolved(&self, node: Node<'a, 'input>) -> Option<Node<'a, 'input>> {
        match node.tag_name().name() {
            "Ref" => self.known.get(node.attribute("RefId")?).copied(),
            _ => Some(node),
        }
    }

    /// The texts of a value; false if its form is unknown. `depth` ends the circles that `Ref` can make.
    fn texts(&self, node: Node<'a, 'input>, depth: usize, into: &mut Vec<String>) -> bool {
        self.left.set(self.left.get().saturating_sub(1));
        if depth == 0 || self.left.get() == 0 {
            return false;
        }
        let Some(node) = self.resolved(node) else { return false };
        match node.tag_name().name() {
            "Nil" => true,
            "BA" => false,
            "B" => {
                let is_true = node.text().is_some_and(|text| text.eq_ignore_ascii_case("true"));
                into.push(if is_true { "True" } else { "False" }.to_owned());
                true
            }
            "TS" => match node.text().and_then(clock) {
                Some(text) => {
                    into.push(text);
                    true
                }
                None => false,
            },
            "Obj" => {
                let lists = ["LST", "IE", "STK", "QUE"];
                match lists.into_iter().find_map(|list| elements(node, list).next()) {
                    Some(list) => {
                        let mut entries = list.children().filter(Node::is_element);
                        entries.all(|entry| self.texts(entry, depth - 1, into))
                    }
                    None => match in_one_text(node) {
                        Some(text) => {
                            into.push(text);
                            true
                        }
                        None => false,
                    },
                }
            }
            _ => {
                into.push(unescaped(node.text().unwrap_or_default()));
                true
            }
        }
    }
}

fn elements<'a, 'input: 'a>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.tag_name().name() == name)
}

/// A range has its ends, which are exact; other objects have a text, and some have only a switch.
fn in_one_text(node: Node<'_, '_>) -> Option<String> {
    let property = |name: &str| {
        let bags = elements(node, "Props").flat_map(|bag| bag.children());
        let value = bags.filter(|value| value.attribute("N") == Some(name)).last()?;
        value.text().map(unescaped)
    };
    if let (Some(low), Some(high)) = (property("LowerBound"), property("UpperBound")) {
        return Some(if low == high { low } else { format!("{low}-{high}") });
    }
    let text = elements(node, "ToString").next().and_then(|text| text.text()).map(unescaped);
    let unlimited = || {
        let is_unlimited = property("IsUnlimited")?.eq_ignore_ascii_case("true");
        is_unlimited.then(|| "Unlimited".to_owned())
    };
    text.filter(|text| !text.trim().is_empty()).or_else(unlimited)
}

/// `P1DT2H3M4S` as `1.02:03:04`.
fn clock(text: &str) -> Option<String> {
    let rest = text.strip_prefix('P')?;
    let (days, time) = rest.split_once('T').unwrap_or((rest, ""));
    let number = |text: &str| text.parse::<u64>().ok();
    let days = if days.is_empty() { 0 } else { number(days.strip_suffix('D')?)? };
    let (mut seconds, mut time) = (0_u64, time);
    for (unit, length) in [('H', 3600), ('M', 60), ('S', 1)] {
        if let Some((count, after)) = time.split_once(unit) {
            // Fractions of a second have no meaning for any parameter.
            let whole = count.split_once('.').map_or(count, |(whole, _)| whole);
            seconds = seconds.checked_add(number(whole)?.checked_mul(length)?)?;
            time = after;
        }
    }
    if !time.is_empty() {
        return None;
    }
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    Some(if days == 0 { clock } else { format!("{days}.{clock}") })
}

/// `_x000A_` stands for a character that XML cannot hold; `_x005F_` for an underscore before an `x`.
fn unescaped(text: &str) -> String {
    let mut units: Vec<u16> = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("_x") {
        units.extend(rest[..start].encode_utf16());
        rest = &rest[start..];
        let code = rest.get(2..6).filter(|_| rest.as_bytes().get(6) == Some(&b'_'));
        match code.and_then(|code| u16::from_str_radix(code, 16).ok()) {
            Some(unit) => {
                units.push(unit);
                rest = &rest[7..];
            }
            None => {
                units.extend("_x".encode_utf16());
                rest = &rest[2..];
            }
        }
    }
    units.extend(rest.encode_utf16());
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_escapes() {
        for (text, expected) in [
            ("PT10M", Some("00:10:00")),
            ("PT5S", Some("00:00:05")),
            ("P1DT2H3M4.5S", Some("1.02:03:04")),
            ("P2D", Some("2.00:00:00")),
            ("PT0S", Some("00:00:00")),
            ("10", None),
            ("PT10X", None),
            ("PT99999999999999999999H", None),
        ] {
            assert_eq!(clock(text).as_deref(), expected, "{text}");
        }
        for (text, expected) in [
            ("a_x000A_b", "a\nb"),
            ("_x005F_x000A_", "_x000A_"),
            ("_xD83D__xDE00_", "\u{1f600}"),
            ("_x00", "_x00"),
            ("_xé00A_", "_xé00A_"),
        ] {
            assert_eq!(unescaped(text), expected);
        }
    }
}
