//! Name servers that fail, do not run or contradict each other.

use tokio::net::UdpSocket;

use crate::testing::*;
use crate::*;

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
async fn a_server_that_does_not_run_is_skipped() {
    let good = Scripted::start(zone).await;
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let dns = servers(&[gone, good.address]);
    assert!(dns.exchangers("good.example").await.is_ok());
}

#[tokio::test]
async fn the_first_answer_counts_and_a_failed_server_is_asked_last() {
    let silent = Scripted::start(|_, _| Says::Nothing).await;
    let (first, second) = (Scripted::start(zone).await, Scripted::start(zone).await);
    let dns = servers(&[silent.address, first.address, second.address]);
    assert!(dns.first_ipv4("mx.good.example").await.is_ok());
    // A silent server may be asked the same more than once.
    let asked = silent.questions();
    assert!(dns.first_ipv4("good.example").await.is_ok());
    assert!(dns.exchangers("gone.example").await.is_err(), "it does not exist");
    assert_eq!((first.questions(), second.questions()), (3, 0));
    assert_eq!(silent.questions(), asked);
}

#[tokio::test]
async fn if_no_server_answers_each_error_is_quoted() {
    let one = Scripted::start(|_, _| Says::Code(ResponseCode::ServFail)).await;
    let other = Scripted::start(|_, _| Says::Code(ResponseCode::Refused)).await;
    let failed = servers(&[one.address, other.address]).exchangers("good.example").await;
    let Err(LookupError::Unavailable { why, .. }) = failed else { panic!("{failed:?}") };
    assert!(why.contains(&ResponseCode::ServFail.to_string()), "{why}");
    assert!(why.contains(&ResponseCode::Refused.to_string()), "{why}");
}
