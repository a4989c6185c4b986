//! The answers of one evaluation of SPF, DKIM or DMARC.
//!
//! Such an evaluation sends many queries, all to one server. If that server does not answer one of
//! them, the evaluation is repeated with the next server, which is asked only the remaining
//! queries. So several servers that each lack some answers complement each other.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use mail_auth::{MX, Parameters, RecordSet, ResolverCache, Txt};
use parking_lot::Mutex;

/// The answers so far. Bounded by the queries of one evaluation.
#[derive(Default)]
pub struct DnsCache {
    txt: CachedAnswers<Box<str>, Txt>,
    mx: CachedAnswers<Box<str>, RecordSet<MX>>,
    ipv4: CachedAnswers<Box<str>, RecordSet<Ipv4Addr>>,
    ipv6: CachedAnswers<Box<str>, RecordSet<Ipv6Addr>>,
    ptr: CachedAnswers<IpAddr, RecordSet<Box<str>>>,
}

/// The parameters of an evaluation that uses [`DnsCache`].
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
    /// These parameters, with the known answers.
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

    /// The number of answers.
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
