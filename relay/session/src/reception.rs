//! A message that is being received, from 354 to the end of data, or from the first chunk to the
//! last.
//!
//! The header section is buffered, checked and written after our own Received field; the body
//! passes through at once. A refused message is read to its end first: an earlier reply would make
//! the rest of it look like commands.

mod framing;
mod header_section;

use crate::hello::Hello;
use crate::limits::MESSAGE_CHECK_OCTETS;
use crate::message_parts::MessageWriter;
use crate::reception::framing::{BodyReader, Framed};
use crate::{Action, Context, MessageBegun};
use bytes::{Bytes, BytesMut};
use relay_mail::queue_id::QueueId;
use relay_message::changes::Changes;
use relay_message::header::{Collected, HeaderCollector};
use relay_message::identity::Identity;
use relay_policy::{self, Decision, MessageFacts};
use relay_smtp::command::Chunk;

/// How the client sends the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageInput {
    /// In chunks, of which this is the first. If `binary`, the body may have any octets.
    Chunks { first: Chunk, binary: bool },
    /// As the argument of DATA.
    Data,
}

/// The message is with the queue.
#[derive(Debug)]
pub(super) struct WaitingForStore {
    pub(super) hello: Hello,
    pub(super) id: QueueId,
}

/// A message on its way in.
#[derive(Debug)]
pub(super) struct Reception {
    hello: Hello,
    id: QueueId,
    reader: BodyReader,
    stage: Stage,
    facts: MessageFacts,
    identity: Identity,
    writer: MessageWriter,
    /// The end of data has arrived, and all of the message was passed to the queue.
    ended: bool,
    /// Our Received field, until it is written.
    trace: Bytes,
    /// The changes in the header section.
    changes: Changes,
    /// The size at which the policy is asked again.
    next_check: u64,
}

/// The processing of the octets that arrive.
#[derive(Debug)]
enum Stage {
    /// They are gathered; nothing has been written.
    Header(HeaderCollector),
    /// They are written.
    Body,
    /// They are counted and let go; the message is abandoned.
    Discarded {
        /// Octets of the message before.
        at: u64,
        /// The refusal, unless the whole message gives a reason that goes before it.
        because: Decision,
    },
}

/// The progress of [`Reception::read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReceptionProgress {
    /// A chunk of this size was read that was not the last.
    ChunkEnded(u64),
    Ended,
    MoreToCome,
    NeedsInput,
}

impl Reception {
    pub(super) fn new(
        context: &Context,
        hello: Hello,
        smtputf8: bool,
        input: MessageInput,
        begun: MessageBegun,
    ) -> Self {
        let trace = header_section::trace(context, &hello, smtputf8, &begun);
        let max_header_size = context.peer.connector.limits.max_header_size;
        Self {
            hello,
            id: begun.id,
            reader: BodyReader::new(input),
            stage: Stage::Header(HeaderCollector::new(max_header_size)),
            facts: MessageFacts::default(),
            identity: Identity::default(),
            writer: MessageWriter::default(),
            ended: false,
            trace,
            changes: Changes::default(),
            next_check: MESSAGE_CHECK_OCTETS,
        }
    }

    /// Reads the next part of the message from the input.
    pub(super) fn read(
        &mut self,
        context: &Context,
        input: &mut BytesMut,
        act: &mut impl FnMut(Action),
    ) -> ReceptionProgress {
        if self.ended {
            return ReceptionProgress::Ended;
        }
        let content = match self.reader.next(input) {
            Framed::Content(content) => Some(content),
            Framed::ChunkEnded(octets) => return ReceptionProgress::ChunkEnded(octets),
            Framed::MessageEnded => None,
            Framed::NeedsInput => return ReceptionProgress::NeedsInput,
        };
        match content {
            Some(content) => self.content(context, content, act),
            None => self.end(context, act),
        }
        ReceptionProgress::MoreToCome
    }

    /// Checks the message as if it had this size: an explanation has no body to send.
    pub(super) fn imagine(&mut self, context: &Context, octets: u64, act: &mut impl FnMut(Action)) {
        self.facts.size = octets;
        if self.is_open() {
            self.check(context, act);
        }
    }

    /// The next chunk begins.
    pub(super) fn begin_chunk(&mut self, next: Chunk) {
        self.reader.begin_chunk(next);
    }

    /// The changes in the header section. Call this once.
    pub(super) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// The client's introduction.
    pub(super) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Octets of the chunk, or the octets received so far of a message that is sent by DATA.
    pub(super) fn octets(&self) -> u64 {
        self.reader.chunk().map_or(self.facts.size, |chunk| chunk.octets)
    }

    /// The message's own identification, once its header section has been read.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Octets received so far.
    pub(super) fn size(&self) -> u64 {
        self.facts.size
    }

    /// After [`ReceptionProgress::Ended`]: the reply to the client, and whether the message must
    /// still be committed. After a refusal nothing of it is open any more.
    pub(super) fn conclude(
        mut self,
        context: &Context,
        act: &mut impl FnMut(Action),
    ) -> (WaitingForStore, Decision) {
        let decision = relay_policy::message(&context.peer, &self.facts);
        if !decision.reply.is_positive() {
            self.discard(decision.clone(), act);
        }
        let decision = match self.stage {
            Stage::Discarded { because, .. } if decision.reply.is_positive() => because,
            _ => decision,
        };
        (WaitingForStore { hello: self.hello, id: self.id }, decision)
    }

    /// The rest of this message is not needed. The queue drops the message, if it has not yet.
    pub(super) fn discard(&mut self, because: Decision, act: &mut impl FnMut(Action)) {
        if self.is_open() {
            self.stage = Stage::Discarded { at: self.facts.size, because };
            act(Action::AbandonMessage);
        }
    }

    /// Octets of the header section that are buffered until its end.
    pub(super) fn gathered(&self) -> usize {
        match &self.stage {
            Stage::Header(collector) => collector.received_octets(),
            Stage::Body | Stage::Discarded { .. } => 0,
        }
    }

    /// Octets that are kept until they are written.
    pub(super) fn octets_kept(&self) -> usize {
        self.gathered() + self.writer.octets() + self.trace.len()
    }

    /// Octets that arrived after the message was refused.
    pub(super) fn discarded(&self) -> u64 {
        match &self.stage {
            Stage::Header(_) | Stage::Body => 0,
            Stage::Discarded { at, .. } => self.facts.size - at,
        }
    }

    /// The refusal of the message, independent of its remaining octets.
    pub(super) fn refusal(&self, context: &Context) -> Option<Decision> {
        let decision = relay_policy::message(&context.peer, &self.facts);
        match &self.stage {
            _ if !decision.reply.is_positive() => Some(decision),
            Stage::Discarded { because, .. } => Some(because.clone()),
            Stage::Header(_) | Stage::Body => None,
        }
    }

    /// Does the queue still have this message open?
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Header(_) | Stage::Body)
    }

    /// Writes the rest. The queue may fail; only then is the result known.
    fn end(&mut self, context: &Context, act: &mut impl FnMut(Action)) {
        if let Stage::Header(collector) = &mut self.stage {
            let collected = collector.finish();
            self.header(context, collected, act);
        }
        // A CR at the end of the last chunk is bare.
        self.facts.bare_line_ending |= self.finds_violation();
        if self.is_open() {
            self.writer.flush(act);
        }
        self.ended = true;
    }

    fn content(&mut self, context: &Context, content: Bytes, act: &mut impl FnMut(Action)) {
        self.facts.size += content.len() as u64;
        let found_violation = !self.facts.bare_line_ending && self.finds_violation();
        self.facts.bare_line_ending |= found_violation;
        match &mut self.stage {
            Stage::Header(collector) => {
                let collected = collector.push(&content);
                self.header(context, collected, act);
                // Its end is not waited for.
                let most = context.peer.connector.limits.max_header_size;
                if matches!(self.stage, Stage::Header(_))
                    && self.facts.size > most.saturating_add(MESSAGE_CHECK_OCTETS)
                {
                    self.header(context, Collected::TooLarge { size: self.facts.size }, act);
                }
            }
            Stage::Body => {
                if found_violation || self.facts.size >= self.next_check {
                    self.next_check = self.facts.size + MESSAGE_CHECK_OCTETS;
                    self.check(context, act);
                }
                if matches!(self.stage, Stage::Body) {
                    self.writer.write(content, act);
                }
            }
            Stage::Discarded { .. } => {}
        }
    }

    /// BODY=BINARYMIME allows any line endings in the body, but never in the header section: every
    /// later program must read the same fields as the firewall.
    fn finds_violation(&self) -> bool {
        let Some(violation) = self.reader.violation() else { return false };
        match self.stage {
            _ if !self.reader.is_binary() => true,
            Stage::Header(_) => false,
            Stage::Body | Stage::Discarded { .. } => violation.place() < self.facts.header_size,
        }
    }

    /// Asks the policy about the facts so far; a refusal now is also the refusal at the end.
    fn check(&mut self, context: &Context, act: &mut impl FnMut(Action)) {
        let decision = relay_policy::message(&context.peer, &self.facts);
        if !decision.reply.is_positive() {
            self.discard(decision, act);
        }
    }
}
