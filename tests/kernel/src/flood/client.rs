//! The relay client: SMTP sessions one after the other, timed from the first SYN.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::scope;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// One of this number of sessions has a message; the others end after RCPT with RSET.
const MESSAGE_EVERY: usize = 10;

/// The results of the clients.
#[derive(Debug, Default)]
pub struct Sessions {
    /// From the call to connect to the whole greeting, of sessions that were served, sorted.
    pub greetings: Vec<Duration>,
    /// From the call to connect to the reply to QUIT, of the same sessions, sorted.
    pub whole: Vec<Duration>,
    /// Sessions that ended within the window; the rate counts these.
    pub within: usize,
    /// Messages that got their 250.
    pub messages: usize,
    /// The error of each session that was not served.
    pub failures: Vec<String>,
    /// Time during which sessions were begun.
    pub window: Duration,
}

impl Sessions {
    /// Sessions served each second.
    pub fn rate(&self) -> f64 {
        self.within as f64 / self.window.as_secs_f64()
    }

    fn add(&mut self, other: Self) {
        self.greetings.extend(other.greetings);
        self.whole.extend(other.whole);
        self.within += other.within;
        self.messages += other.messages;
        self.failures.extend(other.failures);
    }
}

/// The duration below which `percent` of the sorted list is; zero of an empty one.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or_default()
}

/// Runs sessions with this number of clients for the length of `window`, and waits for the last to
/// end.
pub(super) fn sessions(server: SocketAddr, window: Duration, clients: usize) -> Sessions {
    let deadline = Instant::now() + window;
    let mut all = Sessions { window, ..Sessions::default() };
    scope(|scope| {
        let clients: Vec<_> =
            (0..clients).map(|_| scope.spawn(move || one_client(server, deadline))).collect();
        clients.into_iter().for_each(|client| all.add(client.join().unwrap()));
    });
    all.greetings.sort_unstable();
    all.whole.sort_unstable();
    all
}

fn one_client(server: SocketAddr, deadline: Instant) -> Sessions {
    let mut sessions = Sessions::default();
    for number in 0.. {
        let started = Instant::now();
        if started >= deadline {
            break;
        }
        let with_message = number % MESSAGE_EVERY == 0;
        match session(server, started, with_message) {
            Ok(greeting) => {
                sessions.greetings.push(greeting);
                sessions.whole.push(started.elapsed());
                sessions.within += usize::from(Instant::now() <= deadline);
                sessions.messages += usize::from(with_message);
            }
            Err(error) => sessions.failures.push(error.to_string()),
        }
    }
    sessions
}

/// Runs one session; returns the time until its greeting.
fn session(server: SocketAddr, started: Instant, with_message: bool) -> io::Result<Duration> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    expect(&mut stream, "220")?;
    let greeting = started.elapsed();
    let mut say = |command: &str, code: &str| {
        stream.get_mut().write_all(command.as_bytes())?;
        expect(&mut stream, code)
    };
    say("EHLO client.example\r\n", "250")?;
    say("MAIL FROM:<scanner@contoso.example>\r\n", "250")?;
    say("RCPT TO:<user@fabrikam.example>\r\n", "250")?;
    if with_message {
        say("DATA\r\n", "354")?;
        say("Subject: a page\r\n\r\nScanned.\r\n.\r\n", "250")?;
    } else {
        say("RSET\r\n", "250")?;
    }
    say("QUIT\r\n", "221")?;
    Ok(greeting)
}

/// Reads one reply, with any number of lines.
fn expect(stream: &mut impl BufRead, code: &str) -> io::Result<()> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if !line.starts_with(code) {
            return Err(io::Error::other(format!("expected {code}, got `{}`", line.trim_end())));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}
