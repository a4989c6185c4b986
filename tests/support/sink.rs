//! The next hop: an SMTP server that accepts every message and stores it, byte for byte.
//!
//! It is not a model of a good server: it decides nothing, checks only the limits of its own
//! memory, and fails only as its [`Script`] says. A session is a thread.

mod message;
mod script;
mod session;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parking_lot::{Condvar, Mutex};

pub use self::message::{Message, Path};
pub use self::script::{Answer, Script, Stage};
use self::session::Session;
use crate::namespace::Namespace;

/// A running sink. Dropping it stops it.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
    kept: Arc<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    messages: Mutex<Vec<Message>>,
    arrived: Condvar,
}

impl Sink {
    /// A sink on a free port of 127.0.0.1.
    pub fn on_loopback(script: Script) -> Result<Self> {
        Self::start(None, (Ipv4Addr::LOCALHOST, 0).into(), script)
    }

    /// A sink on `address`, in a namespace or in ours.
    pub fn start(place: Option<&Namespace>, address: SocketAddr, script: Script) -> Result<Self> {
        let listener = match place {
            Some(namespace) => namespace.enter(|| TcpListener::bind(address))?,
            None => TcpListener::bind(address),
        };
        let listener =
            Arc::new(listener.with_context(|| format!("the sink cannot listen on {address}"))?);
        let kept = Arc::new(Kept::default());
        let thread = {
            let (listener, kept) = (Arc::clone(&listener), Arc::clone(&kept));
            thread::spawn(move || {
                serve(&listener, script, move |message| {
                    kept.messages.lock().push(message);
                    kept.arrived.notify_all();
                });
            })
        };
        Ok(Self { address: listener.local_addr()?, listener, thread: Some(thread), kept })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived so far, oldest first.
    pub fn messages(&self) -> Vec<Message> {
        self.kept.messages.lock().clone()
    }

    /// Waits until `count` messages have arrived, and returns all messages.
    pub fn wait_for(&self, count: usize, patience: Duration) -> Result<Vec<Message>> {
        let deadline = Instant::now() + patience;
        let mut messages = self.kept.messages.lock();
        while messages.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{} of {count} messages arrived within {patience:?}", messages.len());
            }
            self.kept.arrived.wait_for(&mut messages, left);
        }
        Ok(messages.clone())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // On Linux this ends a waiting `accept`, in any namespace.
        let stopped = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        if stopped.is_ok()
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the sink's listener panicked");
        }
    }
}

/// Accepts connections until the listener is shut down, and passes each message to `keep` before
/// the client gets its 250.
pub fn serve(
    listener: &TcpListener,
    script: Script,
    keep: impl Fn(Message) + Send + Sync + 'static,
) {
    let (script, keep) = (Arc::new(script), Arc::new(keep));
    loop {
        match listener.accept() {
            Ok((stream, client)) => {
                let (script, keep) = (Arc::clone(&script), Arc::clone(&keep));
                thread::spawn(move || {
                    // A client that disconnects is not an error of the sink.
                    let _ = Session::new(stream, client, &script).and_then(|it| it.run(&*keep));
                });
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(error) => {
                eprintln!("the sink cannot accept: {error}");
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

#[cfg(test)]
mod tests;
