//! A next hop that serves one or two connections of a client at a time, and refuses others.
//!
//! Prints the used share of its capacity, for the daemon of `RELAY_BINARY` too:
//! `cargo test -p relay-tests --test relay limited_hops -- --nocapture`.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::edge::{ARTICLE, Edge, Mode, SCANNER};

/// The server's time for a message.
const SERVICE: Duration = Duration::from_millis(20);
const MESSAGES: usize = 150;
const TRANSACTION: &[u8] = b"MAIL FROM:<a@contoso.example>\r\nRCPT TO:<b@fabrikam.example>\r\n\
                            BDAT 15 LAST\r\nSubject: x\r\n\r\nx";
/// Longest time for the messages, much longer than at a tenth of the capacity.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server's counters.
#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    taken: AtomicUsize,
    refused: AtomicUsize,
}

fn limited(most: usize) -> (SocketAddr, Arc<Counts>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let counts = Arc::new(Counts::default());
    let shared = Arc::clone(&counts);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let counts = Arc::clone(&shared);
            thread::spawn(move || {
                if counts.open.fetch_add(1, SeqCst) < most {
                    // The client may disconnect at any time.
                    let _ = serve(stream, &counts);
                } else {
                    counts.refused.fetch_add(1, SeqCst);
                    let _ = stream.write_all(b"421 4.7.0 too many connections\r\n");
                }
                counts.open.fetch_sub(1, SeqCst);
            });
        }
    });
    (address, counts)
}

fn serve(stream: TcpStream, counts: &Counts) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut client = BufReader::new(stream);
    client.get_mut().write_all(b"220 limited.example\r\n")?;
    let mut line = String::new();
    let mut in_content = false;
    loop {
        line.clear();
        if client.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            _ if in_content && line != ".\r\n" => continue,
            _ if in_content => {
                sleep(SERVICE);
                in_content = false;
                counts.taken.fetch_add(1, SeqCst);
                "250 2.0.0 taken\r\n"
            }
            "EHLO" => "250-limited.example\r\n250 PIPELINING\r\n",
            "DATA" => {
                in_content = true;
                "354 go on\r\n"
            }
            "QUIT" => return client.get_mut().write_all(b"221 2.0.0 bye\r\n"),
            _ => "250 2.0.0 OK\r\n",
        };
        client.get_mut().write_all(reply.as_bytes())?;
    }
}

#[test]
fn the_served_connection_continues_to_deliver() {
    for most in [1, 2] {
        let edge = Edge::new(Mode::Userspace);
        let (hop, counts) = limited(most);
        let configuration = edge.configuration(ARTICLE);
        let to_limited = format!("smart_host = \"{hop}\"\n");
        let smart_host = format!("smart_host = \"{}\"\n", edge.sink.address());
        let _daemon = edge.start_with(&configuration.replace(&smart_host, &to_limited));
        let mut client = edge.connect(SCANNER);
        client.hello();
        let begin = Instant::now();
        for _ in 0..MESSAGES {
            // In one write: the daemon must have more messages than the next hop accepts at once.
            client.send(TRANSACTION);
            let replies: Vec<_> = (0..3).map(|_| client.reply()).collect();
            assert!(replies[2].starts_with("250"), "{replies:?}");
        }
        while counts.taken.load(SeqCst) < MESSAGES && begin.elapsed() < PATIENCE {
            sleep(Duration::from_millis(1));
        }
        let took = begin.elapsed();
        let taken = counts.taken.load(SeqCst);
        let refused = counts.refused.load(SeqCst);
        let capacity = took.as_secs_f64() / SERVICE.as_secs_f64() * most as f64;
        let deferred = edge.status()["queue"]["deferred"].clone();
        println!(
            "{most} allowed: {taken} of {MESSAGES} messages in {took:.1?}, {:.0} % of the capacity; \
             {refused} connections refused, {deferred} attempts deferred",
            100.0 * taken as f64 / capacity
        );
        assert_eq!(taken, MESSAGES);
        // As many as the first window has, and some that test whether more are allowed by now.
        assert!(refused <= 40, "{refused} connections refused");
    }
}
