//! The kernel's data about a network interface: its index, its MTU, and its attached XDP programs.
//!
//! Reads them by route netlink, which needs no capability. [`super::guard`] decides what follows.

use std::io;
use std::os::fd::OwnedFd;

use crate::limits::{LINK_ANSWER_OCTETS, LINK_ANSWERS, LINK_WAIT};
use netlink_packet_core::{NetlinkBuffer, NlasIterator};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::Timeout;
use rustix::net::sockopt::set_socket_timeout;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

/// An interface as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// Its index, which is unique even if a later interface has the same name.
    pub(super) index: u32,
    /// Its MTU in octets.
    pub(super) mtu: u32,
    /// The program that runs in its driver.
    pub(super) native: Option<u32>,
    /// The program that runs in the stack.
    pub(super) generic: Option<u32>,
    /// Is it a device of a virtio bus, which virtio_net drives?
    pub(super) on_virtio: bool,
}

/// A netlink socket. It stays in the network namespace in which it was created.
pub(super) struct Links {
    socket: OwnedFd,
    sequence: u32,
}

// linux/rtnetlink.h, linux/netlink.h, linux/if_link.h.
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_XDP: u16 = 43;
const IFLA_PARENT_DEV_BUS_NAME: u16 = 57;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
/// `struct nlmsghdr`.
const HEADER_OCTETS: usize = 16;
/// `struct ifinfomsg`.
const LINK_OCTETS: usize = 16;
/// `struct nlattr`.
const ATTRIBUTE_OCTETS: usize = 4;

impl Links {
    pub(super) fn new() -> io::Result<Self> {
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        // The kernel answers within the send; the timeout is only a precaution.
        set_socket_timeout(&socket, Timeout::Recv, Some(LINK_WAIT))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The interface of this name; `None` if there is none.
    pub(super) fn find(&mut self, name: &str) -> io::Result<Option<Link>> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(name, self.sequence);
        sendto(&self.socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut buffer = vec![0; LINK_ANSWER_OCTETS];
        // An answer to an earlier request that timed out may come first.
        for _ in 0..LINK_ANSWERS {
            let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            if let Some(answer) = answer(&buffer[..length], self.sequence) {
                return answer;
            }
        }
        Err(io::Error::from(io::ErrorKind::TimedOut))
    }
}

/// `RTM_GETLINK` for one name.
fn request(name: &str, sequence: u32) -> Vec<u8> {
    let attribute = ATTRIBUTE_OCTETS + name.len() + 1;
    let length = HEADER_OCTETS + LINK_OCTETS + attribute.next_multiple_of(4);
    let mut request = Vec::with_capacity(length);
    request.extend((length as u32).to_ne_bytes());
    request.extend(RTM_GETLINK.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    request.extend(sequence.to_ne_bytes());
    // Any port, any family, index 0: the name selects the interface.
    request.resize(HEADER_OCTETS + LINK_OCTETS, 0);
    request.extend((attribute as u16).to_ne_bytes());
    request.extend(IFLA_IFNAME.to_ne_bytes());
    request.extend(name.as_bytes());
    request.resize(length, 0);
    request
}

/// The answer to the request with this sequence number; `None` if the message is about another
/// request.
fn answer(message: &[u8], sequence: u32) -> Option<io::Result<Option<Link>>> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let Ok(message) = NetlinkBuffer::new_checked(message) else {
        return Some(Err(malformed()));
    };
    if message.sequence_number() != sequence {
        return None;
    }
    match message.message_type() {
        NLMSG_ERROR => {
            let code = word(message.payload()).map_or(0, |word| word.cast_signed().wrapping_neg());
            Some(match code {
                libc::ENODEV => Ok(None),
                code => Err(io::Error::from_raw_os_error(code)),
            })
        }
        RTM_NEWLINK => Some(link(message.payload()).map(Some).ok_or_else(malformed)),
        _ => None,
    }
}

fn link(payload: &[u8]) -> Option<Link> {
    let index = word(payload.get(4..)?)?;
    let mut link = Link { index, ..Link::default() };
    for attribute in NlasIterator::new(payload.get(LINK_OCTETS..)?) {
        let attribute = attribute.ok()?;
        match attribute.kind() {
            IFLA_MTU => link.mtu = word(attribute.value())?,
            IFLA_PARENT_DEV_BUS_NAME => link.on_virtio = attribute.value() == b"virtio\0",
            IFLA_XDP => {
                for program in NlasIterator::new(attribute.value()) {
                    let program = program.ok()?;
                    match program.kind() {
                        IFLA_XDP_DRV_PROG_ID => link.native = word(program.value()),
                        IFLA_XDP_SKB_PROG_ID => link.generic = word(program.value()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(link)
}

fn word(octets: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(octets.get(..4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use crate::links::*;

    fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        message.extend((HEADER_OCTETS as u32 + payload.len() as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(0u16.to_ne_bytes());
        message.extend(sequence.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(payload);
        message
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut attribute = Vec::new();
        attribute.extend((ATTRIBUTE_OCTETS as u16 + value.len() as u16).to_ne_bytes());
        attribute.extend(kind.to_ne_bytes());
        attribute.extend(value);
        attribute.resize(attribute.len().next_multiple_of(4), 0);
        attribute
    }

    #[test]
    fn loopback_is_found_and_a_name_without_interface_is_not() {
        let mut links = Links::new().unwrap();
        let loopback = links.find("lo").unwrap().unwrap();
        assert_eq!((loopback.index, loopback.native), (1, None));
        assert!(loopback.mtu >= 1280);
        assert_eq!(links.find("no-such-link").unwrap(), None);
        // The socket can be used for the next request.
        assert_eq!(links.find("lo").unwrap().unwrap().index, 1);
    }

    #[test]
    fn programs_are_read_by_their_mode() {
        let mut payload = vec![0; LINK_OCTETS];
        payload[4..8].copy_from_slice(&7u32.to_ne_bytes());
        payload.extend(attribute(IFLA_MTU, &9000u32.to_ne_bytes()));
        let programs = [
            attribute(2, &[1]),
            attribute(IFLA_XDP_DRV_PROG_ID, &41u32.to_ne_bytes()),
            attribute(IFLA_XDP_SKB_PROG_ID, &42u32.to_ne_bytes()),
        ];
        payload.extend(attribute(IFLA_XDP | 0x8000, &programs.concat()));
        payload.extend(attribute(IFLA_PARENT_DEV_BUS_NAME, b"virtio\0"));
        let found = answer(&message(RTM_NEWLINK, 3, &payload), 3).unwrap().unwrap().unwrap();
        let (native, generic) = (Some(41), Some(42));
        assert_eq!(found, Link { index: 7, mtu: 9000, native, generic, on_virtio: true });
        assert!(answer(&message(RTM_NEWLINK, 3, &payload), 4).is_none());
    }

    #[test]
    fn damaged_messages_are_errors() {
        for length in 0..HEADER_OCTETS {
            assert!(answer(&vec![0; length], 0).unwrap().is_err(), "{length}");
        }
        for length in 0..LINK_OCTETS {
            let short = message(RTM_NEWLINK, 0, &vec![0; length]);
            assert!(answer(&short, 0).unwrap().is_err(), "{length}");
        }
        let absent = message(NLMSG_ERROR, 0, &(-libc::ENODEV).to_ne_bytes());
        assert_eq!(answer(&absent, 0).unwrap().unwrap(), None);
        let refused = message(NLMSG_ERROR, 0, &(-libc::EPERM).to_ne_bytes());
        assert_eq!(answer(&refused, 0).unwrap().unwrap_err().raw_os_error(), Some(libc::EPERM));
    }
}
