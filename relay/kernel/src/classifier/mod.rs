//! Which connector does an accepted connection belong to, and which part decides it?
//!
//! The answer is the tag that the kernel left on the socket. If there is no tag, or the tag has
//! unknown values, the daemon's own table of the current generation decides; the server counts
//! that, and it never grants more than the table. This module also puts generations in force, in
//! the daemon and in the kernel; no other code does.

pub mod publication;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use crate::limits::{GENERATION_RETENTION, GENERATIONS_RETAINED};
use crate::{KernelError, Publisher, TagReader};
use arc_swap::ArcSwap;
use relay_common::tables::{NO_CONNECTOR, Tag};
use relay_connector::{Connection, Connector, ConnectorId, Range, RangeId, TableMatch};
use relay_policy::Rules;
use tokio::sync::Mutex;

pub use publication::of as publication_of;

/// The connector of a connection.
#[derive(Clone, Debug)]
pub struct Classification {
    /// The generation whose rules apply for the whole session.
    pub rules: Arc<Rules>,
    /// The connector and its range; `None` if no connector serves this client.
    pub connector: Option<ConnectorChoice>,
    /// The part that decided.
    pub decided_by: DecidedBy,
}

/// The connector that serves a client.
#[derive(Clone, Debug)]
pub struct ConnectorChoice {
    /// Its id.
    pub id: ConnectorId,
    /// The connector.
    pub connector: Arc<Connector>,
    /// The range that contains the client.
    pub range: RangeId,
}

/// The part that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecidedBy {
    /// The daemon's table, for this reason.
    Daemon(Why),
    /// The tag.
    Kernel,
}

/// Why the daemon's table decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The tag and the table of its generation differ (`classifier.cross_check`).
    TagDisagrees,
    /// The socket has no tag.
    TagMissing,
    /// The tag has a generation or a connector that this process does not know.
    TagUnknown,
    /// The kernel did not return the tag.
    TagUnreadable,
    /// A proxy stated the address, which the kernel does not know.
    Proxied,
    /// XCLIENT began the session again and stated no address.
    StartedAgain,
    /// The kernel half is not in use.
    Userspace,
}

impl ConnectorChoice {
    /// The range, as written in the configuration.
    pub fn range(&self) -> Option<&Range> {
        self.connector.range(self.range)
    }
}

impl DecidedBy {
    /// `kernel` or `daemon`, for logs and `status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Daemon(_) => "daemon",
            Self::Kernel => "kernel",
        }
    }

    /// Why the kernel did not decide.
    pub const fn why(self) -> Option<&'static str> {
        match self {
            Self::Daemon(Why::TagDisagrees) => Some("the tag disagrees with the daemon's table"),
            Self::Daemon(Why::TagMissing) => Some("the socket has no tag"),
            Self::Daemon(Why::TagUnknown) => {
                Some("the tag names an unknown generation or connector")
            }
            Self::Daemon(Why::TagUnreadable) => Some("the kernel did not return the tag"),
            Self::Daemon(Why::Proxied) => Some("a proxy stated the address"),
            Self::Daemon(Why::StartedAgain) => {
                Some("XCLIENT began the session again and stated no address")
            }
            Self::Daemon(Why::Userspace) => Some("the userspace classifier is in use"),
            Self::Kernel => None,
        }
    }
}

/// Classifies accepted connections.
pub struct Classifier {
    generations: ArcSwap<Generations>,
    kernel: Option<Kernel>,
    cross_check: bool,
}

struct Kernel {
    tags: TagReader,
    publisher: Mutex<Publisher>,
}

/// The current generation, and those whose tags may still be on sockets that wait for `accept`.
#[derive(Clone)]
struct Generations {
    in_force: Arc<Rules>,
    /// A generation that is being published, or a replaced one.
    others: Vec<(Instant, Arc<Rules>)>,
}

impl Classifier {
    /// A classifier without the kernel half.
    pub fn userspace(rules: Arc<Rules>) -> Self {
        Self::new(rules, None, false)
    }

    /// A classifier that reads the kernel's tags. Puts the rules in force in the kernel too.
    ///
    /// # Errors
    ///
    /// The kernel's maps refused the generation.
    pub fn kernel(
        rules: Arc<Rules>,
        tags: TagReader,
        mut publisher: Publisher,
        cross_check: bool,
    ) -> Result<Self, KernelError> {
        publisher.publish(&publication_of(&rules))?;
        let kernel = Kernel { tags, publisher: Mutex::new(publisher) };
        Ok(Self::new(rules, Some(kernel), cross_check))
    }

    fn new(rules: Arc<Rules>, kernel: Option<Kernel>, cross_check: bool) -> Self {
        let generations = Generations { in_force: rules, others: Vec::new() };
        Self { generations: ArcSwap::from_pointee(generations), kernel, cross_check }
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.generations.load().in_force)
    }

    /// Classifies this accepted connection by its own addresses.
    pub fn classify(&self, socket: BorrowedFd<'_>, connection: &Connection) -> Classification {
        let generations = self.generations.load();
        let Some(kernel) = &self.kernel else {
            return self.by_table(&generations.in_force, connection, Why::Userspace);
        };
        let tag = match kernel.tags.read(socket) {
            Ok(Some(tag)) => tag,
            Ok(None) => {
                return self.by_table(&generations.in_force, connection, Why::TagMissing);
            }
            Err(error) => {
                tracing::warn!(%error, remote = %connection.remote(), "the kernel did not return a tag");
                return self.by_table(&generations.in_force, connection, Why::TagUnreadable);
            }
        };
        let Some((rules, connector)) = generations.known(tag) else {
            return self.by_table(&generations.in_force, connection, Why::TagUnknown);
        };
        if self.cross_check
            && rules.table.classify(connection.local(), connection.client()) != match_of(tag)
        {
            return self.by_table(rules, connection, Why::TagDisagrees);
        }
        Classification { rules: Arc::clone(rules), connector, decided_by: DecidedBy::Kernel }
    }

    /// Classifies a client whose address a trusted proxy stated, or whose session XCLIENT began
    /// again. The tag is about the proxy, so the daemon's table of the current generation decides.
    pub fn classify_told(&self, connection: &Connection) -> Classification {
        let why = if connection.proxy().is_some() { Why::Proxied } else { Why::StartedAgain };
        self.by_table(&self.generations.load().in_force, connection, why)
    }

    fn by_table(&self, rules: &Arc<Rules>, connection: &Connection, why: Why) -> Classification {
        let connector = match rules.table.classify(connection.local(), connection.client()) {
            TableMatch::Connector { connector: id, range } => rules
                .connector(id)
                .map(|connector| ConnectorChoice { id, connector: Arc::clone(connector), range }),
            TableMatch::NoBinding | TableMatch::NoConnector => None,
        };
        Classification { rules: Arc::clone(rules), connector, decided_by: DecidedBy::Daemon(why) }
    }

    /// Puts a generation in force. The daemon knows the generation before the kernel tags with it,
    /// and remembers the replaced one. Blocks as long as the kernel's maps need.
    ///
    /// # Errors
    ///
    /// The kernel's maps refused the generation: the previous one stays in force, in both.
    pub fn publish(&self, rules: Arc<Rules>) -> Result<(), KernelError> {
        let now = Instant::now();
        let before = self.generations.load_full();
        let mut announced = Generations::clone(&before);
        announced.others.push((now, Arc::clone(&rules)));
        self.generations.store(Arc::new(announced));
        if let Some(kernel) = &self.kernel {
            let mut publisher = kernel.publisher.blocking_lock();
            if let Err(error) = publisher.publish(&publication_of(&rules)) {
                self.generations.store(before);
                return Err(error);
            }
        }
        let mut others = before.others.clone();
        others.push((now, Arc::clone(&before.in_force)));
        others.retain(|(since, _)| now.saturating_duration_since(*since) < GENERATION_RETENTION);
        let surplus = others.len().saturating_sub(GENERATIONS_RETAINED);
        others.drain(..surplus);
        self.generations.store(Arc::new(Generations { in_force: rules, others }));
        Ok(())
    }

    /// Does [`Classifier::sweep`] have work now, or soon? Cheap.
    pub fn needs_sweep(&self) -> bool {
        let Some(kernel) = &self.kernel else { return false };
        // During a publication, a generation is about to be replaced.
        kernel.publisher.try_lock().map_or(true, |publisher| publisher.needs_sweep())
    }

    /// Removes replaced generations from the kernel. Must be called regularly while
    /// [`Classifier::needs_sweep`] returns true.
    pub fn sweep(&self) {
        if let Some(kernel) = &self.kernel
            && let Ok(mut publisher) = kernel.publisher.try_lock()
        {
            publisher.sweep(Instant::now());
        }
    }
}

impl Generations {
    /// The rules and the connector of a tag, if this process knows both.
    fn known(&self, tag: Tag) -> Option<(&Arc<Rules>, Option<ConnectorChoice>)> {
        let rules = std::iter::once(&self.in_force)
            .chain(self.others.iter().rev().map(|(_, rules)| rules))
            .find(|rules| rules.generation == tag.generation)?;
        if tag.connector == NO_CONNECTOR {
            return Some((rules, None));
        }
        let id = ConnectorId(tag.connector);
        let connector = Arc::clone(rules.connector(id)?);
        Some((rules, Some(ConnectorChoice { id, connector, range: RangeId(tag.range) })))
    }
}

/// The result of the table that this tag stands for.
fn match_of(tag: Tag) -> TableMatch {
    match tag.connector {
        NO_CONNECTOR => TableMatch::NoConnector,
        id => TableMatch::Connector { connector: ConnectorId(id), range: RangeId(tag.range) },
    }
}
