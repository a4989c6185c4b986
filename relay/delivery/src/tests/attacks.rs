//! Strangers name next hops that accept connections and then do nothing: all other mail is
//! delivered as if they did not exist.

use std::str::FromStr;

use crate::route::{RecipientPattern, SenderPattern};
use crate::tests::*;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::MX;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use relay_dns::testing::{Says, Scripted, a, servers};
use relay_mail::domain_pattern::DomainPattern;

/// Faults of a next hop that occupy connections as long as possible.
const STALLS: [Fault; 6] = [
    Fault::Silent,
    Fault::Replies("EHLO", ""),
    Fault::Replies("EHLO", "250-a line, and the next one never comes\r\n"),
    Fault::Replies("MAIL", ""),
    Fault::Replies("DATA", ""),
    Fault::Replies("end", ""),
];

/// Every domain below `bad.example` has one mail exchanger, 127.0.0.9; those below `good.example`
/// have 127.0.0.8; look-ups of those below `slow.example` get no answer.
async fn names() -> Scripted {
    Scripted::start(|name, records| {
        let exchanger = |host| {
            let host = Name::from_str(host).unwrap();
            Says::Records(vec![RData::MX(MX::new(10, host))])
        };
        match records {
            _ if name.ends_with("slow.example") => Says::Nothing,
            RecordType::MX if name.ends_with("bad.example") => exchanger("mx.bad.example."),
            RecordType::MX if name.ends_with("good.example") => exchanger("mx.good.example."),
            RecordType::A if name == "mx.bad.example" => Says::Records(vec![a("127.0.0.9")]),
            RecordType::A if name == "mx.good.example" => Says::Records(vec![a("127.0.0.8")]),
            RecordType::AAAA => Says::Records(Vec::new()),
            _ => Says::Code(ResponseCode::NXDomain),
        }
    })
    .await
}

/// Delivery by DNS, with a smart host for `fabrikam.example`.
async fn daemon(names: &Scripted, port: u16, smart_host: SocketAddr) -> Daemon {
    let domain = "fabrikam.example".parse::<DomainPattern>().unwrap();
    let route = Route {
        line: 1,
        recipients: vec![RecipientPattern::Domain(domain)],
        senders: vec![SenderPattern::Any],
        next_hop: to_servers(&[smart_host], Security::default()),
    };
    let dns = servers(&[names.address]);
    Daemon::start_with(smart_host, |settings| {
        *settings = by_address(port);
        settings.dns = Some(dns);
        settings.routes =
            Routes::new(vec![route], NextHop::Exchangers { security: Arc::default() });
    })
}

/// Much shorter than the time limit of an attempt at a server that does nothing.
const WHILE_THE_ATTACK_LASTS: Duration = Duration::from_secs(30);

/// Each of these messages reaches the sink during the attack.
async fn are_served(daemon: &Daemon, sink: &TestNextHop, recipients: &[&str]) {
    for recipient in recipients {
        let (before, begin) = (sink.taken().len(), Instant::now());
        daemon.accept(&[recipient], b"x\r\n").await;
        while sink.taken().len() == before {
            let counters = daemon.queue.counters();
            assert!(begin.elapsed() < WHILE_THE_ATTACK_LASTS, "{recipient}: {counters:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Reports and other mail, each to another domain or address.
async fn attack(daemon: &Daemon, to: impl Fn(usize) -> String, messages: usize) {
    let senders = ["<>", "<sender@contoso.example>"];
    let accepted = (0..messages).map(|number| {
        let (queue, to) = (&daemon.queue, to(number));
        async move { accept_from(queue, senders[number % 2], &[&to], b"x\r\n").await }
    });
    futures_util::future::join_all(accepted).await;
}

/// Waits until the sink has had this many connections at once.
async fn reaches(sink: &TestNextHop, peak: usize) {
    let begin = Instant::now();
    while sink.peak() < peak {
        assert!(begin.elapsed() < WHILE_THE_ATTACK_LASTS, "{} of {peak}", sink.peak());
        sleep(Duration::from_millis(5)).await;
    }
}

/// No more connections than allowed for an address, plus those whose end the sink has not seen yet.
fn assert_few(sink: &TestNextHop) {
    assert!(sink.peak() < 2 * limits::DELIVERY_CONCURRENCY, "{}", sink.peak());
}

const GOOD: [&str; 3] = ["<a@1.good.example>", "<a@2.good.example>", "<a@3.good.example>"];

#[tokio::test]
async fn a_silent_exchanger_of_many_domains_delays_no_other_mail() {
    for stall in STALLS {
        let names = names().await;
        let (smart_host, smart_host_address) = TestNextHop::start([]).await;
        let (bad, bad_address) = TestNextHop::start_on("127.0.0.9:0").await;
        bad.state.lock().faults.extend([stall; 2000]);
        let port = bad_address.port();
        let (good, _) = TestNextHop::start_on(&format!("127.0.0.8:{port}")).await;
        let daemon = daemon(&names, port, smart_host_address).await;
        attack(&daemon, |number| format!("<a@{number}.bad.example>"), 60).await;
        reaches(&bad, limits::DELIVERY_CONCURRENCY).await;
        are_served(&daemon, &smart_host, &[ONE; 5]).await;
        are_served(&daemon, &good, &GOOD).await;
        assert_eq!(bad.peak(), limits::DELIVERY_CONCURRENCY, "{stall:?}");
        daemon.delivery.abort();
    }
}

#[tokio::test]
async fn many_silent_addresses_delay_no_configured_next_hop() {
    let names = names().await;
    let (smart_host, smart_host_address) = TestNextHop::start([]).await;
    let (bad, bad_address) = TestNextHop::start_on("0.0.0.0:0").await;
    bad.state.lock().faults.extend([Fault::Silent; 2000]);
    let daemon = daemon(&names, bad_address.port(), smart_host_address).await;
    let to = |number: usize| format!("<a@[127.2.{}.{}]>", number / 250, number % 250 + 1);
    attack(&daemon, to, 2 * limits::UNPROVEN_CLAIMS).await;
    reaches(&bad, limits::UNPROVEN_CLAIMS).await;
    are_served(&daemon, &smart_host, &[ONE; 5]).await;
    assert_eq!(bad.peak(), limits::UNPROVEN_CLAIMS);
    daemon.delivery.abort();
}

#[tokio::test]
async fn silent_name_servers_delay_no_configured_next_hop() {
    let names = names().await;
    let (smart_host, smart_host_address) = TestNextHop::start([]).await;
    let daemon = daemon(&names, 9, smart_host_address).await;
    let to = |number: usize| format!("<a@{number}.slow.example>");
    attack(&daemon, to, 2 * limits::UNPROVEN_CLAIMS).await;
    // Until all allowed look-ups are running.
    sleep(Duration::from_millis(500)).await;
    are_served(&daemon, &smart_host, &[ONE; 5]).await;
    daemon.delivery.abort();
}

#[tokio::test]
async fn a_message_to_many_domains_of_one_exchanger_opens_few_connections() {
    let names = names().await;
    let (_smart_host, smart_host_address) = TestNextHop::start([]).await;
    let (sink, address) = TestNextHop::start_on("127.0.0.9:0").await;
    let daemon = daemon(&names, address.port(), smart_host_address).await;
    let recipients: Vec<_> = (0..150).map(|number| format!("<a@{number}.bad.example>")).collect();
    let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
    daemon.accept(&recipients, b"x\r\n").await;
    let counters = daemon.finish().await;
    assert_eq!((counters.delivered, counters.deferred), (150, 0));
    assert_few(&sink);
}

#[tokio::test]
async fn messages_that_waited_for_room_at_an_address_follow_when_there_is_room() {
    let names = names().await;
    let (_smart_host, smart_host_address) = TestNextHop::start([]).await;
    let (sink, address) = TestNextHop::start_on("127.0.0.9:0").await;
    let slow = Fault::IsSlow(Duration::from_millis(300));
    sink.state.lock().faults.extend([slow; limits::DELIVERY_CONCURRENCY]);
    let daemon = daemon(&names, address.port(), smart_host_address).await;
    attack(&daemon, |number| format!("<a@{number}.bad.example>"), 100).await;
    assert_eq!(daemon.finish().await.delivered, 100);
    assert_few(&sink);
}

#[tokio::test]
async fn domains_of_an_exchanger_that_allows_few_connections_take_turns() {
    for most in [1, 2] {
        let names = names().await;
        let (_smart_host, smart_host_address) = TestNextHop::start([]).await;
        let refusal = Fault::Says("greeting", "421 4.7.0 too many connections\r\n");
        let listener = TcpListener::bind("127.0.0.9:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sink = TestNextHop { limit: Some((most, refusal)), ..TestNextHop::default() };
        sink.state.lock().faults.extend([Fault::IsSlow(Duration::from_millis(50)); 100]);
        sink.clone().serve(listener);
        let daemon = daemon(&names, address.port(), smart_host_address).await;
        attack(&daemon, |number| format!("<a@{number}.bad.example>"), 40).await;
        let counters = daemon.finish().await;
        assert_eq!(counters.delivered, 40);

        // A refusal counts as an attempt only while the mail exchanger serves no other connection
        // of ours.
        assert!(counters.deferred <= 40, "{counters:?}");
    }
}
