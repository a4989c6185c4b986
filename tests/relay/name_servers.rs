//! Two name servers; the first answers every question at once, with an error.
//!
//! Prints its figures, for the daemon of `RELAY_BINARY` too:
//! `cargo test -p relay-tests --test relay name_servers -- --nocapture`.

use std::net::{SocketAddr, UdpSocket};
use std::thread;

use relay_tests::requirements::{Requirement, met};
use relay_tests::sink::{Script, Sink};

use crate::PATIENCE;
use crate::edge::{ARTICLE, Edge, Mode, SCANNER};
use crate::servers::Server;

/// The names of the second server. Each message asks for other names.
const ZONE: &str = "*.mx MX 10 hub\n*.plain A 127.0.0.21\nhub A 127.0.0.21\n\
                    *.sender TXT \"v=spf1 a:*.plain.example ip4:127.0.0.5 -all\"\n\
                    6.0.0.127.bl A 127.0.0.2\n";
/// Messages for each of the three methods to find a next hop.
const OF_EACH_WAY: usize = 20;
/// Response codes (RFC 1035 section 4.1.1).
const CODES: [(&str, u8); 2] = [("SERVFAIL", 2), ("REFUSED", 5)];

/// Answers with this code until the process ends.
fn refuses(code: u8) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut question) {
            // A response, with recursion desired and available.
            question[2..4].copy_from_slice(&[0x81, 0x80 | code]);
            // If a resolver has ended, it asks again.
            let _ = socket.send_to(&question[..length], client);
        }
    });
    address
}

#[test]
fn an_error_of_one_server_is_not_the_answer_of_all() {
    let test = "an_error_of_one_server_is_not_the_answer_of_all";
    if !met(test, &[Requirement::Program("nsd")]) {
        return;
    }
    for (code, number) in CODES {
        let good = Server::name_server(ZONE);
        let edge = Edge::new(Mode::Userspace);
        let hub = SocketAddr::from(([127, 0, 0, 21], edge.port));
        let sink = Sink::start(None, hub, Script::default()).unwrap();
        let more = format!(
            "[dns]\nservers = [\"{}\", \"{}\"]\n[mx]\nport = {}\nallow_private_addresses = true\n\
             [[route]]\nrecipient_domains = [\"fabrikam.example\"]\n\
             smart_hosts = [\"hub.example:{}\"]\n[control]\n",
            refuses(number),
            good.address,
            edge.port,
            edge.port
        );
        let checked = "[[connector]]\nname = \"Checked\"\nbindings = [\"127.0.0.1:PORT\"]\n\
                       remote_ip_ranges = [\"127.0.0.5\", \"127.0.0.6\"]\ntarpit_interval = \"0s\"\n\
                       permission_groups = [\"AnonymousUsers\"]\n\
                       antispam = { spf = \"Enforce\", \
                       block_lists = [{ zone = \"bl.example\", action = \"Enforce\" }] }\n";
        let configuration = edge.configuration(&format!("{ARTICLE}{checked}"));
        let smart_host = format!("smart_host = \"{}\"\n", edge.sink.address());
        let _daemon =
            edge.start_with(&configuration.replace(&smart_host, "").replace("[control]\n", &more));

        let mut client = edge.connect(SCANNER);
        client.hello();
        for number in 0..OF_EACH_WAY {
            for domain in [
                format!("d{number}.mx.example"),
                format!("d{number}.plain.example"),
                "fabrikam.example".to_owned(),
            ] {
                let reply = client.message(
                    "a@contoso.example",
                    &[&format!("b@{domain}")],
                    b"x: y\r\n\r\nx\r\n",
                );
                assert!(reply.starts_with("250"), "{reply}");
            }
        }
        client.quit();
        let mail = |from: &str, number: usize| {
            let mut client = edge.connect(from);
            client.hello();
            let reply = client.say(&format!("MAIL FROM:<a@d{number}.sender.example>"));
            client.quit();
            reply
        };
        let passed = (0..OF_EACH_WAY).filter(|it| mail("127.0.0.5", *it).starts_with("250"));
        let passed = passed.count();
        let listed = mail("127.0.0.6", 0);
        let all = 3 * OF_EACH_WAY;
        let _ = sink.wait_for(all, PATIENCE);
        let (arrived, deferred) =
            (sink.messages().len(), edge.status()["queue"]["deferred"].clone());
        println!(
            "{code} of the first server: {arrived} of {all} messages delivered, {deferred} attempts \
             deferred; SPF passed {passed} of {OF_EACH_WAY}; a listed client: {listed}"
        );
        assert_eq!((arrived, deferred.as_u64(), passed), (all, Some(0), OF_EACH_WAY));
        assert!(listed.starts_with("554 5.7.1 "), "{listed}");
    }
}
