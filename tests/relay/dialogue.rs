//! A client that sends exactly the octets of a test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::PATIENCE;

/// One connection to the daemon.
pub struct Dialogue {
    stream: BufReader<TcpStream>,
    /// The first reply.
    pub greeting: String,
}

/// Connects from this address, and reads nothing.
pub fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// The next reply, its lines with a line feed between; empty when the daemon has closed.
pub fn reply(stream: &mut impl BufRead) -> String {
    let mut reply = String::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        reply.push_str(line.trim_end());
        if line.get(3..4) != Some("-") {
            return reply;
        }
        reply.push('\n');
    }
}

impl Dialogue {
    /// Connects from this address and reads the greeting.
    pub fn connect(from: IpAddr, to: SocketAddr) -> Self {
        Self::on(connect(from, to))
    }

    /// Reads the greeting of a connection that is open.
    pub fn on(stream: TcpStream) -> Self {
        let mut dialogue = Self { stream: BufReader::new(stream), greeting: String::new() };
        dialogue.greeting = dialogue.reply();
        dialogue
    }

    /// EHLO; returns the keywords.
    pub fn hello(&mut self) -> String {
        let reply = self.say("EHLO client.example");
        assert!(reply.starts_with("250-"), "{reply}");
        reply
    }

    /// Sends a command and returns the whole reply, its lines with a line feed between.
    pub fn say(&mut self, command: &str) -> String {
        self.send(command.as_bytes());
        self.send(b"\r\n");
        self.reply()
    }

    pub fn send(&mut self, octets: &[u8]) {
        self.stream.get_mut().write_all(octets).unwrap();
    }

    /// The next reply; empty when the daemon has closed.
    pub fn reply(&mut self) -> String {
        reply(&mut self.stream)
    }

    /// Begins a transaction whose commands must all be accepted, up to the 354. Addresses
    /// may have parameters after them.
    pub fn begin(&mut self, sender: &str, recipients: &[&str]) {
        let command = |verb: &str, argument: &str| {
            let (address, parameters) = argument.split_once(' ').unwrap_or((argument, ""));
            format!("{verb}:<{address}> {parameters}").trim_end().to_owned()
        };
        let recipients = recipients.iter().map(|recipient| command("RCPT TO", recipient));
        let commands = [command("MAIL FROM", sender)].into_iter().chain(recipients);
        let replies = commands.map(|command| self.say(&command)).collect::<Vec<_>>();
        assert!(replies.iter().all(|reply| reply.starts_with("250 ")), "{replies:?}");
        let reply = self.say("DATA");
        assert!(reply.starts_with("354 "), "{reply}");
    }

    /// Sends a message, dots stuffed, and returns the reply to its end.
    pub fn message(&mut self, sender: &str, recipients: &[&str], content: &[u8]) -> String {
        self.begin(sender, recipients);
        for line in content.split_inclusive(|&octet| octet == b'\n') {
            if line.first() == Some(&b'.') {
                self.send(b".");
            }
            self.send(line);
        }
        self.say(".")
    }

    /// The connection, for a handshake. All octets that were sent must have been read.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.stream.buffer().is_empty());
        self.stream.into_inner()
    }

    pub fn quit(mut self) {
        let reply = self.say("QUIT");
        assert!(reply.starts_with("221 "), "{reply}");
        self.ends();
    }

    /// The daemon closes the connection and sends nothing more.
    pub fn ends(mut self) {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}
