//! `relay-sink`: takes every message on one address and prints it.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};
use clap::Parser;
use relay_tests::sink::{self, Script};

/// An SMTP server that takes every message and prints it.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:2626")]
    listen: SocketAddr,
    /// Answer one stage otherwise: STAGE[:ADDRESS][*TIMES]=REPLY, or `close` for the reply.
    /// Stages: connect, helo, mail, rcpt, data, content. May be given more than once.
    #[arg(long, value_name = "RULE")]
    answer: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let script = Script::parse(arguments.answer.iter().map(String::as_str))?;
    let listener = TcpListener::bind(arguments.listen)
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    println!("relay-sink: ready on {}", listener.local_addr()?);
    sink::serve(&listener, script, |message| print!("{message}"));
    Ok(())
}
