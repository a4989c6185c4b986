//! The SMTP extensions of a connector, by the names of the Exchange parameters.
//!
//! Data only. `policy` decides what is listed in the reply to EHLO, and what is refused if an
//! extension is off.

/// The extensions that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// `pipelining_enabled`: PIPELINING (RFC 2920) is listed. Commands that arrive together are
    /// accepted in any case, since each command line has its own end.
    pub pipelining_enabled: bool,
    /// `delivery_status_notification_enabled`: DSN (RFC 3461) and its parameters.
    pub delivery_status_notification_enabled: bool,
    /// `eight_bit_mime_enabled`: 8BITMIME (RFC 6152) and the parameter BODY.
    pub eight_bit_mime_enabled: bool,
    /// `chunking_enabled`: CHUNKING (RFC 3030) and the command BDAT.
    pub chunking_enabled: bool,
    /// `binary_mime_enabled`: BINARYMIME (RFC 3030), which needs CHUNKING, and its value of BODY.
    pub binary_mime_enabled: bool,
    /// `enhanced_status_codes_enabled`: ENHANCEDSTATUSCODES (RFC 2034), and the codes in replies.
    pub enhanced_status_codes_enabled: bool,
    /// `smtp_utf8_enabled`: SMTPUTF8 (RFC 6531) and its parameter.
    pub smtp_utf8_enabled: bool,
    /// `size_enabled`: SIZE (RFC 1870) and its parameter.
    pub size_enabled: SizeEnabled,
}

/// `SizeEnabled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SizeEnabled {
    /// Not listed, and the parameter is refused.
    Disabled,
    /// Listed with `max_message_size`; without a number for clients that are exempt from it.
    #[default]
    Enabled,
    /// Listed without a number.
    EnabledWithoutValue,
}

impl Default for Extensions {
    /// All on, as in Exchange.
    fn default() -> Self {
        Self {
            pipelining_enabled: true,
            delivery_status_notification_enabled: true,
            eight_bit_mime_enabled: true,
            chunking_enabled: true,
            binary_mime_enabled: true,
            enhanced_status_codes_enabled: true,
            smtp_utf8_enabled: true,
            size_enabled: SizeEnabled::Enabled,
        }
    }
}
