//! Which rule made a finding? Its name in the configuration, in Exchange, in the log and in
//! `explain`.
//!
//! The names are documented, and administrators search logs for them.

use std::fmt;

use relay_connector::Permission;

macro_rules! rules {
    ($($(#[$meta:meta])* $rule:ident = $name:literal,)*) => {
        /// A rule. Most have the name of their configuration key; a permission has Exchange's name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            /// Does the client have this permission?
            Permission(Permission),
            $($(#[$meta])* $rule,)*
        }

        impl Rule {
            /// Every rule that is no permission, in the order of names.
            pub const ALL: &'static [Self] = &[$(Self::$rule,)*];

            /// The name in log, message tracking and explanations.
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Permission(permission) => permission.name(),
                    $(Self::$rule => $name,)*
                }
            }
        }
    };
}

rules! {
    /// The principal in the stamp of a message.
    AuthAs = "AuthAs",
    /// `[[accepted_domain]]`.
    AcceptedDomain = "accepted_domain",
    /// `auth_mechanism`.
    AuthMechanism = "auth_mechanism",
    /// Has the client proved to be a user?
    Authentication = "authentication",
    /// `[back_pressure]`.
    BackPressure = "back_pressure",
    /// `banner`.
    Banner = "banner",
    /// Do the sizes of chunks add up?
    ChunkSize = "BDAT",
    /// `binary_mime_enabled`.
    BinaryMimeEnabled = "binary_mime_enabled",
    /// `block_lists` of `antispam`.
    BlockLists = "block_lists",
    /// `chunking_enabled`.
    ChunkingEnabled = "chunking_enabled",
    /// The connector of a connection.
    Connector = "connector",
    /// `delivery_status_notification_enabled`.
    DeliveryStatusNotificationEnabled = "delivery_status_notification_enabled",
    /// `dkim` of `antispam`.
    Dkim = "dkim",
    /// `dmarc` of `antispam`.
    Dmarc = "dmarc",
    /// `domain_secure_enabled`.
    DomainSecureEnabled = "domain_secure_enabled",
    /// The name of HELO or EHLO.
    Hello = "EHLO",
    /// `eight_bit_mime_enabled`.
    EightBitMimeEnabled = "eight_bit_mime_enabled",
    /// `ExchangeServer` of `auth_mechanism`.
    ExchangeServer = "ExchangeServer",
    /// A bare CR, a bare LF or a NUL in a message.
    ForbiddenOctets = "forbidden octets",
    /// The guard in the kernel.
    Guard = "guard",
    /// The number of header fields.
    HeaderFields = "header fields",
    /// The addresses in From and Sender.
    HeaderFrom = "header From",
    /// Failed logons of the client's source.
    LogonFailures = "logon failures",
    /// `max_header_size`.
    MaxHeaderSize = "max_header_size",
    /// `max_hop_count`.
    MaxHopCount = "max_hop_count",
    /// `max_inbound_connection`.
    MaxInboundConnection = "max_inbound_connection",
    /// `max_inbound_connection_per_source`.
    MaxInboundConnectionPerSource = "max_inbound_connection_per_source",
    /// `max_inbound_connection_percentage_per_source`.
    MaxInboundConnectionPercentagePerSource = "max_inbound_connection_percentage_per_source",
    /// `max_local_hop_count`.
    MaxLocalHopCount = "max_local_hop_count",
    /// `max_logon_failures`.
    MaxLogonFailures = "max_logon_failures",
    /// `max_message_size`.
    MaxMessageSize = "max_message_size",
    /// `max_protocol_errors`.
    MaxProtocolErrors = "max_protocol_errors",
    /// `max_recipients_per_message`.
    MaxRecipientsPerMessage = "max_recipients_per_message",
    /// `max_refused_recipients`.
    MaxRefusedRecipients = "max_refused_recipients",
    /// The mechanism that AUTH names.
    Mechanism = "mechanism",
    /// `message_memory`.
    MessageMemory = "message_memory",
    /// `message_rate_limit`.
    MessageRateLimit = "message_rate_limit",
    /// NOTIFY=SUCCESS of RCPT.
    NotifySuccess = "NOTIFY=SUCCESS",
    /// `postmaster`.
    Postmaster = "postmaster",
    /// The grammar of commands, and their order.
    Protocol = "protocol",
    /// `proxy_protocol_from` of `[proxies]`.
    ProxyProtocolFrom = "proxy_protocol_from",
    /// Does the queue accept the message?
    Queue = "queue",
    /// How the recipient is written.
    Recipient = "recipient",
    /// `recipient_lookup`.
    RecipientLookup = "recipient_lookup",
    /// `recipients_file`.
    RecipientsFile = "recipients_file",
    /// `refuse`.
    Refuse = "refuse",
    /// `reject_reserved_second_level_recipient_domains`.
    RejectReservedSecondLevel = "reject_reserved_second_level_recipient_domains",
    /// `reject_reserved_top_level_recipient_domains`.
    RejectReservedTopLevel = "reject_reserved_top_level_recipient_domains",
    /// `reject_single_label_recipient_domains`.
    RejectSingleLabel = "reject_single_label_recipient_domains",
    /// `require_ehlo_domain`.
    RequireEhloDomain = "require_ehlo_domain",
    /// `require_tls`.
    RequireTls = "require_tls",
    /// RET=FULL of MAIL.
    RetFull = "RET=FULL",
    /// `rspamd` of `antispam`.
    Rspamd = "rspamd",
    /// `send_as` of a user.
    SendAs = "send_as",
    /// The kind of sender in MAIL.
    Sender = "sender",
    /// How the session ended.
    Session = "session",
    /// `size_enabled`.
    SizeEnabled = "size_enabled",
    /// SMTPUTF8 of MAIL.
    SmtpUtf8 = "SMTPUTF8",
    /// `smtp_utf8_enabled`.
    SmtpUtf8Enabled = "smtp_utf8_enabled",
    /// `spf` of `antispam`.
    Spf = "spf",
    /// TLS of the session, and the certificate for it.
    Tls = "tls",
    /// `tls_receive_domain_secure_list` of `[partners]`.
    TlsReceiveDomainSecureList = "tls_receive_domain_secure_list",
    /// `xclient_from` of `[proxies]`.
    XClientFrom = "xclient_from",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Administrators search for these names, so a change would change the log's format.
    #[test]
    fn every_rule_has_a_name_of_its_own() {
        let names: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        let permissions = Permission::ALL.iter().map(|&it| Rule::Permission(it).name());
        let all: BTreeSet<_> = names.iter().copied().chain(permissions).collect();
        assert_eq!(all.len(), names.len() + Permission::ALL.len());
        let expected = "AuthAs accepted_domain auth_mechanism authentication back_pressure banner \
            BDAT binary_mime_enabled block_lists chunking_enabled connector \
            delivery_status_notification_enabled dkim dmarc domain_secure_enabled EHLO \
            eight_bit_mime_enabled ExchangeServer forbidden_octets guard header_fields header_From logon_failures \
            max_header_size max_hop_count max_inbound_connection max_inbound_connection_per_source \
            max_inbound_connection_percentage_per_source max_local_hop_count max_logon_failures \
            max_message_size max_protocol_errors max_recipients_per_message \
            max_refused_recipients mechanism message_memory message_rate_limit NOTIFY=SUCCESS \
            postmaster protocol proxy_protocol_from queue recipient recipient_lookup recipients_file refuse \
            reject_reserved_second_level_recipient_domains \
            reject_reserved_top_level_recipient_domains reject_single_label_recipient_domains \
            require_ehlo_domain require_tls RET=FULL rspamd send_as sender session size_enabled \
            SMTPUTF8 smtp_utf8_enabled spf tls tls_receive_domain_secure_list xclient_from";
        let written: Vec<_> = names.iter().map(|name| name.replace(' ', "_")).collect();
        assert_eq!(written.join(" "), expected);
    }
}
