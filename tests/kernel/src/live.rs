//! Real connections during configuration changes.
//!
//! An edge host and a peer, each in its own network namespace, are connected by a veth pair.
//! Clients connect over the veth pair and over the edge's loopback, from many addresses, in IPv4,
//! in IPv6 and in IPv4 to a dual-stack socket; part of them with forced SYN cookies. Meanwhile
//! generations replace each other. Every accepted socket must have a tag. The tag must equal the
//! result of the plain rule for the tag's own generation.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use fastrand::Rng;
use relay_common::tables::{NO_CONNECTOR, Tag};
use relay_connector::ConnectorIds;
use relay_kernel::classifier::publication_of;
use relay_kernel::{KernelHalf, TagReader};
use relay_policy::Rules;
use relay_tests::namespace::{Namespace, link};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::nested::{Expected, Nested};
use crate::netstat::tcp_counters;
use crate::setup::{SELF_TEST, config, load_in, pin_directory};

/// The settings of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Connections in all, half of them with SYN cookies forced.
    pub connections: u64,
    /// Time between two reloads.
    pub reload_every: Duration,
    /// Connectors and ranges of each generation.
    pub connectors: usize,
    /// Ranges of each generation.
    pub ranges: usize,
}

/// The results of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Connections that were accepted.
    pub connections: u64,
    /// Of these over IPv6.
    pub ipv6: u64,
    /// Of these over IPv4 on an IPv6 socket.
    pub dual_stack: u64,
    /// Of these by SYN cookie, as the kernel counted.
    pub cookies: u64,
    /// Generations that were published.
    pub generations: u64,
    /// Generations for each second of the run.
    pub reloads_per_second: f64,
    /// Accepted sockets without a tag.
    pub tags_missing: u64,
    /// Tags that differ from the plain rule for their generation.
    pub tags_wrong: u64,
    /// Connections that failed.
    pub refused: u64,
    /// Connections that no connector matches, and whose tag says so.
    pub without_connector: u64,
    /// Duration of the run.
    pub took: Duration,
}

const PORT: u16 = 2525;
const PORT_DUAL_STACK: u16 = 2526;
const CLIENTS: usize = 4;
/// Addresses of the peer, and IPv6 addresses of the edge's loopback.
const ADDRESSES: u16 = 100;

const REGIONS: [(&str, &str); 4] = [
    ("127.0.0.0", "127.255.255.255"),
    ("10.99.0.0", "10.99.0.255"),
    ("fd98::", "fd98::ff"),
    ("fd99::", "fd99::ff"),
];

/// A generation for the plain rule and for the daemon.
type Known = (Arc<Nested>, Arc<Rules>);

/// Data that acceptors, clients and the reloader share.
struct Shared {
    tags: TagReader,
    /// The plain rule of every generation of the run.
    generations: RwLock<HashMap<u32, Known>>,
    remaining: AtomicU64,
    failures: AtomicU64,
    missing: AtomicU64,
    wrong: AtomicU64,
    without_connector: AtomicU64,
    accepted: AtomicU64,
    ipv6: AtomicU64,
    dual_stack: AtomicU64,
    published: AtomicU64,
    done: AtomicBool,
}

/// Runs the plan. Needs root.
pub fn run(plan: Plan, seed: u64) -> Report {
    let edge = Namespace::new("edge").unwrap();
    let peer = Namespace::new("peer").unwrap();
    link((&edge, "wire0"), (&peer, "wire0")).unwrap();
    edge.add_address("wire0", "10.99.0.1/24").unwrap();
    edge.add_address("wire0", "fd99::1/64").unwrap();
    for number in 0..ADDRESSES {
        peer.add_address("wire0", &format!("10.99.0.{}/24", 2 + number)).unwrap();
        peer.add_address("wire0", &format!("fd99::{:x}/64", 2 + number)).unwrap();
        edge.add_address("lo", &format!("fd98::{:x}/128", 1 + number)).unwrap();
    }
    // No full queue may drop a connection here.
    edge.set("net.core.somaxconn", "65535").unwrap();
    edge.set("net.ipv4.tcp_max_syn_backlog", "65535").unwrap();
    // If the kernel forgets a closed connection too early, the listener gets its last ACK and may
    // treat it as a SYN cookie: a connection that no client opened.
    edge.set("net.ipv4.tcp_max_tw_buckets", "1048576").unwrap();

    let KernelHalf { mut publisher, tags, self_test, programs: _programs, .. } =
        edge.enter(|| load_in(pin_directory())).unwrap();
    assert_eq!(self_test.tagged.len(), 3, "{self_test}");

    let mut rng = Rng::with_seed(seed);
    let mut ids = ConnectorIds::default();
    let mut generation = SELF_TEST;
    let shared = Arc::new(Shared {
        tags,
        generations: RwLock::default(),
        remaining: AtomicU64::new(plan.connections),
        failures: AtomicU64::new(0),
        missing: AtomicU64::new(0),
        wrong: AtomicU64::new(0),
        without_connector: AtomicU64::new(0),
        accepted: AtomicU64::new(0),
        ipv6: AtomicU64::new(0),
        dual_stack: AtomicU64::new(0),
        published: AtomicU64::new(0),
        done: AtomicBool::new(false),
    });
    let mut reload = || {
        generation += 1;
        let bindings = [
            vec!["0.0.0.0:2525", "[::]:2525"],
            vec!["127.0.0.1:2525", "[fd99::1]:2525", "0.0.0.0:2526"],
        ];
        let nested = Nested::within(&mut rng, &bindings, &REGIONS, plan.connectors, plan.ranges);
        let rules = config(&nested.text).rules(&mut ids, generation).unwrap();
        let known = (Arc::new(nested), Arc::clone(&rules));
        shared.generations.write().unwrap().insert(generation, known);
        publisher.publish(&publication_of(&rules)).unwrap();
        shared.published.fetch_add(1, Ordering::Relaxed);
    };
    reload();

    let listeners = edge
        .enter(|| {
            [
                listen("0.0.0.0", PORT, false),
                listen("::", PORT, false),
                listen("::", PORT_DUAL_STACK, true),
            ]
        })
        .unwrap();
    let started = Instant::now();
    thread::scope(|scope| {
        for listener in &listeners {
            let shared = &shared;
            scope.spawn(move || accept(listener, shared));
        }
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let shared = Arc::clone(&shared);
            let place = if number % 2 == 0 { &edge } else { &peer };
            let over_loopback = number % 2 == 0;
            let seed = seed.wrapping_add(number as u64 + 1);
            clients.push(scope.spawn(move || {
                place.enter(|| connect(&shared, over_loopback, seed)).unwrap();
            }));
        }
        let mut cookies_forced = false;
        let mut next = Instant::now();
        while clients.iter().any(|client| !client.is_finished()) {
            if !cookies_forced && shared.remaining.load(Ordering::Relaxed) < plan.connections / 2 {
                edge.set("net.ipv4.tcp_syncookies", "2").unwrap();
                cookies_forced = true;
            }
            reload();
            next += plan.reload_every;
            sleep(next.saturating_duration_since(Instant::now()));
        }
        let took = started.elapsed();
        clients.into_iter().for_each(|client| client.join().unwrap());
        let [cookies] = edge.enter(|| tcp_counters(["SyncookiesRecv"])).unwrap();
        shared.done.store(true, Ordering::Release);
        // Each acceptor still waits for one more connection.
        edge.enter(|| {
            for address in ["127.0.0.1:2525", "[::1]:2525", "127.0.0.1:2526"] {
                let _ = TcpStream::connect(address);
            }
        })
        .unwrap();
        let read = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let published = read(&shared.published);
        Report {
            connections: read(&shared.accepted),
            ipv6: read(&shared.ipv6),
            dual_stack: read(&shared.dual_stack),
            cookies,
            generations: published,
            reloads_per_second: published as f64 / took.as_secs_f64(),
            tags_missing: read(&shared.missing),
            tags_wrong: read(&shared.wrong),
            refused: read(&shared.failures),
            without_connector: read(&shared.without_connector),
            took,
        }
    })
}

fn listen(address: &str, port: u16, dual_stack: bool) -> TcpListener {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack).unwrap();
    }
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(65535).unwrap();
    socket.into()
}

fn accept(listener: &TcpListener, shared: &Shared) {
    loop {
        let (socket, remote) = listener.accept().unwrap();
        if shared.done.load(Ordering::Acquire) {
            return;
        }
        // Read at once, as a daemon would: a tag that came later would be missing here.
        let tag = shared.tags.read(socket.as_fd()).unwrap();
        let local = socket.local_addr().unwrap();
        drop(socket);
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        let mapped = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
        if mapped(remote.ip()) {
            shared.dual_stack.fetch_add(1, Ordering::Relaxed);
        } else if remote.is_ipv6() {
            shared.ipv6.fetch_add(1, Ordering::Relaxed);
        }
        judge(shared, tag, local, remote.ip());
    }
}

fn judge(shared: &Shared, tag: Option<Tag>, local: SocketAddr, remote: IpAddr) {
    let Some(tag) = tag else {
        shared.missing.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
    let known = shared.generations.read().unwrap().get(&tag.generation).cloned();
    let right =
        known.is_some_and(|(nested, rules)| match nested.expected(local, remote.to_canonical()) {
            Expected::Connector { number, range } => {
                let name = &nested.names[number];
                let id = rules.connectors().find(|(_, c)| c.name == *name).map(|(id, _)| id.0);
                Some(tag.connector) == id && tag.range == range
            }
            Expected::NoConnector => {
                shared.without_connector.fetch_add(1, Ordering::Relaxed);
                tag.connector == NO_CONNECTOR
            }
            Expected::NoBinding => false,
        });
    if !right {
        shared.wrong.fetch_add(1, Ordering::Relaxed);
    }
}

fn connect(shared: &Shared, over_loopback: bool, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    while shared
        .remaining
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
        .is_ok()
    {
        let (from, to) = if over_loopback { loopback(&mut rng) } else { wire(&mut rng) };
        if let Err(error) = once(from, to) {
            eprintln!("{from} to {to}: {error}");
            shared.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Any address of 127.0.0.0/8 may connect to any other.
fn loopback(rng: &mut Rng) -> (IpAddr, SocketAddr) {
    let v4 = |rng: &mut Rng| IpAddr::from([127, rng.u8(..), rng.u8(..), rng.u8(1..255)]);
    let v6 = |rng: &mut Rng| IpAddr::from(Ipv6Addr::from(0xfd98 << 112 | rng.u128(1..=100)));
    match rng.u8(..4) {
        0 => (v6(rng), SocketAddr::new(v6(rng), PORT)),
        1 => (v4(rng), SocketAddr::new([127, 0, 0, 1].into(), PORT)),
        2 => (v4(rng), SocketAddr::new(v4(rng), PORT_DUAL_STACK)),
        _ => (v4(rng), SocketAddr::new(v4(rng), PORT)),
    }
}

fn wire(rng: &mut Rng) -> (IpAddr, SocketAddr) {
    let host = 2 + rng.u8(..ADDRESSES as u8);
    if rng.bool() {
        let port = if rng.bool() { PORT } else { PORT_DUAL_STACK };
        ([10, 99, 0, host].into(), SocketAddr::new([10, 99, 0, 1].into(), port))
    } else {
        let address = |host: u8| Ipv6Addr::from(0xfd99 << 112 | u128::from(host));
        (address(host).into(), SocketAddr::new(address(1).into(), PORT))
    }
}

/// Connects and waits for the other side to close, which then has the closing state.
fn once(from: IpAddr, to: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SockAddr::from(SocketAddr::new(from, 0)))?;
    socket.connect_timeout(&to.into(), Duration::from_secs(20))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut byte = [0];
    match stream.read(&mut byte)? {
        0 => Ok(()),
        _ => Err(io::Error::other("unexpected octets arrived")),
    }
}

impl Report {
    /// Panics unless every connection of the plan was made and carried the right tag.
    pub fn assert_faultless(&self, plan: Plan) {
        assert_eq!((self.tags_missing, self.tags_wrong, self.refused), (0, 0, 0), "{self}");
        assert_eq!(self.connections, plan.connections, "{self}");
        // Every kind of connection must have occurred; otherwise the run proves less than it
        // claims.
        let least = plan.connections / 20;
        assert!(self.ipv6 > least && self.dual_stack > least && self.cookies > least, "{self}");
        assert!(self.without_connector > 0 && self.generations > 2, "{self}");
        assert!(self.reloads_per_second >= 5.0, "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: [(&str, String); 11] = [
            ("connections", self.connections.to_string()),
            ("  over IPv6", self.ipv6.to_string()),
            ("  over IPv4 on an IPv6 socket", self.dual_stack.to_string()),
            ("  by SYN cookie", self.cookies.to_string()),
            ("  that no connector serves", self.without_connector.to_string()),
            ("generations", self.generations.to_string()),
            ("reloads per second", format!("{:.1}", self.reloads_per_second)),
            ("tags missing", self.tags_missing.to_string()),
            ("tags wrong for their generation", self.tags_wrong.to_string()),
            ("connections refused", self.refused.to_string()),
            ("seconds", format!("{:.1}", self.took.as_secs_f64())),
        ];
        for (name, value) in rows {
            writeln!(f, "{name:<34}{value:>10}")?;
        }
        Ok(())
    }
}
