//! Which address of a next hop is used.

use crate::connection::HopConnection;
use crate::reach::Candidate;
use crate::tests::*;
use relay_mail::outcome::Cause;
use relay_mail::reply::Enhanced;

async fn open(addresses: &[SocketAddr]) -> Result<HopConnection, Cause> {
    let candidates: Vec<_> = addresses.iter().map(|&address| candidate(address)).collect();
    connect(&candidates, &Security::default(), &impatient(addresses[0])).await
}

fn candidate(address: SocketAddr) -> Candidate {
    Candidate { address, server: address.to_string().parse().unwrap(), use_basic_smtp: false }
}

#[tokio::test]
async fn the_next_address_is_tried_after_any_error_of_the_first() {
    for fault in [
        Fault::Silent,
        Fault::Says("greeting", "554 go away\r\n"),
        Fault::Says("greeting", "421 later\r\n"),
        Fault::Says("greeting", "nonsense\r\n"),
        Fault::Says("EHLO", "421 later\r\n"),
        Fault::Says("EHLO", ""),
        Fault::Replies("EHLO", "451 later\r\n"),
    ] {
        let (bad, bad_address) = TestNextHop::start([fault]).await;
        let (good, good_address) = TestNextHop::start([]).await;
        let opened = open(&[bad_address, good_address]).await;
        assert!(opened.is_ok(), "{fault:?}: {opened:?}");
        assert_eq!((bad.connections(), good.connections()), (1, 1), "{fault:?}");
    }
}

#[tokio::test]
async fn the_error_of_each_address_is_reported() {
    let refusal = Fault::Says("greeting", "554 5.7.1 go away\r\n");
    let (_one, one) = TestNextHop::start([refusal, refusal]).await;
    let (_two, two) = TestNextHop::start([Fault::Says("EHLO", "421 later\r\n")]).await;
    let Err(Cause::Local { status, text }) = open(&[one, two]).await else { panic!("it opened") };
    assert_eq!(status, Enhanced(4, 4, 1));
    assert!(
        text.contains(&format!(
            "{one}: 554 5.7.1 go away, instead of a greeting; {two}: 421 later, to EHLO or HELO"
        )),
        "{text}"
    );
    // A single address: its own reply, as the report should quote it.
    let alone = open(&[one]).await;
    assert!(matches!(&alone, Err(Cause::Reply { reply, .. }) if reply.code == 554), "{alone:?}");
}
