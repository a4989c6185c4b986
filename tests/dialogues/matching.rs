//! Does the result match the file?

/// `*` in the pattern stands for any text.
pub fn line(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Compares line by line; `...` stands for any number of lines.
pub fn lines(expected: &[String], found: &[String]) -> Result<(), String> {
    if matches(expected, found) {
        return Ok(());
    }
    let indent = |lines: &[String]| lines.iter().map(|line| format!("    {line}\n")).collect();
    let (expected, found): (String, String) = (indent(expected), indent(found));
    Err(format!("expected\n{expected}found\n{found}"))
}

fn matches(mut expected: &[String], mut found: &[String]) -> bool {
    while let Some((pattern, rest)) = expected.split_first() {
        expected = rest;
        if pattern == "..." {
            return (0..=found.len()).any(|skipped| matches(rest, &found[skipped..]));
        }
        match found.split_first() {
            Some((text, after)) if line(pattern, text) => found = after,
            _ => return false,
        }
    }
    found.is_empty()
}
