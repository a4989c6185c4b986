//! What has been found out in the course of one evaluation of SPF, DKIM or DMARC.
//!
//! Such an evaluation asks many questions, and all of them at one server. Where that server has no
//! answer to one of them, the evaluation is done again at the next one, which is asked only what is
//! not known yet. So servers that each lack something make up for each other.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use mail_auth::{MX, Parameters, RecordSet, ResolverCache, Txt};
use parking_lot::Mutex;

/// The answers so far. Bounded by the questions of one evaluation.
#[derive(Default)]
pub struct DnsCache {
    txt: CachedAnswers<Box<str>, Txt>,
    mx: CachedAnswers<Box<str>, RecordSet<MX>>,
    ipv4: CachedAnswers<Box<str>, RecordSet<Ipv4Addr>>,
    ipv6: CachedAnswers<Box<str>, RecordSet<Ipv6Addr>>,
    ptr: CachedAnswers<IpAddr, RecordSet<Box<str>>>,
}

/// Parameters of an evaluation that makes use of [`DnsCache`].
pub type Knowing<'x, P> = Parameters<
    'x,
    P,
    CachedAnswers<Box<str>, Txt>,
    CachedAnswers<Box<str>, RecordSet<MX>>,
    CachedAnswers<Box<str>, RecordSet<Ipv4Addr>>,
    CachedAnswers<Box<str>, RecordSet<Ipv6Addr>>,
    CachedAnswers<IpAddr, RecordSet<Box<str>>>,
>;

/// Answers of one type.
pub struct CachedAnswers<K, V>(Mutex<HashMap<K, V>>);

impl DnsCache {
    /// These parameters, with what is known.
    pub fn parameters<P>(&self, params: P) -> Knowing<'_, P> {
        Parameters {
            params,
            cache_txt: Some(&self.txt),
            cache_mx: Some(&self.mx),
            cache_ptr: Some(&self.ptr),
            cache_ipv4: Some(&self.ipv4),
            cache_ipv6: Some(&self.ipv6),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        let hosts = self.ipv4.0.lock().len() + self.ipv6.0.lock().len();
        hosts + self.txt.0.lock().len() + self.mx.0.lock().len() + self.ptr.0.lock().len()
    }
}

impl<K, V> Default for CachedAnswers<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> ResolverCache<K, V> for CachedAnswers<K, V> {
    fn get<Q>(&self, name: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.lock().get(name).cloned()
    }

    fn remove<Q>(&self, name: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.lock().remove(name)
    }

    fn insert(&self, key: K, value: V, _: Instant) {
        self.0.lock().insert(key, value);
    }
}
