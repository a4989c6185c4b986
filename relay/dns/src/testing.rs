//! A scripted name server on loopback, for the tests of this crate and of crates above.

#![expect(clippy::unwrap_used, reason = "a test without its server has failed")]

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, MessageType, OpCode};
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::rdata::{A, MX, NS, TXT};
use tokio::net::UdpSocket;

use crate::*;

/// A scripted reply.
#[derive(Clone, Debug)]
pub enum Says {
    /// A response code.
    Code(ResponseCode),
    /// Records, or none.
    Records(Vec<RData>),
    /// A referral to other servers.
    Referral,
    /// A truncated reply; there is no TCP.
    Truncated,
    /// No reply.
    Nothing,
}

/// A scripted name server on loopback.
#[derive(Clone, Debug)]
pub struct Scripted {
    /// Its address.
    pub address: SocketAddr,
    questions: Arc<AtomicUsize>,
}

impl Scripted {
    /// Names come in lower case, without the final dot.
    pub async fn start(script: impl Fn(&str, RecordType) -> Says + Send + 'static) -> Self {
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

    /// The number of queries so far.
    pub fn questions(&self) -> usize {
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

/// A resolver with these servers.
pub fn servers(addresses: &[SocketAddr]) -> Dns {
    let timeout = Duration::from_secs(5);
    Dns::new(&DnsSettings { servers: addresses.to_vec(), timeout }).unwrap()
}

/// An A record.
pub fn a(address: &str) -> RData {
    RData::A(A(address.parse().unwrap()))
}

/// A TXT record.
pub fn txt(text: &str) -> RData {
    RData::TXT(TXT::new(vec![text.to_owned()]))
}

/// `good.example` has a mail exchanger, addresses, a policy and a listing; no other name exists.
pub fn zone(name: &str, records: RecordType) -> Says {
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

/// All replies that are not answers.
pub fn failures() -> Vec<Says> {
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
