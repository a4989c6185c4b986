//! Tests at the start that tags arrive.
//!
//! The first generation has only the test's own bindings on loopback. Our own connections must be
//! accepted with the tag of this generation. If a kernel, a container or another program prevents
//! tags, the error shows here and not in production mail.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use crate::limits::{SELF_TEST_BACKLOG, SELF_TEST_WAIT};
use crate::{KernelError, Publication, Publisher, TagReader};
use relay_common::tables::Tag;
use relay_connector::range::Block;
use relay_connector::{Binding, ConnectorId, RangeId};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// A connector id that no configuration can have, beyond the counters.
const CONNECTOR: ConnectorId = ConnectorId(u32::MAX);

/// The result of the self-test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfTest {
    /// Kinds of connection that were tagged correctly.
    pub tagged: Vec<&'static str>,
    /// Kinds of connection that this host does not have, and why.
    pub absent: Vec<(&'static str, String)>,
}

/// A kind of connection.
struct Shape {
    name: &'static str,
    listen: SocketAddr,
    connect: fn(u16) -> SocketAddr,
    dual_stack: bool,
    /// Every host has IPv4; IPv6 may be off.
    required: bool,
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "IPv4",
        listen: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        connect: |port| (Ipv4Addr::LOCALHOST, port).into(),
        dual_stack: false,
        required: true,
    },
    Shape {
        name: "IPv6",
        listen: SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0),
        connect: |port| (Ipv6Addr::LOCALHOST, port).into(),
        dual_stack: false,
        required: false,
    },
    Shape {
        name: "IPv4 on an IPv6 socket",
        listen: SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
        connect: |port| (Ipv4Addr::LOCALHOST, port).into(),
        dual_stack: true,
        required: false,
    },
];

impl SelfTest {
    /// Publishes the test's generation and tries every kind of connection of this host.
    pub(super) fn run(
        publisher: &mut Publisher,
        tags: &TagReader,
        generation: u32,
    ) -> Result<Self, KernelError> {
        let mut listeners = Vec::new();
        let mut absent = Vec::new();
        for shape in &SHAPES {
            match listen(shape) {
                Ok(listener) => listeners.push((shape, listener)),
                Err(error) if shape.required => {
                    return Err(KernelError::SelfTest(format!("{}: {error}", shape.name)));
                }
                Err(error) => absent.push((shape.name, error.to_string())),
            }
        }
        let mut publication = Publication { generation, connectors: 1, ..Publication::default() };
        for (number, (shape, listener)) in (0..).zip(&listeners) {
            let port = listener.local_addr().map_err(failed(shape))?.port();
            let address = (shape.connect)(port);
            let everything = match address.ip() {
                std::net::IpAddr::V4(_) => {
                    Block { address: Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(), bits: 96 }
                }
                std::net::IpAddr::V6(_) => Block { address: Ipv6Addr::UNSPECIFIED, bits: 0 },
            };
            publication.bindings.push(Binding::of_connection(address));
            publication.blocks.push((number, everything, CONNECTOR, RangeId(number)));
            publication.ranges += 1;
        }
        publisher.publish(&publication)?;
        let mut tagged = Vec::new();
        for (number, (shape, listener)) in (0..).zip(&listeners) {
            let expected = Tag { connector: CONNECTOR.0, range: number, generation };
            let found = connect(shape, listener, tags)?;
            if found != Some(expected) {
                return Err(KernelError::SelfTest(format!(
                    "a connection over {} came with the tag {found:?} instead of {expected:?}",
                    shape.name
                )));
            }
            tagged.push(shape.name);
        }
        Ok(Self { tagged, absent })
    }
}

fn listen(shape: &Shape) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(shape.listen), Type::STREAM, Some(Protocol::TCP))?;
    if shape.listen.is_ipv6() {
        socket.set_only_v6(!shape.dual_stack)?;
    }
    socket.bind(&shape.listen.into())?;
    socket.listen(SELF_TEST_BACKLOG)?;
    Ok(socket.into())
}

fn connect(
    shape: &Shape,
    listener: &TcpListener,
    tags: &TagReader,
) -> Result<Option<Tag>, KernelError> {
    let port = listener.local_addr().map_err(failed(shape))?.port();
    let client = TcpStream::connect_timeout(&(shape.connect)(port), SELF_TEST_WAIT)
        .map_err(failed(shape))?;
    let own = client.local_addr().map_err(failed(shape))?;
    // The client's handshake is complete; on a busy host the listener's part follows a moment
    // later.
    SockRef::from(listener).set_read_timeout(Some(SELF_TEST_WAIT)).map_err(failed(shape))?;
    loop {
        let (server, remote) = listener.accept().map_err(failed(shape))?;
        // Every program on the host may connect to the port; only our own connection counts.
        if remote.port() == own.port() {
            return tags.read(server.as_fd());
        }
    }
}

fn failed(shape: &Shape) -> impl FnOnce(io::Error) -> KernelError {
    let name = shape.name;
    move |error| KernelError::SelfTest(format!("{name}: {error}"))
}

impl fmt::Display for SelfTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel self-test passed: tags arrive over {}", self.tagged.join(", "))?;
        for (name, why) in &self.absent {
            write!(f, "; this host does not have {name} ({why})")?;
        }
        Ok(())
    }
}
