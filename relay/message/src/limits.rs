//! The bounds of header sections and of their records: unit, source, and the effect of each.

// Messages. Defaults of the Exchange parameters of the same name.

/// Octets of a field's name and the white space after it: as many as a line may have (RFC 5322
/// section 2.1.1). A longer one is not a name, and the line belongs to the body.
pub const FIELD_NAME_OCTETS: usize = 998;

/// Octets of the mbox lines before the first field: usually one line, and a few if the mail arrived
/// by UUCP. More are text, and belong to the body.
pub const MBOX_LINES_OCTETS: usize = 4 * 1000;

/// Octets of a whole message that are copied at once to look for the end of its header section. Our own: most
/// sections are shorter.
pub const PIECE_OCTETS: usize = 4096;

/// Names of removed fields that the record of a message lists. The rest is counted.
pub const RECORDED_FIELDS: usize = 16;

/// Octets of a field's name in the record of a message.
pub const RECORDED_NAME_OCTETS: usize = 64;

// Checks of mail from strangers. The deadlines end before INQUIRY_WAIT does.

/// Characters of one value that we quote in a field about a message: far below the 998 octets of
/// RFC 5322 section 2.1.1. The rest is cut off.
pub const RESULT_VALUE_OCTETS: usize = 255;

/// Octets that are stored of a Message-ID and of a From, for logs.
pub const IDENTITY_OCTETS: usize = 256;
