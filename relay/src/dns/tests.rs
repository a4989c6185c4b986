//! Name servers that err, lie idle or contradict each other, and what is made of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, MessageType, OpCode};
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::rdata::{A, MX, NS, TXT};
use tokio::net::UdpSocket;

use super::*;

/// What a scripted server says to a question.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    Code(ResponseCode),
    /// These, or that there are none.
    Records(Vec<RData>),
    /// That other servers know.
    Referral,
    /// That it would be too much for UDP; there is no TCP.
    Truncated,
    Nothing,
}

/// A scripted name server on loopback.
#[derive(Clone, Debug)]
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    questions: Arc<AtomicUsize>,
}

impl Scripted {
    /// Names come in lower case, without the final dot.
    pub(crate) async fn start(script: impl Fn(&str, RecordType) -> Says + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let server = Self { address, questions: Arc::default() };
        let questions = Arc::clone(&server.questions);
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                questions.fetch_add(1, Ordering::Relaxed);
                let request = Message::from_vec(&buffer[..length]).unwrap();
                if let Some(reply) = reply(&request, &script) {
                    socket.send_to(&reply, client).await.unwrap();
                }
            }
        });
        server
    }

    fn questions(&self) -> usize {
        self.questions.load(Ordering::Relaxed)
    }
}

fn reply(request: &Message, script: &impl Fn(&str, RecordType) -> Says) -> Option<Vec<u8>> {
    let query = request.queries[0].clone();
    let name = query.name().to_ascii().to_lowercase();
    let mut reply = Message::new(request.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata.recursion_available = true;
    let record = |data| Record::from_rdata(query.name().clone(), 60, data);
    match script(name.trim_end_matches('.'), query.query_type()) {
        Says::Nothing => return None,
        Says::Code(code) => reply.metadata.response_code = code,
        Says::Truncated => reply.metadata.truncation = true,
        Says::Records(list) => {
            reply.add_answers(list.into_iter().map(record));
        }
        Says::Referral => {
            let other = Name::from_str("a.root-servers.net.").unwrap();
            reply.add_authority(Record::from_rdata(Name::root(), 60, RData::NS(NS(other))));
        }
    }
    reply.add_query(query);
    Some(reply.to_vec().unwrap())
}

/// The way to these servers.
pub(crate) fn servers(addresses: &[SocketAddr]) -> Dns {
    let timeout = Duration::from_secs(5);
    Dns::new(&Settings { servers: addresses.to_vec(), timeout }).unwrap()
}

pub(crate) fn a(address: &str) -> RData {
    RData::A(A(address.parse().unwrap()))
}

pub(crate) fn txt(text: &str) -> RData {
    RData::TXT(TXT::new(vec![text.to_owned()]))
}

/// `good.example` has an exchanger, addresses, a policy and a listing; nothing else exists.
pub(crate) fn zone(name: &str, records: RecordType) -> Says {
    match (name, records) {
        ("good.example", RecordType::MX) => {
            let host = Name::from_str("mx.good.example.").unwrap();
            Says::Records(vec![RData::MX(MX::new(10, host))])
        }
        ("good.example" | "mx.good.example", RecordType::A) => Says::Records(vec![a("192.0.2.1")]),
        ("good.example", RecordType::TXT) => Says::Records(vec![txt("v=spf1 a -all")]),
        ("1.2.0.192.list.example", RecordType::A) => Says::Records(vec![a("127.0.0.2")]),
        ("good.example" | "mx.good.example", _) => Says::Records(Vec::new()),
        _ => Says::Code(ResponseCode::NXDomain),
    }
}

/// Everything that is no answer.
pub(crate) fn failures() -> Vec<Says> {
    let codes = [
        ResponseCode::ServFail,
        ResponseCode::Refused,
        ResponseCode::NotImp,
        ResponseCode::FormErr,
        ResponseCode::NotAuth,
    ];
    let codes = codes.into_iter().map(Says::Code);
    codes.chain([Says::Referral, Says::Truncated, Says::Nothing]).collect()
}

#[tokio::test]
async fn an_error_of_one_server_is_not_the_answer_of_all() {
    for failure in failures() {
        let said = failure.clone();
        let bad = Scripted::start(move |_, _| said.clone()).await;
        let good = Scripted::start(zone).await;
        for order in [[bad.address, good.address], [good.address, bad.address]] {
            let dns = servers(&order);
            let exchangers = dns.exchangers("good.example").await;
            assert_eq!(exchangers.map(|all| all.len()), Ok(1), "{failure:?}");
            let addresses = dns.addresses("mx.good.example").await;
            assert_eq!(addresses, Ok(vec!["192.0.2.1".parse().unwrap()]), "{failure:?}");
            let gone = dns.exchangers("gone.example").await;
            assert_eq!(gone, Err(LookupError::NoDomain("gone.example".to_owned())), "{failure:?}");
            let none = dns.exchangers("mx.good.example").await;
            assert!(matches!(none, Err(LookupError::NoRecords { .. })), "{failure:?}: {none:?}");
            let listed = dns.first_ipv4("1.2.0.192.list.example").await;
            assert_eq!(listed, Ok(Some(Ipv4Addr::new(127, 0, 0, 2))), "{failure:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_run_is_passed_over() {
    let good = Scripted::start(zone).await;
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let dns = servers(&[gone, good.address]);
    assert!(dns.exchangers("good.example").await.is_ok());
}

#[tokio::test]
async fn the_first_answer_is_believed_and_a_failed_server_is_asked_last() {
    let silent = Scripted::start(|_, _| Says::Nothing).await;
    let (first, second) = (Scripted::start(zone).await, Scripted::start(zone).await);
    let dns = servers(&[silent.address, first.address, second.address]);
    assert!(dns.first_ipv4("mx.good.example").await.is_ok());
    // One that is said to be silent may be asked more than once for the same.
    let asked = silent.questions();
    assert!(dns.first_ipv4("good.example").await.is_ok());
    assert!(dns.exchangers("gone.example").await.is_err(), "it does not exist");
    assert_eq!((first.questions(), second.questions()), (3, 0));
    assert_eq!(silent.questions(), asked);
}

#[tokio::test]
async fn where_no_server_can_say_each_is_quoted() {
    let one = Scripted::start(|_, _| Says::Code(ResponseCode::ServFail)).await;
    let other = Scripted::start(|_, _| Says::Code(ResponseCode::Refused)).await;
    let failed = servers(&[one.address, other.address]).exchangers("good.example").await;
    let Err(LookupError::Unavailable { why, .. }) = failed else { panic!("{failed:?}") };
    assert!(why.contains(&ResponseCode::ServFail.to_string()), "{why}");
    assert!(why.contains(&ResponseCode::Refused.to_string()), "{why}");
}
