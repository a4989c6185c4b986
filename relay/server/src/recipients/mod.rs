//! Does this recipient exist? The module asks the server that knows, and caches the answer.
//!
//! An answer is kept for a while, so that a server is not asked for each message. "Exists" is kept
//! longer than "does not exist", because a new mailbox should not wait long for its first message.
//! Errors are not kept. Only one look-up of a recipient runs at a time, and other sessions wait for
//! its result. [`question`] asks a server; [`relay_policy`] decides what an answer means for a
//! client.

mod question;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limits::{RECIPIENT_ANSWERS, RECIPIENT_KNOWN, RECIPIENT_QUESTIONS, RECIPIENT_UNKNOWN};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use relay_host::ttl_cache::TtlCache;
use relay_mail::path::Mailbox;
use relay_policy::{RecipientFinding, RecipientLookup};
use tokio::sync::{Semaphore, watch};

/// The cached answers and the look-ups that are under way. Clones share both.
#[derive(Clone, Debug)]
pub struct RecipientLookups(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Our name in EHLO.
    hello_name: ArcSwap<String>,
    table: Mutex<Table>,
    /// Limits the look-ups at one time, over all servers.
    questions: Arc<Semaphore>,
}

#[derive(Debug)]
struct Table {
    answers: TtlCache<Key, RecipientFinding>,
    under_way: HashMap<Key, watch::Receiver<Option<RecipientFinding>>>,
}

/// The server and the recipient. The local part is kept as written, because only its server knows
/// whether case matters.
type Key = (RecipientLookup, Mailbox);

impl RecipientLookups {
    /// No answers yet.
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            hello_name: ArcSwap::default(),
            table: Mutex::default(),
            questions: Arc::new(Semaphore::new(RECIPIENT_QUESTIONS)),
        }))
    }

    /// Sets our name in EHLO.
    pub fn set_hello_name(&self, name: &str) {
        self.0.hello_name.store(Arc::new(name.to_owned()));
    }

    /// The cached answer, or the answer of the server. A look-up continues if its session ends, so
    /// that the next session has the answer sooner.
    pub async fn find(&self, lookup: RecipientLookup, mailbox: Mailbox) -> RecipientFinding {
        let key = (lookup, mailbox);
        let mut answer = {
            let mut table = self.0.table.lock();
            if let Some(finding) = table.answer(&key, Instant::now()) {
                return finding;
            }
            match table.under_way.entry(key.clone()) {
                Entry::Occupied(asked) => asked.get().clone(),
                Entry::Vacant(place) => {
                    let (sender, receiver) = watch::channel(None);
                    tokio::spawn(self.clone().ask(key, sender));
                    place.insert(receiver).clone()
                }
            }
        };
        match answer.wait_for(Option::is_some).await {
            Ok(finding) => finding.clone(),
            // The task with the look-up has ended.
            Err(_) => None,
        }
        .unwrap_or_else(|| RecipientFinding::Unavailable("the question was given up".to_owned()))
    }

    async fn ask(self, key: Key, answer: watch::Sender<Option<RecipientFinding>>) {
        // After any end of this look-up, the next session must start a new one.
        let under_way = UnderWay { recipients: &self, key: &key };
        // The semaphore is never closed.
        let finding = match self.0.questions.acquire().await {
            Ok(_permit) => {
                let hello_name = self.0.hello_name.load_full();
                question::ask(&key.0, &key.1, &hello_name).await
            }
            Err(error) => RecipientFinding::Unavailable(error.to_string()),
        };
        self.0.table.lock().keep(&key, finding.clone(), Instant::now());
        drop(under_way);
        answer.send_replace(Some(finding));
    }
}

impl Default for RecipientLookups {
    fn default() -> Self {
        Self::new()
    }
}

struct UnderWay<'asked> {
    recipients: &'asked RecipientLookups,
    key: &'asked Key,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.recipients.0.table.lock().under_way.remove(self.key);
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { answers: TtlCache::new(RECIPIENT_ANSWERS), under_way: HashMap::new() }
    }
}

impl Table {
    fn answer(&self, key: &Key, now: Instant) -> Option<RecipientFinding> {
        self.answers.get(now, key).map(|(finding, _)| finding.clone())
    }

    fn keep(&mut self, key: &Key, finding: RecipientFinding, now: Instant) {
        if let Some(lifetime) = lifetime(&finding) {
            self.answers.put(now, key.clone(), finding, now + lifetime);
        }
    }
}

/// How long an answer is valid; an error is not kept.
fn lifetime(finding: &RecipientFinding) -> Option<Duration> {
    match finding {
        RecipientFinding::Known => Some(RECIPIENT_KNOWN),
        RecipientFinding::Unknown(_) => Some(RECIPIENT_UNKNOWN),
        RecipientFinding::NotAsked | RecipientFinding::Unavailable(_) => None,
    }
}
