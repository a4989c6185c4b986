//! One session of the sink.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::message::{Message, Path};
use super::script::{Answer, Script, Stage};

/// Longest command line in octets, CRLF included; a longer one ends the session. Twice the longest
/// that a relay may send, RFC 5321 section 4.5.3.1.6.
const LINE_OCTETS: u64 = 2048;
/// Largest content in octets; a larger one ends the session.
const CONTENT_OCTETS: usize = 256 * 1024 * 1024;
/// Longest silence of a client; then the session ends. RFC 5321 section 4.5.3.2.7.
const SILENCE: Duration = Duration::from_secs(5 * 60);

/// Whether the session continues.
#[derive(PartialEq)]
enum Next {
    GoOn,
    Close,
}

pub struct Session<'script> {
    reader: BufReader<TcpStream>,
    writer: BufWriter<TcpStream>,
    client: SocketAddr,
    script: &'script Script,
    helo: String,
    /// The client sent LHLO: each recipient has its own reply after the content (RFC 2033).
    is_lmtp: bool,
    sender: Option<Path>,
    recipients: Vec<Path>,
    /// The octets of the chunks before the last.
    chunks: Vec<u8>,
}

impl<'script> Session<'script> {
    pub fn new(stream: TcpStream, client: SocketAddr, script: &'script Script) -> io::Result<Self> {
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            reader: BufReader::new(stream.try_clone()?),
            writer: BufWriter::new(stream),
            client,
            script,
            helo: String::new(),
            is_lmtp: false,
            sender: None,
            recipients: Vec::new(),
            chunks: Vec::new(),
        })
    }

    /// Runs until the client or the script ends the session.
    pub fn run(mut self, keep: &(impl Fn(Message) + ?Sized)) -> io::Result<()> {
        let mut next = self.answer(Stage::Connect, None, "220 sink.example ESMTP")?.0;
        while next == Next::GoOn {
            // Replies to pipelined commands are sent together.
            if self.reader.buffer().is_empty() {
                self.writer.flush()?;
            }
            let mut line = Vec::new();
            if self.read_line(&mut line, LINE_OCTETS)? == 0 {
                break;
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            next = self.command(&line, keep)?;
        }
        self.writer.flush()
    }

    fn command(&mut self, line: &str, keep: &(impl Fn(Message) + ?Sized)) -> io::Result<Next> {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            verb @ ("EHLO" | "LHLO") => {
                self.is_lmtp = verb == "LHLO";
                let offered = EXTENSIONS.iter().filter(|it| !self.script.withholds(it));
                let mut lines: Vec<_> = offered.map(|&it| it.to_owned()).collect();
                lines.extend(self.script.offers().iter().cloned());
                let last = lines.pop().unwrap_or_default();
                let mut reply: String =
                    lines.iter().map(|line| format!("250-{line}\r\n")).collect();
                reply.push_str(&format!("250 {last}"));
                self.hello(argument, &reply)
            }
            "HELO" => self.hello(argument, "250 sink.example"),
            "MAIL" => self.mail(argument),
            "RCPT" => self.recipient(argument),
            "DATA" => self.data(keep),
            "BDAT" => self.chunk(argument, keep),
            "RSET" => {
                self.forget_envelope();
                self.reply("250 2.0.0 Ok")
            }
            "NOOP" => self.reply("250 2.0.0 Ok"),
            "QUIT" => {
                self.reply("221 2.0.0 Bye")?;
                Ok(Next::Close)
            }
            _ => self.reply("500 5.5.2 Unknown command"),
        }
    }

    fn hello(&mut self, name: &str, reply: &str) -> io::Result<Next> {
        self.forget_envelope();
        self.helo = name.to_owned();
        Ok(self.answer(Stage::Hello, None, reply)?.0)
    }

    fn mail(&mut self, argument: &str) -> io::Result<Next> {
        let Some(sender) = path_after(argument, "FROM:") else {
            return self.reply("501 5.5.4 MAIL FROM:<address>");
        };
        if self.sender.is_some() {
            return self.reply("503 5.5.1 Sender already given");
        }
        let (next, taken) = self.answer(Stage::Mail, None, "250 2.1.0 Ok")?;
        self.sender = taken.then_some(sender);
        Ok(next)
    }

    fn recipient(&mut self, argument: &str) -> io::Result<Next> {
        let Some(recipient) = path_after(argument, "TO:") else {
            return self.reply("501 5.5.4 RCPT TO:<address>");
        };
        if self.sender.is_none() {
            return self.reply("503 5.5.1 MAIL first");
        }
        let (next, taken) =
            self.answer(Stage::Recipient, Some(&recipient.address), "250 2.1.5 Ok")?;
        if taken {
            self.recipients.push(recipient);
        }
        Ok(next)
    }

    fn data(&mut self, keep: &(impl Fn(Message) + ?Sized)) -> io::Result<Next> {
        if self.recipients.is_empty() {
            return self.reply("503 5.5.1 RCPT first");
        }
        let (next, taken) = self.answer(Stage::Data, None, "354 Go ahead")?;
        if !taken {
            return Ok(next);
        }
        self.writer.flush()?;
        let content = self.read_content()?;
        self.take(content, keep)
    }

    /// RFC 3030, for a correct client.
    fn chunk(&mut self, argument: &str, keep: &(impl Fn(Message) + ?Sized)) -> io::Result<Next> {
        let (size, marker) = argument.split_once(' ').unwrap_or((argument, ""));
        let Some(size) = size.parse().ok().filter(|size: &usize| *size <= CONTENT_OCTETS) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let before = self.chunks.len();
        self.chunks.resize(before + size, 0);
        self.reader.read_exact(&mut self.chunks[before..])?;
        if self.recipients.is_empty() {
            self.forget_envelope();
            return self.reply("503 5.5.1 RCPT first");
        }
        if !marker.eq_ignore_ascii_case("LAST") {
            return self.reply("250 2.0.0 Ok");
        }
        let content = std::mem::take(&mut self.chunks);
        self.take(content, keep)
    }

    fn take(&mut self, content: Vec<u8>, keep: &(impl Fn(Message) + ?Sized)) -> io::Result<Next> {
        let scripted = self.script.answer(Stage::Content, None);
        let replies = if self.is_lmtp { self.recipients.len() } else { 1 };
        // Stored before the reply: a client with a 250 can find the message.
        if scripted.is_none()
            && let Some(sender) = self.sender.take()
        {
            let recipients = std::mem::take(&mut self.recipients);
            let (client, helo) = (self.client, self.helo.clone());
            keep(Message { client, helo, sender, recipients, content });
        }
        self.forget_envelope();
        match scripted {
            Some(answer) => self.give(answer),
            None => {
                for _ in 1..replies {
                    self.reply("250 2.0.0 Taken")?;
                }
                self.reply("250 2.0.0 Taken")
            }
        }
    }

    /// Reads up to CRLF.CRLF only, and removes the stuffed dots.
    fn read_content(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut at_line_start = true;
        loop {
            let mut line = Vec::new();
            if self.read_line(&mut line, CONTENT_OCTETS as u64)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if at_line_start && line == b".\r\n" {
                return Ok(content);
            }
            let stuffed = at_line_start && line.first() == Some(&b'.');
            content.extend_from_slice(&line[usize::from(stuffed)..]);
            // A bare LF ends a read but not a line.
            at_line_start = line.ends_with(b"\r\n");
            if content.len() > CONTENT_OCTETS {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
    }

    fn read_line(&mut self, line: &mut Vec<u8>, most: u64) -> io::Result<usize> {
        let count = (&mut self.reader).take(most).read_until(b'\n', line)?;
        if count as u64 == most && !line.ends_with(b"\n") {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
        }
        Ok(count)
    }

    /// The scripted reply, or `usual`; and whether it was the usual one.
    fn answer(
        &mut self,
        stage: Stage,
        address: Option<&str>,
        usual: &str,
    ) -> io::Result<(Next, bool)> {
        match self.script.answer(stage, address) {
            Some(answer) => Ok((self.give(answer)?, false)),
            None => Ok((self.reply(usual)?, true)),
        }
    }

    fn give(&mut self, answer: Answer) -> io::Result<Next> {
        match answer {
            Answer::Reply(reply) => self.reply(&reply),
            Answer::Close => Ok(Next::Close),
        }
    }

    fn reply(&mut self, reply: &str) -> io::Result<Next> {
        self.writer.write_all(reply.as_bytes())?;
        self.writer.write_all(b"\r\n")?;
        Ok(if reply.starts_with("421") { Next::Close } else { Next::GoOn })
    }

    fn forget_envelope(&mut self) {
        self.sender = None;
        self.recipients.clear();
        self.chunks.clear();
    }
}

const EXTENSIONS: [&str; 5] =
    ["sink.example", "PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"];

fn path_after(argument: &str, keyword: &str) -> Option<Path> {
    let head = argument.get(..keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then(|| Path::parse(&argument[keyword.len()..]))?
}
