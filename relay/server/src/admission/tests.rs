//! Connectors that fill up, source by source.

use crate::admission::*;

#[test]
fn an_ipv6_source_is_its_64() {
    let admission = Arc::new(Admission::default());
    let limits = Limits { max_inbound_connection_per_source: Some(1), ..Limits::default() };
    let admit = |remote: &str| {
        admission.admit(ConnectorId(1), &limits, None, remote.parse::<IpAddr>().unwrap())
    };
    let _held = admit("2001:db8:0:7::1").unwrap();
    assert_eq!(admit("2001:db8:0:7:ffff::2").unwrap_err(), AdmissionRefusal::Source);
    let _other = admit("2001:db8:0:8::1").unwrap();
    // IPv4 addresses share the first 64 bits of their IPv6 form and are each their own source.
    let _first = admit("192.0.2.1").unwrap();
    let _second = admit("192.0.2.2").unwrap();
    assert_eq!(admit("::ffff:192.0.2.1").unwrap_err(), AdmissionRefusal::Source);
}

#[test]
fn a_place_is_taken_and_given_back() {
    let admission = Arc::new(Admission::default());
    let limits = Limits {
        max_inbound_connection: Some(3),
        max_inbound_connection_per_source: Some(2),
        max_inbound_connection_percentage_per_source: 100,
        ..Limits::default()
    };
    let admit = |id, last: u8| {
        admission.admit(ConnectorId(id), &limits, None, IpAddr::from([192, 0, 2, last]))
    };
    let first = admit(1, 1).unwrap();
    let second = admit(1, 1).unwrap();
    assert_eq!(admit(1, 1).unwrap_err(), AdmissionRefusal::Source);
    let third = admit(1, 2).unwrap();
    assert_eq!(admit(1, 3).unwrap_err(), AdmissionRefusal::Connector);
    let other = admit(2, 1).unwrap();
    drop(second);
    let again = admit(1, 3).unwrap();
    drop((first, third, other, again));
    assert!(admission.0.lock().is_empty(), "ended connections need no memory");
}

/// Fills a connector from as many sources as necessary, each up to its limits.
fn fill(limits: &Limits, sources: u32) -> Vec<u32> {
    let admission = Arc::new(Admission::default());
    let mut held = Vec::new();
    let counts = (0..sources).map(|source| {
        let remote = IpAddr::from((source << 8).to_be_bytes());
        let before = held.len();
        while held.len() < 100_000
            && let Ok(place) = admission.admit(ConnectorId(1), limits, None, remote)
        {
            held.push(place);
        }
        u32::try_from(held.len() - before).unwrap()
    });
    counts.collect()
}

#[test]
fn the_share_of_a_source_falls_as_the_connector_fills() {
    let counts = fill(&Limits::default(), 300);
    // 200 sources have the fixed limit of 20 connections each, which are the first 4,000.
    assert!(counts[..199].iter().all(|&count| count == 20), "{counts:?}");
    assert!(counts[201] < 20 && counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
    assert!(counts.iter().sum::<u32>() < 5_000 && counts[299] > 0, "{counts:?}");

    let limits = Limits { max_inbound_connection: Some(10), ..Limits::default() };
    assert_eq!(fill(&limits, 11), [[1; 10].as_slice(), &[0]].concat());
    let whole = Limits { max_inbound_connection_percentage_per_source: 100, ..limits };
    // With half of the free connections as limit: of 10 free after 0, of 9 free after 1, and so on.
    assert_eq!(fill(&whole, 3), [5, 3, 1]);
}

/// The number of connections of each range on one connector. Each client connects as often as it
/// may; at most this many clients.
fn fill_from(
    admission: &Arc<Admission>,
    range: Option<&str>,
    clients: impl Iterator<Item = String>,
) -> Vec<ConnectionPermit> {
    let range = range.map(|range| range.parse::<Range>().unwrap());
    let mut held = Vec::new();
    for client in clients {
        let remote: IpAddr = client.parse().unwrap();
        let limits = Limits::default();
        while let Ok(place) = admission.admit(ConnectorId(1), &limits, range.as_ref(), remote) {
            held.push(place);
        }
    }
    held
}

#[test]
fn many_networks_of_one_customer_share_and_leave_room_for_others() {
    let sites = || (0..428).map(|site| format!("2001:db8:1:{site:x}::1"));
    let admission = Arc::new(Admission::default());
    let taken = fill_from(&admission, None, sites());
    // Ten percent of the free connections: n is at most (5000 - n) / 10.
    assert_eq!(taken.len(), 454);
    let halves = fill_from(&admission, None, (0..256).map(|it| format!("2001:db8:2:{it:x}::1")));
    assert!((200..300).contains(&halves.len()), "a /56 has five percent: {}", halves.len());
    // All customers of one provider have at most half of the connections.
    let provider = fill_from(&admission, None, (3..5000).map(|it| format!("2001:db8:{it:x}::1")));
    let all = taken.len() + halves.len() + provider.len();
    assert!((1600..1700).contains(&all), "{all}");
    let rented = fill_from(&admission, None, (0..256).map(|it| format!("192.0.2.{it}")));
    assert!((600..700).contains(&rented.len()), "a quarter of what is left: {}", rented.len());
    let limits = Limits::default();
    for remote in ["198.51.100.1", "2a00::1"] {
        let remote = remote.parse().unwrap();
        assert!(admission.admit(ConnectorId(1), &limits, None, remote).is_ok(), "{remote}");
    }
    drop((taken, halves, provider, rented));
    assert!(admission.0.lock().is_empty(), "ended connections need no memory");
}

#[test]
fn the_last_connections_are_for_sources_that_have_none() {
    let admission = Arc::new(Admission::default());
    let limits = Limits {
        max_inbound_connection: Some(100),
        max_inbound_connection_per_source: None,
        max_inbound_connection_percentage_per_source: 100,
        ..Limits::default()
    };
    let admit =
        |third: u8| admission.admit(ConnectorId(1), &limits, None, IpAddr::from([10, 0, third, 1]));
    let mut held = Vec::new();
    for source in 0..90 {
        held.push(admit(source).unwrap());
    }
    assert_eq!(admit(0).unwrap_err(), AdmissionRefusal::Reserved);
    for source in 90..100 {
        held.push(admit(source).unwrap());
    }
    assert_eq!(admit(100).unwrap_err(), AdmissionRefusal::Connector);
}

#[test]
fn a_network_that_a_range_was_written_for_may_have_all_of_it() {
    let clients = || (0..250).map(|host| format!("10.38.97.{host}"));
    let of = |range| fill_from(&Arc::new(Admission::default()), Some(range), clients()).len();
    assert!(of("10.38.97.0/24") > 4_000);
    assert!(of("10.38.97.0-10.38.97.255") > 4_000);
    // The range contains other networks too.
    assert_eq!(of("10.38.0.0/16"), 1_000);
    assert_eq!(of("0.0.0.0-255.255.255.255"), 1_000);
    let sites = || (0..255).map(|site| format!("fd38:0:0:{site:x}::1"));
    let of = |range| fill_from(&Arc::new(Admission::default()), Some(range), sites()).len();
    assert!(of("fd38::/56") > 4_000);
    assert_eq!(of("fd38::/48"), 238, "its /56 has five percent");
    assert_eq!(of("::/0"), 238);
}

#[test]
fn unlimited_is_without_limit() {
    let limits = Limits {
        max_inbound_connection: None,
        max_inbound_connection_per_source: None,
        max_inbound_connection_percentage_per_source: 1,
        ..Limits::default()
    };
    assert_eq!(fill(&limits, 1), [100_000]);
}
