//! The dialogue files.
//!
//! ```text
//! # RCPT before MAIL is refused.                 the behaviour
//! profile: relay                                 frontend, relay, trusted or users; frontend if absent
//! connector: max_hop_count = 2                   a line of the connector's configuration
//! tls: available                                 a certificate is configured; or removed:
//!                                                it was, and a reload has taken it away; or
//!                                                implicit: TLS begins with the first octet
//! partners: *.partner.example                    the name that [partners] lists
//! fleet: hub1.accepted.example                   the name that [fleet] lists
//! queue: full                                    how the queue behaves: full, filling (after
//!                                                MAIL), failing, breaking (in the middle of a
//!                                                message), silent
//! xclient: offered                               the client may use XCLIENT; 192.0.2.0/24 has an
//!                                                externally secured connector, 198.51.100.0/24
//!                                                one that refuses, and nobody else has one
//! spf: fail                                      what the checks find, see [`crate::checks`]
//! recipients: unknown                            accepted.example has a recipient_lookup, which
//!                                                says so: known, unknown, unavailable, silent
//! auth: in clear                                 the users of users.toml may authenticate; or
//!                                                within TLS; or unanswered: no password is ever
//!                                                compared
//! nonces: fixed                                  they are made of zeros; not over a socket
//!
//! S: 220 *                                       the server says; `*` is any text
//! C: EHLO client.example                         the client says, with CRLF
//! C- QUIT                                        the same without CRLF
//! C: {0123456789\r\n*100}                        one hundred times; \r \n \0 \\ \xFF are octets
//! S: <closed>                                    the server closes the connection
//! E: TLS handshake                               what happens besides:
//! E: TLS handshake as mail.partner.example       with a certificate for this name, issued by the
//!                                                authority of [partners] and [fleet]
//! E: TLS handshake as stranger mail.x.example    the same, issued by somebody else
//! E: 5m pass                                     ms, s or m
//! E: back pressure Medium                        Normal, Medium, High
//! E: client disconnects
//! E: client ends its side                        it sends nothing more, and reads on
//! E: daemon stops
//! Q: from <a@b.example> to <c@d.example>         what reached the queue in the end; nothing,
//! Q: | Subject: x                                if no such line is there
//! Q: ...                                         any number of lines, of the server as well
//! ```

use std::time::Duration;

use relay_policy::pressure::PressureLevel;

use crate::checks::Checks;

/// A dialogue file.
#[derive(Debug, Default)]
pub struct Script {
    pub settings: Settings,
    pub turns: Vec<Turn>,
    /// The `Q:` lines.
    pub queued: Vec<String>,
}

/// What is different from the ordinary.
#[derive(Debug, Default)]
pub struct Settings {
    pub profile: Profile,
    /// Lines of the connector's configuration.
    pub connector: String,
    /// The only name that `[partners]` lists.
    pub partners: Option<String>,
    /// The only name that `[fleet]` lists.
    pub fleet: Option<String>,
    pub tls_available: bool,
    /// TLS begins with the first octet.
    pub tls_implicit: bool,
    /// The rules of the session have a certificate, and the server has it no more.
    pub tls_removed: bool,
    pub queue: QueueBehaviour,
    /// The client may use XCLIENT.
    pub xclient: bool,
    /// What the look-up of a recipient says, if there is one.
    pub recipients: Option<Recipients>,
    /// What the checks of mail from strangers find.
    pub checks: Checks,
    /// How users may authenticate, if they may.
    pub auth: Option<Auth>,
    /// Nonces are made of zeros.
    pub nonces_fixed: bool,
}

/// How users may authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    InClear,
    /// In clear, and no password is ever compared.
    Unanswered,
    WithinTls,
}

/// What the look-up of a recipient says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipients {
    Known,
    /// Nothing, ever.
    Silent,
    Unavailable,
    Unknown,
}

/// What the connector is for.
#[derive(Clone, Copy, Debug, Default)]
pub enum Profile {
    #[default]
    Frontend,
    Relay,
    Trusted,
    /// Nobody but users may send.
    Users,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueBehaviour {
    /// Begins every message and refuses its octets.
    Breaking,
    /// Stores nothing.
    Failing,
    /// Takes mail at MAIL, and begins no message at DATA.
    Filling,
    /// Begins no message.
    Full,
    /// Never answers.
    Silent,
    #[default]
    Working,
}

/// One side's words and what the server answers.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// Where it stands in the file.
    pub line: usize,
    pub event: Option<Event>,
    pub client: Vec<Vec<u8>>,
    pub expected: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum Event {
    BackPressure(PressureLevel),
    ClientDisconnects,
    /// It sends nothing more, and reads on.
    ClientEnds,
    DaemonStops,
    DaemonWaitsNoLonger,
    Pass(Duration),
    TlsHandshake(Option<Shown>),
}

/// A certificate that the client shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The host that it is for.
    pub name: String,
    /// Did the authority issue it that the configuration names?
    pub is_trusted: bool,
}

/// How the server's end of the connection is written.
pub const CLOSED: &str = "<closed>";

/// What the reply that carries a queue id begins and ends with.
const QUEUED: &str = "250 2.6.0 ";
const QUEUED_END: &str = " Queued mail for delivery";

/// What our Received field begins with in a `Q:` line.
const TRACE: &str = "| Received: from client.example ([127.0.0.1])";

impl Script {
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with("# ") {
            return Err("the first line says the behaviour, as a comment".to_owned());
        }
        let mut script = Self::default();
        let mut turn = Turn { line: 1, ..Turn::default() };
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || format!("line {number}: `{line}` is not understood");
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            if matches!(key, "C:" | "C-" | "E:") && (key == "E:" || !turn.expected.is_empty()) {
                let next = Turn { line: number, ..Turn::default() };
                script.turns.push(std::mem::replace(&mut turn, next));
            }
            match key {
                "C:" => turn.client.push([unescape(value)?, b"\r\n".to_vec()].concat()),
                "C-" => turn.client.push(unescape(value)?),
                "S:" => turn.expected.push(value.to_owned()),
                "E:" => turn.event = Some(event(value).ok_or_else(wrong)?),
                "Q:" => script.queued.push(value.to_owned()),
                "connector:" => {
                    script.settings.connector.push_str(value);
                    script.settings.connector.push('\n');
                }
                "partners:" => script.settings.partners = Some(value.to_owned()),
                "fleet:" => script.settings.fleet = Some(value.to_owned()),
                "tls:" if value == "available" => script.settings.tls_available = true,
                "tls:" if value == "implicit" => {
                    script.settings.tls_available = true;
                    script.settings.tls_implicit = true;
                }
                "tls:" if value == "removed" => {
                    script.settings.tls_available = true;
                    script.settings.tls_removed = true;
                }
                "profile:" => {
                    script.settings.profile = match value {
                        "frontend" => Profile::Frontend,
                        "relay" => Profile::Relay,
                        "trusted" => Profile::Trusted,
                        "users" => Profile::Users,
                        _ => return Err(wrong()),
                    }
                }
                "queue:" => {
                    script.settings.queue = match value {
                        "breaking" => QueueBehaviour::Breaking,
                        "failing" => QueueBehaviour::Failing,
                        "filling" => QueueBehaviour::Filling,
                        "full" => QueueBehaviour::Full,
                        "silent" => QueueBehaviour::Silent,
                        _ => return Err(wrong()),
                    }
                }
                "auth:" => {
                    script.settings.auth = Some(match value {
                        "in clear" => Auth::InClear,
                        "unanswered" => Auth::Unanswered,
                        "within TLS" => Auth::WithinTls,
                        _ => return Err(wrong()),
                    })
                }
                "nonces:" if value == "fixed" => script.settings.nonces_fixed = true,
                "xclient:" if value == "offered" => script.settings.xclient = true,
                "recipients:" => {
                    script.settings.recipients = Some(match value {
                        "known" => Recipients::Known,
                        "silent" => Recipients::Silent,
                        "unavailable" => Recipients::Unavailable,
                        "unknown" => Recipients::Unknown,
                        _ => return Err(wrong()),
                    })
                }
                _ => script.settings.checks.take(key, value).ok_or_else(wrong)?,
            }
        }
        script.turns.push(turn);
        Ok(script)
    }

    /// The turns with nothing between them but the server's words made one: the client does not
    /// wait for any answer.
    pub fn merged_turns(&self) -> Vec<Turn> {
        let mut merged: Vec<Turn> = Vec::new();
        for turn in &self.turns {
            match merged.last_mut() {
                Some(last) if turn.event.is_none() => {
                    last.client.extend_from_slice(&turn.client);
                    last.expected.extend_from_slice(&turn.expected);
                }
                _ => merged.push(turn.clone()),
            }
        }
        merged
    }
}

/// The file with other server and queue lines. A line with a wildcard stays where it matches.
pub fn update(text: &str, turns: &[Vec<String>], queued: &[String]) -> String {
    let script = Script::parse(text).unwrap_or_default();
    let mut starts = script.turns.iter().map(|turn| turn.line).skip(1).peekable();
    let mut out = String::new();
    let mut turn = 0;
    let flush = |out: &mut String, turn: usize| {
        let expected = script.turns.get(turn).map(|turn| &turn.expected[..]).unwrap_or_default();
        let said = turns.get(turn).map(Vec::as_slice).unwrap_or_default();
        if crate::matching::lines(expected, said).is_ok() {
            expected.iter().for_each(|line| out.push_str(&format!("S: {line}\n")));
            return;
        }
        for (index, said) in said.iter().enumerate() {
            let kept = expected.get(index).filter(|kept| crate::matching::line(kept, said));
            let id = said.strip_prefix(QUEUED).and_then(|rest| rest.strip_suffix(QUEUED_END));
            match (kept, id) {
                (Some(kept), _) => out.push_str(&format!("S: {kept}\n")),
                (None, Some(_)) => out.push_str(&format!("S: {QUEUED}*\n")),
                (None, None) => out.push_str(&format!("S: {said}\n")),
            }
        }
    };
    for (index, line) in text.lines().enumerate() {
        if starts.next_if_eq(&(index + 1)).is_some() {
            flush(&mut out, turn);
            turn += 1;
        }
        if !line.starts_with("S: ") && !line.starts_with("Q: ") {
            out.push_str(line);
            out.push('\n');
        }
    }
    flush(&mut out, turn);
    if crate::matching::lines(&script.queued, queued).is_ok() {
        for line in &script.queued {
            out.push_str(&format!("Q: {line}\n"));
        }
        return out;
    }
    // Our trace field differs from run to run and has its own dialogue.
    let mut in_trace = false;
    for line in queued {
        let begins = line.starts_with(TRACE);
        in_trace = begins || in_trace && line.starts_with("| \t");
        match in_trace {
            true if begins => out.push_str("Q: ...\n"),
            true => {}
            false => out.push_str(&format!("Q: {line}\n")),
        }
    }
    out
}

fn event(text: &str) -> Option<Event> {
    match text {
        "TLS handshake" => Some(Event::TlsHandshake(None)),
        "back pressure Normal" => Some(Event::BackPressure(PressureLevel::Normal)),
        "back pressure Medium" => Some(Event::BackPressure(PressureLevel::Medium)),
        "back pressure High" => Some(Event::BackPressure(PressureLevel::High)),
        "client disconnects" => Some(Event::ClientDisconnects),
        "client ends its side" => Some(Event::ClientEnds),
        "daemon stops" => Some(Event::DaemonStops),
        "daemon waits no longer" => Some(Event::DaemonWaitsNoLonger),
        _ if text.starts_with("TLS handshake as ") => {
            let name = text.trim_start_matches("TLS handshake as ");
            let is_trusted = !name.starts_with("stranger ");
            let name = name.trim_start_matches("stranger ").to_owned();
            Some(Event::TlsHandshake(Some(Shown { name, is_trusted })))
        }
        _ => {
            let time = text.strip_suffix(" pass")?;
            let (number, unit) = time.split_at(time.find(|c: char| !c.is_ascii_digit())?);
            let number: u64 = number.parse().ok()?;
            Some(Event::Pass(match unit {
                "ms" => Duration::from_millis(number),
                "s" => Duration::from_secs(number),
                "m" => Duration::from_mins(number),
                _ => return None,
            }))
        }
    }
}

/// Repetitions first, then octets.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (inner, after) = after.split_once('}').ok_or("a { without }")?;
        let (unit, times) = inner.rsplit_once('*').ok_or("{ } without *")?;
        let times = times.parse().map_err(|_| format!("`{times}` is no number"))?;
        expanded.push_str(before);
        expanded.push_str(&unit.repeat(times));
        rest = after;
    }
    expanded.push_str(rest);

    let mut octets = Vec::new();
    let mut rest = expanded.as_bytes();
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet != b'\\' {
            octets.push(octet);
            continue;
        }
        let (&escape, after) = rest.split_first().ok_or("a \\ at the end")?;
        rest = after;
        octets.push(match escape {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                let (digits, after) = rest.split_at_checked(2).ok_or("\\x needs two digits")?;
                rest = after;
                let digits = String::from_utf8_lossy(digits).into_owned();
                u8::from_str_radix(&digits, 16).map_err(|_| "\\x needs hexadecimal digits")?
            }
            other => return Err(format!("\\{} is not known", char::from(other))),
        });
    }
    Ok(octets)
}
