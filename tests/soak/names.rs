//! A name server with few names: each of them is its own mail exchanger, and all other domains
//! share one exchanger.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;

use relay_tests::namespace::Namespace;

const TYPE_A: u16 = 1;
const TYPE_MX: u16 = 15;
/// Lifetime of an answer in seconds.
const TTL: u32 = 300;
/// The label of a domain's exchanger.
const EXCHANGER: &[u8] = b"\x02mx";

/// Answers from its own thread until the process ends.
pub fn serve(
    place: &Namespace,
    address: SocketAddr,
    known: &[(&'static str, IpAddr)],
    other_domains: IpAddr,
) {
    let socket = place.enter(|| UdpSocket::bind(address)).unwrap().unwrap();
    let known = known.to_vec();
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut question) {
            let of = |name: &str| {
                let found = known.iter().find(|(domain, _)| name.ends_with(domain));
                found.map_or(other_domains, |(_, address)| *address)
            };
            if let Some(reply) = answer(&question[..length], of) {
                // If a resolver has ended, it asks again.
                let _ = socket.send_to(&reply, client);
            }
        }
    });
}

/// The reply to one question (RFC 1035 section 4.1): the MX of any domain is `mx` below it, its A
/// is the result of `address`; other types have no records.
fn answer(question: &[u8], address: impl Fn(&str) -> IpAddr) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut name = String::new();
    loop {
        let length = usize::from(*question.get(at)?);
        if length == 0 {
            break;
        }
        name.push('.');
        name.push_str(std::str::from_utf8(question.get(at + 1..at + 1 + length)?).ok()?);
        at += 1 + length;
    }
    let kind = u16::from_be_bytes(question.get(at + 1..at + 3)?.try_into().ok()?);
    let end = at + 5;
    let data = match (kind, address(&name.to_ascii_lowercase())) {
        // The domain itself is at octet 12.
        (TYPE_MX, _) => [&10u16.to_be_bytes(), EXCHANGER, &[0xc0, 12]].concat(),
        (TYPE_A, IpAddr::V4(address)) => address.octets().to_vec(),
        _ => Vec::new(),
    };
    let answers = u16::from(!data.is_empty());
    let mut reply = question.get(..2)?.to_vec();
    // A response, with authority, recursion desired and available, without an error.
    reply.extend_from_slice(&[0x85, 0x80, 0, 1]);
    reply.extend_from_slice(&answers.to_be_bytes());
    reply.extend_from_slice(&[0; 4]);
    reply.extend_from_slice(question.get(12..end)?);
    if answers > 0 {
        reply.extend_from_slice(&[0xc0, 12]);
        reply.extend_from_slice(&kind.to_be_bytes());
        reply.extend_from_slice(&1u16.to_be_bytes());
        reply.extend_from_slice(&TTL.to_be_bytes());
        reply.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        reply.extend_from_slice(&data);
    }
    Some(reply)
}
