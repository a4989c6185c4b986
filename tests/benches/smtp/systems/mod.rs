//! The compared servers, each as a relay from loopback to the sink, with its own durable default.
//! [`System::subject`] has the changed settings, which are printed with the table.

mod debian;
mod haraka;
mod relay;
mod running;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Result;
use relay_tests::benchmark::Subject;

pub use self::running::Running;

/// The settings for a server's start.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// A directory on the disk; the queue of an earlier run may be in it.
    pub folder: &'a Path,
    /// The next hop of all mail; without it nothing is delivered.
    pub next_hop: Option<SocketAddr>,
}

/// A server that can be started.
pub trait System {
    fn subject(&self) -> Subject;
    fn start(&self, place: Place<'_>) -> Result<Running>;

    /// It has a process for each session: thousands are not measured.
    fn forks(&self) -> bool {
        false
    }
}

/// A server, or why it is not measured.
pub type Found = std::result::Result<Box<dyn System>, String>;

/// Every system that can run here, ours first, with the reason for each that cannot.
pub fn all() -> Vec<Found> {
    let mut systems: Vec<Found> = vec![relay::Relay::find().map(|system| Box::new(system) as _)];
    systems.extend(debian::all());
    systems.push(haraka::Haraka::find().map(|system| Box::new(system) as _));
    systems
}

/// A free port of 127.0.0.1.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}
