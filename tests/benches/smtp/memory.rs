//! Memory of a server with sessions that have sent EHLO and then nothing.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use relay_tests::benchmark::Memory;

use crate::Run;
use crate::systems::{Place, System};

/// Longest wait of a session for a reply.
const REPLY: Duration = Duration::from_secs(20);
/// Pause after the last of them, before the server's memory is measured.
const SETTLE: Duration = Duration::from_millis(700);
/// Sessions of a server with one process for each.
const FORKS: usize = 1_000;

/// Measures every system and adds it to the report.
pub fn measure(run: &mut Run) {
    for index in 0..run.systems.len() {
        let system = &*run.systems[index];
        let name = system.subject().name;
        eprintln!("idle sessions: {name}");
        match of(run, system, &name) {
            Ok(memory) => run.report.memory.push(memory),
            Err(error) => {
                let first = format!("{error:#}").replace('\n', " ");
                run.report.absent.push(format!("{name}, memory: {first}"));
            }
        }
    }
}

fn of(run: &Run, system: &dyn System, name: &str) -> Result<Memory> {
    let folder = run.folder()?;
    let running = system.start(Place { folder: &folder, next_hop: None })?;
    thread::sleep(SETTLE);
    let idle = running.memory();
    let mut streams = Vec::new();
    let mut sessions = Vec::new();
    for &count in run.plan.idle {
        if system.forks() && count > FORKS {
            sessions.push((count, Err("not measured: one process for each session".to_owned())));
            continue;
        }
        while streams.len() < count {
            match session(running.address) {
                Ok(stream) => streams.push(stream),
                Err(error) => {
                    eprintln!("  session {}: {error}", streams.len() + 1);
                    break;
                }
            }
        }
        thread::sleep(SETTLE);
        let octets = match streams.len() {
            there if there < count => Err(format!("no more than {there}")),
            _ => Ok(running.memory()),
        };
        sessions.push((count, octets));
    }
    Ok(Memory { name: name.to_owned(), idle, sessions })
}

/// A session that has got two replies.
fn session(server: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(REPLY))?;
    reply(&stream).context("no greeting")?;
    stream.write_all(b"EHLO idle.example\r\n")?;
    reply(&stream).context("no reply to EHLO")?;
    Ok(stream)
}

/// A whole reply of any kind, unless the server closes the connection.
fn reply(stream: &TcpStream) -> io::Result<()> {
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.as_bytes().get(3) != Some(&b'-') {
            return match line.starts_with('2') {
                true => Ok(()),
                false => Err(io::Error::other(line)),
            };
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
