//! `cargo xtask bench kernel`: the cost of the guard for each frame, and of reading a tag, beside
//! an empty program and beside `getpeername` in the same run.
//!
//! Times are the kernel's own, from its test-run facility. A row uses either the same frame
//! repeatedly, with all data in the nearest cache, or frames from 4,096 sources once each, so that
//! the trie must be read from memory. The latter includes the facility's own cost of a single run,
//! which the empty program shows.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use fastrand::Rng;

use relay_connector::range::Block;
use relay_connector::{Binding, ConnectorId, RangeId};
use relay_kernel::limits::GENERATION_GRACE;
use relay_kernel::testing::TestResult;
use relay_kernel::{KernelHalf, Publication};
use relay_kernel_tests::baseline::EmptyProgram;
use relay_kernel_tests::frames::{ACK, SYN, tcp};
use relay_kernel_tests::setup;

const SIZES: [u32; 4] = [10, 1_000, 100_000, 1_000_000];
const SOURCES: usize = 4096;
const REPEAT: u32 = 1_000_000;
/// The best of this number of rounds: other load on the machine makes a round slower, never faster.
const ROUNDS: usize = 5;

fn main() {
    let mut kernel = setup::load();
    let local: SocketAddr = "198.51.100.1:25".parse().expect("a constant");
    let mut rng = Rng::with_seed(1);
    let mut rows = Vec::new();
    let ack = tcp(Ipv4Addr::new(192, 0, 2, 1).into(), local, ACK);
    let empty = EmptyProgram::load().expect("the kernel accepts two instructions");
    let mut run_empty = |frame: &[u8], repeat| empty.run(frame, repeat).expect("a test run");
    rows.push(row("empty program", &mut run_empty, std::slice::from_ref(&ack)));
    for (generation, size) in (2..).zip(SIZES) {
        let (publication, sources) = random(&mut rng, generation, size);
        let started = Instant::now();
        kernel.publisher.publish(&publication).expect("the maps have room");
        let published = started.elapsed();
        println!("{size:>9} ranges published in {:>8.1} ms", published.as_secs_f64() * 1e3);
        if generation == 2 {
            rows.push(guard_row(&mut kernel, "not a SYN", std::slice::from_ref(&ack)));
            let other = tcp(
                Ipv4Addr::new(192, 0, 2, 1).into(),
                "198.51.100.1:80".parse().expect("a constant"),
                SYN,
            );
            rows.push(guard_row(&mut kernel, "SYN to another port", &[other]));
        }
        let syns: Vec<_> = sources.iter().map(|source| tcp(*source, local, SYN)).collect();
        let name = format!("SYN, {size} ranges");
        rows.push(guard_row(&mut kernel, &name, &syns));
        std::thread::sleep(GENERATION_GRACE);
        kernel.publisher.sweep(Instant::now());
    }
    let empty = rows[0].clone();
    println!(
        "\n{:<24}{:>12}{:>12}{:>14}{:>12}",
        "", "same frame", "beyond empty", "4,096 sources", "beyond empty"
    );
    for row in &rows {
        println!(
            "{:<24}{:>9.1} ns{:>9.1} ns{:>11.1} ns{:>9.1} ns",
            row.name,
            row.same,
            row.same - empty.same,
            row.many,
            row.many - empty.many
        );
    }
    tag_beside_getpeername(&mut kernel);
}

#[derive(Clone)]
struct Row {
    name: String,
    same: f64,
    many: f64,
}

fn guard_row(kernel: &mut KernelHalf, name: &str, frames: &[Vec<u8>]) -> Row {
    let mut run =
        |frame: &[u8], repeat| kernel.programs.run_guard(frame, repeat).expect("a test run");
    row(name, &mut run, frames)
}

/// `program` runs a program on a frame as often as its second argument says.
fn row(name: &str, program: &mut dyn FnMut(&[u8], u32) -> TestResult, frames: &[Vec<u8>]) -> Row {
    let mut run = |frame: &[u8], repeat| {
        let result = program(frame, repeat);
        assert!(result.passed, "{name}");
        result.duration
    };
    let nanoseconds = |duration: Duration| duration.as_nanos() as f64;
    // The facility returns whole nanoseconds for one run, as an average.
    let same =
        (0..ROUNDS).map(|_| nanoseconds(run(&frames[0], REPEAT))).fold(f64::INFINITY, f64::min);
    let many = (0..ROUNDS)
        .map(|_| {
            let sum: Duration =
                frames.iter().cycle().take(SOURCES).map(|frame| run(frame, 1)).sum();
            nanoseconds(sum) / SOURCES as f64
        })
        .fold(f64::INFINITY, f64::min);
    Row { name: name.to_owned(), same, many }
}

/// Ranges as in a routing table, /12 to /28, and sources inside them.
fn random(rng: &mut Rng, generation: u32, size: u32) -> (Publication, Vec<IpAddr>) {
    let mut blocks = std::collections::BTreeMap::new();
    while blocks.len() < size as usize {
        let bits = rng.u8(12..=28);
        let address = Ipv4Addr::from(rng.u32(..) & (u32::MAX << (32 - bits)));
        let block = Block { address: address.to_ipv6_mapped(), bits: 96 + bits };
        blocks.insert(block, RangeId(blocks.len() as u32));
    }
    let listed: Vec<_> = blocks.keys().copied().collect();
    let sources = (0..SOURCES)
        .map(|_| {
            let block = listed[rng.usize(..listed.len())];
            let host = u128::from(rng.u32(..)) & (u128::MAX >> block.bits);
            IpAddr::from(std::net::Ipv6Addr::from(u128::from(block.address) | host)).to_canonical()
        })
        .collect();
    let publication = Publication {
        generation,
        bindings: vec![Binding::of_connection("0.0.0.0:25".parse().expect("a constant"))],
        blocks: blocks
            .into_iter()
            .map(|(block, range)| (0, block, ConnectorId(1), range))
            .collect(),
        connectors: 1,
        ranges: size,
        ..Publication::default()
    };
    (publication, sources)
}

fn tag_beside_getpeername(kernel: &mut KernelHalf) {
    const READS: u32 = 200_000;
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let local = listener.local_addr().expect("bound");
    let all_addresses = Block { address: Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(), bits: 96 };
    let publication = Publication {
        generation: u32::MAX,
        bindings: vec![Binding::of_connection(local)],
        blocks: vec![(0, all_addresses, ConnectorId(1), RangeId(0))],
        connectors: 1,
        ranges: 1,
        ..Publication::default()
    };
    kernel.publisher.publish(&publication).expect("the maps have room");
    let _client = TcpStream::connect(local).expect("loopback");
    let (socket, _) = listener.accept().expect("loopback");
    let time = |what: &dyn Fn()| {
        (0..ROUNDS)
            .map(|_| {
                let started = Instant::now();
                (0..READS).for_each(|_| what());
                started.elapsed().as_nanos() as f64 / f64::from(READS)
            })
            .fold(f64::INFINITY, f64::min)
    };
    let tag = time(&|| {
        let tag = kernel.tags.read(socket.as_fd()).expect("readable");
        assert!(std::hint::black_box(tag).is_some(), "the socket has a tag");
    });
    let peer = time(&|| {
        std::hint::black_box(socket.peer_addr().expect("connected"));
    });
    println!("\nread a tag {tag:.0} ns, getpeername {peer:.0} ns: {:.1} times", tag / peer);
}
