//! Which octets of a client belong to the message, and which are commands again?

use bytes::{Bytes, BytesMut};
use relay_smtp::command::Chunk;
use relay_smtp::data::{ChunkEvent, ChunkReader, DataEvent, DataReader, Violation};

use crate::reception::MessageInput;

/// How the octets of the message are separated from commands.
#[derive(Debug)]
pub(super) enum BodyReader {
    Chunks {
        reader: ChunkReader,
        chunk: Chunk,
        /// BODY=BINARYMIME.
        binary: bool,
    },
    Data(DataReader),
}

/// What comes next in the input.
#[derive(Debug)]
pub(super) enum Framed {
    /// Octets of the message.
    Content(Bytes),
    /// A chunk of so many octets has ended that was not the last.
    ChunkEnded(u64),
    /// The message has ended.
    MessageEnded,
    /// More input is needed.
    NeedsInput,
}

impl BodyReader {
    /// The reader of a message that comes by DATA or by BDAT.
    pub(super) fn new(input: MessageInput) -> Self {
        match input {
            MessageInput::Data => Self::Data(DataReader::new()),
            MessageInput::Chunks { first, binary } => {
                let mut reader = ChunkReader::default();
                reader.begin(first.octets);
                Self::Chunks { reader, chunk: first, binary }
            }
        }
    }

    /// The first violation of the rules of lines so far.
    pub(super) fn violation(&self) -> Option<Violation> {
        match self {
            Self::Chunks { reader, .. } => reader.violation(),
            Self::Data(reader) => reader.violation(),
        }
    }

    /// Takes the next part of the message off the input.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Framed {
        match self {
            Self::Data(reader) => match reader.next_event(input) {
                None => Framed::NeedsInput,
                Some(DataEvent::Content(content)) => Framed::Content(content),
                Some(DataEvent::End) => Framed::MessageEnded,
            },
            Self::Chunks { reader, chunk, .. } => match reader.next_event(input) {
                None => Framed::NeedsInput,
                Some(ChunkEvent::Content(content)) => Framed::Content(content),
                Some(ChunkEvent::End) if !chunk.last => Framed::ChunkEnded(chunk.octets),
                Some(ChunkEvent::End) => {
                    reader.finish();
                    Framed::MessageEnded
                }
            },
        }
    }

    /// The next chunk comes.
    pub(super) fn begin_chunk(&mut self, next: Chunk) {
        if let Self::Chunks { reader, chunk, .. } = self {
            *chunk = next;
            reader.begin(next.octets);
        }
    }

    /// The chunk that is being read. `None`: the message comes by DATA.
    pub(super) fn chunk(&self) -> Option<Chunk> {
        match self {
            Self::Chunks { chunk, .. } => Some(*chunk),
            Self::Data(_) => None,
        }
    }

    /// Was BODY=BINARYMIME given?
    pub(super) fn is_binary(&self) -> bool {
        matches!(self, Self::Chunks { binary: true, .. })
    }
}
