//! What does each property of a receive connector mean here?
//!
//! The table covers section 2 of docs/exchange-semantics.md, the properties that
//! `Get-ReceiveConnector` prints, and the switches of its cmdlets. A property that the table does
//! not know is kept as a comment.

use relay_connector::limits;

/// How a property is taken over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Meaning {
    /// As this key, with this form.
    Key(&'static str, Form),
    /// By code of its own: see [`crate::connector`].
    Special,
    /// Kept as a comment, for this reason.
    Reference(&'static str),
    /// It has no meaning here, for this reason.
    Nothing(&'static str),
}

/// The form of a value, with the default here. A value that is the default is not written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// `True` or `False`.
    Switch(bool),
    /// A number, or `Unlimited` (`None`).
    Count(Option<u32>),
    /// Octets.
    Size(u64),
    /// A duration in seconds.
    Timespan(u64),
    /// A word.
    Word(&'static str),
    /// A text, absent by default.
    Text,
}

/// The properties by their names.
pub(crate) const RECEIVE_CONNECTOR: &[(&str, Meaning)] = {
    use Form::{Count, Size, Switch, Text, Timespan, Word};
    use Meaning::{Key, Nothing, Reference, Special};
    &[
        // Identity and matching.
        ("Name", Special),
        ("Identity", Special),
        ("Server", Special),
        ("Bindings", Special),
        ("RemoteIPRanges", Special),
        ("Enabled", Special),
        ("TransportRole", Special),
        ("Usage", Nothing("a preset of the cmdlet; its effect is in the other properties")),
        ("Custom", Nothing("a preset of the cmdlet; its effect is in the other properties")),
        ("Internet", Nothing("a preset of the cmdlet; its effect is in the other properties")),
        ("Internal", Nothing("a preset of the cmdlet; its effect is in the other properties")),
        ("Client", Nothing("a preset of the cmdlet; its effect is in the other properties")),
        ("Partner", Nothing("a preset of the cmdlet; its effect is in the other properties")),
        ("Comment", Key("comment", Text)),
        (
            "DefaultDomain",
            Reference("completes addresses without a domain, which are refused here"),
        ),
        ("ServiceDiscoveryFqdn", Nothing("for programs that look for mailboxes")),
        ("AdvertiseClientSettings", Nothing("for Outlook on the web")),
        ("DomainController", Nothing("there is no directory service here")),
        // Security.
        ("AuthMechanism", Special),
        ("PermissionGroups", Special),
        ("RequireTLS", Special),
        ("TlsCertificateName", Special),
        ("TlsDomainCapabilities", Reference("only for hybrid organizations")),
        ("DomainSecureEnabled", Special),
        ("EnableAuthGSSAPI", Nothing("there is no Kerberos here")),
        ("ExtendedProtectionPolicy", Nothing("protects NTLM, which does not exist here")),
        ("SuppressXAnonymousTls", Nothing("X-ANONYMOUSTLS is never offered here")),
        (
            "AuthTarpitInterval",
            Key("auth_tarpit_interval", Timespan(limits::AUTH_TARPIT_INTERVAL.as_secs())),
        ),
        ("TarpitInterval", Key("tarpit_interval", Timespan(limits::TARPIT_INTERVAL.as_secs()))),
        // Extensions of SMTP.
        ("PipeliningEnabled", Key("pipelining_enabled", Switch(true))),
        ("EightBitMimeEnabled", Key("eight_bit_mime_enabled", Switch(true))),
        ("BinaryMimeEnabled", Key("binary_mime_enabled", Switch(true))),
        ("ChunkingEnabled", Key("chunking_enabled", Switch(true))),
        (
            "DeliveryStatusNotificationEnabled",
            Key("delivery_status_notification_enabled", Switch(true)),
        ),
        ("EnhancedStatusCodesEnabled", Key("enhanced_status_codes_enabled", Switch(true))),
        ("SizeEnabled", Key("size_enabled", Word("Enabled"))),
        ("SmtpUtf8Enabled", Key("smtp_utf8_enabled", Switch(true))),
        ("LongAddressesEnabled", Nothing("XLONGADDR carries X.400 addresses")),
        ("OrarEnabled", Nothing("XORAR carries X.400 addresses")),
        ("BareLinefeedRejectionEnabled", Special),
        ("Banner", Special),
        ("Fqdn", Special),
        ("RequireEHLODomain", Key("require_ehlo_domain", Switch(false))),
        // Limits.
        ("MaxMessageSize", Key("max_message_size", Size(limits::MAX_MESSAGE_SIZE))),
        ("MaxHeaderSize", Key("max_header_size", Size(limits::MAX_HEADER_SIZE))),
        (
            "MaxRecipientsPerMessage",
            Key("max_recipients_per_message", Count(Some(limits::MAX_RECIPIENTS_PER_MESSAGE))),
        ),
        ("MaxHopCount", Key("max_hop_count", Count(Some(limits::MAX_HOP_COUNT)))),
        ("MaxLocalHopCount", Key("max_local_hop_count", Count(Some(limits::MAX_LOCAL_HOP_COUNT)))),
        (
            "MaxInboundConnection",
            Key("max_inbound_connection", Count(Some(limits::MAX_INBOUND_CONNECTION))),
        ),
        (
            "MaxInboundConnectionPerSource",
            Key(
                "max_inbound_connection_per_source",
                Count(Some(limits::MAX_INBOUND_CONNECTION_PER_SOURCE)),
            ),
        ),
        ("MaxInboundConnectionPercentagePerSource", Special),
        ("MessageRateLimit", Key("message_rate_limit", Count(None))),
        ("MessageRateSource", Special),
        ("MaxProtocolErrors", Key("max_protocol_errors", Count(Some(limits::MAX_PROTOCOL_ERRORS)))),
        (
            "MaxLogonFailures",
            Key("max_logon_failures", Count(Some(limits::MAX_LOGON_FAILURES.get()))),
        ),
        (
            "ConnectionTimeout",
            Key("connection_timeout", Timespan(limits::CONNECTION_TIMEOUT.as_secs())),
        ),
        (
            "ConnectionInactivityTimeout",
            Key(
                "connection_inactivity_timeout",
                Timespan(limits::CONNECTION_INACTIVITY_TIMEOUT.as_secs()),
            ),
        ),
        ("MaxAcknowledgementDelay", Nothing("Exchange itself ignores it since 2013")),
        // Recipients and logging.
        (
            "RejectReservedTopLevelRecipientDomains",
            Key("reject_reserved_top_level_recipient_domains", Switch(false)),
        ),
        (
            "RejectReservedSecondLevelRecipientDomains",
            Key("reject_reserved_second_level_recipient_domains", Switch(false)),
        ),
        (
            "RejectSingleLabelRecipientDomains",
            Key("reject_single_label_recipient_domains", Switch(false)),
        ),
        ("ProtocolLoggingLevel", Key("protocol_logging_level", Word("None"))),
        // Only in output.
        ("ProxyEnabled", Nothing("a state of the server, not a setting")),
        ("LiveCredentialEnabled", Nothing("a state of the server, not a setting")),
        ("AcceptConsumerMail", Nothing("of Microsoft's own service")),
        ("AdminDisplayName", Nothing(DIRECTORY)),
        ("ExchangeVersion", Nothing(DIRECTORY)),
        ("DistinguishedName", Nothing(DIRECTORY)),
        ("Guid", Nothing(DIRECTORY)),
        ("ObjectCategory", Nothing(DIRECTORY)),
        ("ObjectClass", Nothing(DIRECTORY)),
        ("WhenChanged", Nothing(DIRECTORY)),
        ("WhenCreated", Nothing(DIRECTORY)),
        ("WhenChangedUTC", Nothing(DIRECTORY)),
        ("WhenCreatedUTC", Nothing(DIRECTORY)),
        ("OrganizationId", Nothing(DIRECTORY)),
        ("OrganizationalUnitRoot", Nothing(DIRECTORY)),
        ("Id", Nothing(DIRECTORY)),
        ("OriginatingServer", Nothing(DIRECTORY)),
        ("ImmutableId", Nothing(DIRECTORY)),
        ("ExchangeObjectId", Nothing(DIRECTORY)),
        ("IsValid", Nothing(DIRECTORY)),
        ("ObjectState", Nothing(DIRECTORY)),
        ("PSComputerName", Nothing(SHELL)),
        ("PSShowComputerName", Nothing(SHELL)),
        ("RunspaceId", Nothing(SHELL)),
    ]
};

const DIRECTORY: &str = "bookkeeping of the directory";
const SHELL: &str = "bookkeeping of the shell";

/// The meaning of a property of a receive connector.
pub(crate) fn meaning(property: &str) -> Meaning {
    let mut known = RECEIVE_CONNECTOR.iter();
    let found = known.find(|(name, _)| name.eq_ignore_ascii_case(property));
    found.map_or(Meaning::Reference("not known to this version"), |&(_, meaning)| meaning)
}
