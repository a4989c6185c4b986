//! The tagger: classifies an accepted connection and stores the result on its socket.
//!
//! It runs under the child socket's lock before `accept` can return that socket, so the daemon
//! never reads too early. It fails closed: if no tag could be stored, the daemon finds none and
//! uses its own table, which never gives more rights.

use core::ptr;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_SK_STORAGE_GET_F_CREATE, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB};
use aya_ebpf::helpers::generated::bpf_get_netns_cookie;
use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use aya_ebpf::programs::SockOpsContext;
use relay_common::address::Address;
use relay_common::classify::{ConnectionClass, classify};
use relay_common::tables::{NO_CONNECTOR, NO_GENERATION, Tag};

use crate::maps::{Maps, TAGS, count, count_connector, state};

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

#[inline(always)]
pub fn tag(context: &SockOpsContext) {
    if context.op() != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
        return;
    }
    let (generation, namespace) = state();
    if generation == NO_GENERATION {
        return count(|counters| &mut counters.tagger_no_generation);
    }
    // SAFETY: the helper takes the program's own context.
    if unsafe { bpf_get_netns_cookie(context.as_ptr()) } != namespace {
        return count(|counters| &mut counters.tagger_other_namespace);
    }
    let Some((local, remote)) = addresses(context) else {
        return count(|counters| &mut counters.tagger_no_binding);
    };
    // In the context only the remote port is in network byte order; the local port is in host byte
    // order.
    let port = context.local_port() as u16;
    let tag = match classify(&Maps, generation, local, port, remote) {
        ConnectionClass::Connector(entry) => {
            Tag { connector: entry.connector, range: entry.range, generation }
        }
        ConnectionClass::NoConnector => Tag { connector: NO_CONNECTOR, range: 0, generation },
        ConnectionClass::NoBinding => return count(|counters| &mut counters.tagger_no_binding),
    };
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(context, "tagger: connector {} range {}", tag.connector, tag.range);
    if !store(context, tag) {
        return count(|counters| &mut counters.tagger_storage_failed);
    }
    if tag.connector == NO_CONNECTOR {
        count(|counters| &mut counters.tagger_no_connector);
    } else {
        count_connector(tag.connector, |counters| &mut counters.tagged);
    }
}

/// Local and remote address. An IPv6 socket has the addresses of an IPv4 peer IPv4-mapped, the form
/// in which this crate writes those of an IPv4 socket. So both give the same address.
#[inline(always)]
fn addresses(context: &SockOpsContext) -> Option<(Address, Address)> {
    match context.family() {
        AF_INET => Some((
            Address::from_ipv4(context.local_ip4().to_ne_bytes()),
            Address::from_ipv4(context.remote_ip4().to_ne_bytes()),
        )),
        AF_INET6 => {
            let ops = context.ops;
            // SAFETY: `ops` is the program's context. Each word is a separate volatile read,
            // because the verifier refuses to copy from a context pointer with an offset.
            unsafe {
                Some((words(&raw const (*ops).local_ip6), words(&raw const (*ops).remote_ip6)))
            }
        }
        _ => None,
    }
}

/// # Safety
///
/// `words` must be inside the context.
#[inline(always)]
unsafe fn words(words: *const [u32; 4]) -> Address {
    let words = words.cast::<u32>();
    let mut octets = [0; 16];
    // SAFETY: the caller's promise.
    let read = |index| unsafe { ptr::read_volatile(words.add(index)) }.to_ne_bytes();
    octets[0..4].copy_from_slice(&read(0));
    octets[4..8].copy_from_slice(&read(1));
    octets[8..12].copy_from_slice(&read(2));
    octets[12..16].copy_from_slice(&read(3));
    Address { octets }
}

#[inline(always)]
fn store(context: &SockOpsContext, mut tag: Tag) -> bool {
    // SAFETY: the context's own socket, and a map that outlives the program. The map's wrapper
    // offers this call only to another program type.
    unsafe {
        let socket = (*context.ops).__bindgen_anon_2.sk;
        if socket.is_null() {
            return false;
        }
        !bpf_sk_storage_get(
            (&raw const TAGS).cast_mut().cast(),
            socket.cast(),
            (&raw mut tag).cast(),
            u64::from(BPF_SK_STORAGE_GET_F_CREATE),
        )
        .is_null()
    }
}
