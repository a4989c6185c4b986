//! Which message may be sent, given the received one: the header firewall's rules, implemented a
//! second time, line by line, with the whole message in memory.

/// Allowed differences between the sent and the received message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Names of fields that are missing, as [`Allowed::shown`] writes them.
    pub missing: Vec<String>,
    /// mbox lines that became fields.
    pub mbox_lines: usize,
    /// An empty line was inserted after the header section.
    pub separated: bool,
}

impl Allowed {
    /// A name in the form of a log line, in lower case.
    pub fn shown(name: &[u8]) -> String {
        name[..name.len().min(64)].escape_ascii().to_string().to_ascii_lowercase()
    }
}

/// A message, split into its parts.
struct Message<'octets> {
    mbox_lines: Vec<&'octets [u8]>,
    fields: Vec<&'octets [u8]>,
    /// With the empty line, if there is one.
    body: &'octets [u8],
}

/// Compares a received message with the sent one below our trace fields.
///
/// # Errors
/// A difference that is not allowed, in words.
pub fn compare(came: &[u8], left: &[u8]) -> Result<Allowed, String> {
    let message = take_apart(came);
    let mut allowed = Allowed { mbox_lines: message.mbox_lines.len(), ..Allowed::default() };
    let mut rest = left;
    for line in &message.mbox_lines {
        let renamed = [b"X-Mailbox-Line: ", *line].concat();
        rest =
            rest.strip_prefix(&renamed[..]).ok_or_else(|| differs("an mbox line", line, rest))?;
    }
    let is_separated = message.body.is_empty() || message.body.starts_with(b"\r\n");
    let separator: &[u8] = if is_separated { b"" } else { b"\r\n" };
    let body = [separator, message.body].concat();
    for (at, field) in message.fields.iter().enumerate() {
        // A removed field and a remaining one may be equal: the following fields decide.
        let stays = rest.starts_with(field)
            && message.fields[at..].iter().map(|field| field.len()).sum::<usize>() + body.len()
                >= rest.len();
        if stays {
            rest = &rest[field.len()..];
        } else if is_guarded(name(field)) {
            allowed.missing.push(Allowed::shown(name(field)));
        } else {
            return Err(differs("a field", field, rest));
        }
    }
    if rest != body {
        return Err(differs("the body", &body, rest));
    }
    allowed.separated = !is_separated;
    Ok(allowed)
}

/// May the firewall remove a field of this name?
fn is_guarded(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    let families: [&[u8]; 3] =
        [b"x-ms-exchange-organization-", b"x-ms-exchange-forest-", b"resent-"];
    let names: [&[u8]; 3] = [b"authentication-results", b"x-relay-spam", b"received"];
    families.iter().any(|family| lower.starts_with(family)) || names.contains(&&lower[..])
}

fn name(field: &[u8]) -> &[u8] {
    let name = field.split(|&octet| octet == b':').next().unwrap_or_default();
    let blanks = name.iter().rev().take_while(|octet| b" \t".contains(octet)).count();
    &name[..name.len() - blanks]
}

fn take_apart(message: &[u8]) -> Message<'_> {
    let (mut mbox_lines, mut fields) = (Vec::new(), Vec::new());
    let mut rest = message;
    loop {
        let line = &rest[..line_end(rest)];
        if line.is_empty() || !is_field(line) {
            break;
        }
        let mut end = line.len();
        while matches!(rest.get(end), Some(b' ' | b'\t')) {
            end += line_end(&rest[end..]);
        }
        fields.push(&rest[..end]);
        rest = &rest[end..];
    }
    if fields.is_empty() {
        let mut behind = message;
        let is_mbox = |line: &[u8]| is_mbox_line(line) && !is_field(line);
        while is_mbox(&behind[..line_end(behind)]) {
            mbox_lines.push(&behind[..line_end(behind)]);
            behind = &behind[line_end(behind)..];
        }
        let octets = message.len() - behind.len();
        if !mbox_lines.is_empty() && octets <= 4000 {
            let message = take_apart(behind);
            if !message.fields.is_empty() && message.mbox_lines.is_empty() {
                return Message { mbox_lines, ..message };
            }
        }
        mbox_lines.clear();
    }
    Message { mbox_lines, fields, body: rest }
}

fn line_end(octets: &[u8]) -> usize {
    octets.windows(2).position(|pair| pair == b"\r\n").map_or(octets.len(), |at| at + 2)
}

fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|&octet| octet == b':') else { return false };
    let name = name(line);
    !name.is_empty() && colon <= 998 && name.iter().all(u8::is_ascii_graphic)
}

fn is_mbox_line(line: &[u8]) -> bool {
    let quotes = line.iter().take_while(|&&octet| octet == b'>').count();
    let Some(text) = line.strip_suffix(b"\r\n") else { return false };
    text[quotes..].starts_with(b"From ") && !text.iter().any(|octet| b"\r\n\0".contains(octet))
}

fn differs(what: &str, came: &[u8], left: &[u8]) -> String {
    let shown = |octets: &[u8]| octets[..octets.len().min(300)].escape_ascii().to_string();
    format!("{what} differs: received `{}`, sent `{}`", shown(came), shown(left))
}
