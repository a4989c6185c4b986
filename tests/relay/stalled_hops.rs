//! Reports to many domains whose exchanger accepts connections and never greets, while good mail
//! goes to a healthy smart host.
//!
//! Prints its figures, for the daemon of `RELAY_BINARY` too:
//! `ATTACK_SECONDS=60 cargo test -p relay-tests --test relay stalled_hops -- --nocapture`.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use std::{env, io};

use relay_tests::requirements::{Requirement, met};
use relay_tests::sink::{Script, Sink};

use crate::edge::{ARTICLE, Edge};
use crate::servers::Server;

/// Longest time for a good message.
const LONGEST: Duration = Duration::from_secs(5);
/// Messages whose reports fill the daemon's whole capacity for delivery.
const AT_ONCE: usize = 1000;
/// Further such messages in each second.
const EACH_SECOND: u32 = 3;

/// Connections to a server that accepts them and sends nothing.
#[derive(Default)]
struct Open {
    now: AtomicUsize,
    most: AtomicUsize,
}

fn silent(address: SocketAddr) -> Arc<Open> {
    let listener = TcpListener::bind(address).unwrap();
    let open = Arc::new(Open::default());
    let counted = Arc::clone(&open);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let now = counted.now.fetch_add(1, Ordering::SeqCst) + 1;
            counted.most.fetch_max(now, Ordering::SeqCst);
            let counted = Arc::clone(&counted);
            // Until the client disconnects.
            thread::spawn(move || {
                let _ = io::copy(&mut stream, &mut io::sink());
                counted.now.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    open
}

#[test]
fn reports_to_a_silent_exchanger_do_not_delay_good_mail() {
    let test = "reports_to_a_silent_exchanger_do_not_delay_good_mail";
    if !met(test, &[Requirement::Program("nsd")]) {
        return;
    }
    // The next hop of the accepted domain knows no recipient: each message causes a report.
    let edge = Edge::answered(&["rcpt=550 5.1.1 no such user"]);
    let healthy = Sink::on_loopback(Script::default()).unwrap();
    let connections = silent(SocketAddr::from(([127, 0, 0, 9], edge.port)));
    let names = Server::name_server("*.bad MX 10 mx\nmx A 127.0.0.9\n");
    let smart_host = format!("smart_host = \"{}\"\n", edge.sink.address());
    let more = format!(
        "[dns]\nservers = [\"{}\"]\n[mx]\nport = {}\nallow_private_addresses = true\n\
         [[route]]\nrecipient_domains = [\"contoso.example\"]\nsmart_hosts = [\"{}\"]\n\
         [[route]]\nrecipient_domains = [\"fabrikam.example\"]\nsmart_hosts = [\"{}\"]\n\
         [control]\n",
        names.address,
        edge.port,
        edge.sink.address(),
        healthy.address()
    );
    let configuration = edge.configuration(ARTICLE).replace(&smart_host, "");
    let _daemon = edge.start_with(&configuration.replace("[control]\n", &more));

    let mut stranger = edge.connect("127.0.0.77");
    stranger.hello();
    let mut number = 0;
    let mut attack = || {
        number += 1;
        let envelope = format!(
            "MAIL FROM:<a@{number}.bad.example>\r\nRCPT TO:<unknown@contoso.example>\r\nDATA\r\n"
        );
        stranger.send(envelope.as_bytes());
        (0..3).for_each(|_| drop(stranger.reply()));
        stranger.send(b"Subject: x\r\n\r\nx\r\n.\r\n");
        drop(stranger.reply());
    };
    (0..AT_ONCE).for_each(|_| attack());
    edge.wait_until(|status| status["queue"]["reports"].as_u64() >= Some(AT_ONCE as u64));
    let mut waits = Vec::new();
    let seconds: u32 = env::var("ATTACK_SECONDS").map_or(5, |text| text.parse().unwrap());
    for _ in 0..seconds * EACH_SECOND {
        attack();
        let begin = Instant::now();
        edge.submit("a@contoso.example", &["a@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
        let _ = healthy.wait_for(waits.len() + 1, 6 * LONGEST);
        waits.push(begin.elapsed());
        if healthy.messages().len() < waits.len() {
            break;
        }
        sleep(Duration::from_secs(1) / EACH_SECOND);
    }
    waits.sort();
    let (served, of) = (healthy.messages().len(), waits.len());
    let open = connections.most.load(Ordering::SeqCst);
    let (median, longest) = (waits[of / 2], waits[of - 1]);
    println!(
        "good messages served: {served} of {of}, median {median:?}, longest {longest:?}; \
         connections to the silent exchanger: {open} at most at one time"
    );
    assert_eq!(served, of);
    assert!(longest < LONGEST, "{longest:?}");
    assert!(open <= 20, "{open} connections to one address");
}
