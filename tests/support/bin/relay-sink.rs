//! `relay-sink`: accepts every message on one address and prints it.

#![allow(rustdoc::broken_intra_doc_links, reason = "the text is the help of an option")]

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};
use clap::Parser;
use relay_tests::sink::{self, Script};

/// Accept every message as an SMTP server and print it.
#[derive(Parser)]
struct Arguments {
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:2626")]
    listen: SocketAddr,
    /// Send another reply at one stage: STAGE[:ADDRESS][*TIMES]=REPLY, or `close` instead of the
    /// reply. Stages: connect, helo, mail, rcpt, data, content. May be given more than once.
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
