//! The next hop's side: accepts every message, stores none, and counts them. All sessions share one
//! thread, which does nothing else.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::cpus;

/// A sink that runs until the process ends.
#[derive(Clone, Debug)]
pub struct Sink {
    pub address: SocketAddr,
    taken: Arc<AtomicUsize>,
}

/// Longest wait for messages.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The longest time without a new message.
    pub silence: Duration,
    pub in_all: Duration,
}

impl Sink {
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&taken);
        thread::spawn(move || {
            cpus::of_the_world();
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    let _ = stream.set_nodelay(true);
                    let counter = Arc::clone(&counter);
                    tokio::task::spawn_local(async move {
                        // A client that disconnects has delivered nothing.
                        let _ = serve(stream, &counter).await;
                    });
                }
            });
        });
        Ok(Self { address, taken })
    }

    /// Messages accepted so far.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Waits until it has accepted this many in all. Returns how many are missing after the longest
    /// wait, and when the last one arrived.
    pub fn wait_for(&self, count: usize, patience: Patience) -> (usize, Instant) {
        let begun = Instant::now();
        let mut last = (self.taken(), Instant::now());
        loop {
            let taken = self.taken();
            if taken != last.0 {
                last = (taken, Instant::now());
            }
            let too_long = last.1.elapsed() > patience.silence || begun.elapsed() > patience.in_all;
            if taken >= count || too_long {
                return (count.saturating_sub(taken), last.1);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

async fn serve(mut stream: TcpStream, taken: &AtomicUsize) -> io::Result<()> {
    stream.write_all(b"220 sink\r\n").await?;
    let mut unread: Vec<u8> = Vec::with_capacity(64 * 1024);
    let mut in_message = false;
    loop {
        if stream.read_buf(&mut unread).await? == 0 {
            return Ok(());
        }
        let mut replies = Vec::new();
        loop {
            if in_message {
                let Some(end) = end_of_data(&unread) else {
                    // Octets that may be the beginning of an end of data.
                    let keep = unread.len().min(4);
                    unread.drain(..unread.len() - keep);
                    break;
                };
                unread.drain(..end);
                in_message = false;
                taken.fetch_add(1, Ordering::Relaxed);
                replies.extend_from_slice(b"250 2.0.0 taken\r\n");
                continue;
            }
            let Some(end) = unread.iter().position(|&octet| octet == b'\n') else { break };
            let verb = unread.get(..4).unwrap_or_default().to_ascii_uppercase();
            let reply: &[u8] = match &verb[..] {
                b"EHLO" => {
                    b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE\r\n"
                }
                b"DATA" => {
                    in_message = true;
                    b"354 go on\r\n"
                }
                b"QUIT" => b"221 bye\r\n",
                _ => b"250 2.0.0 fine\r\n",
            };
            replies.extend_from_slice(reply);
            // The CRLF of DATA may be the first half of the end of data.
            unread.drain(..if in_message { end - 1 } else { end + 1 });
        }
        stream.write_all(&replies).await?;
    }
}

/// The position of the end of data, if it is there.
fn end_of_data(octets: &[u8]) -> Option<usize> {
    memchr::memmem::find(octets, b"\r\n.\r\n").map(|at| at + 5)
}
