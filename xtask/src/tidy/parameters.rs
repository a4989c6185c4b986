//! The table of Exchange's parameters: complete, and every supported one has a test that exists.

use super::{Finding, Tree, error};

const TABLE: &str = "docs/exchange-parameters.md";

/// Parameters of New-ReceiveConnector and Set-ReceiveConnector, and the further ones that
/// Get-ReceiveConnector shows.
const PARAMETERS: &str = "AcceptConsumerMail AdminDisplayName AdvertiseClientSettings \
    AuthMechanism AuthTarpitInterval Banner BareLinefeedRejectionEnabled BinaryMimeEnabled \
    Bindings ChunkingEnabled Client Comment ConnectionInactivityTimeout ConnectionTimeout Custom \
    DefaultDomain DeliveryStatusNotificationEnabled DomainController DomainSecureEnabled \
    EightBitMimeEnabled EnableAuthGSSAPI Enabled EnhancedStatusCodesEnabled \
    ExtendedProtectionPolicy Fqdn Identity Internal Internet LiveCredentialEnabled \
    LongAddressesEnabled MaxAcknowledgementDelay MaxHeaderSize MaxHopCount MaxInboundConnection \
    MaxInboundConnectionPerSource MaxInboundConnectionPercentagePerSource MaxLocalHopCount \
    MaxLogonFailures MaxMessageSize MaxProtocolErrors MaxRecipientsPerMessage MessageRateLimit \
    MessageRateSource Name OrarEnabled Partner PermissionGroups PipeliningEnabled \
    ProtocolLoggingLevel ProxyEnabled RejectReservedSecondLevelRecipientDomains \
    RejectReservedTopLevelRecipientDomains RejectSingleLabelRecipientDomains RemoteIPRanges \
    RequireEHLODomain RequireTLS Server ServiceDiscoveryFqdn SizeEnabled SmtpUtf8Enabled \
    SuppressXAnonymousTls TarpitInterval TlsCertificateName TlsDomainCapabilities TransportRole \
    Usage";

/// Every parameter has one row, and rows of supported ones name tests that exist.
pub fn exchange_parameters_are_told_and_tested(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.file(TABLE) else { return vec![error(TABLE, 0, "is missing")] };
    let rows: Vec<_> = text
        .lines()
        .enumerate()
        .filter_map(|(index, line)| Some((index + 1, row(line)?)))
        .collect();
    let mut findings = Vec::new();
    for parameter in PARAMETERS.split_whitespace() {
        let count = rows.iter().filter(|(_, row)| row.parameter == parameter).count();
        if count != 1 {
            findings.push(error(TABLE, 0, format!("{parameter} has {count} rows")));
        }
    }
    for (line, row) in &rows {
        if !PARAMETERS.split_whitespace().any(|parameter| parameter == row.parameter) {
            findings.push(error(TABLE, *line, format!("{} is not a parameter", row.parameter)));
        }
        match row.status {
            "supported" if row.tests.is_empty() => {
                findings.push(error(TABLE, *line, "is supported without a test"));
            }
            "supported" | "none" => {}
            other => findings.push(error(TABLE, *line, format!("`{other}` is not a status"))),
        }
        for test in row.tests.iter().filter(|test| !exists(tree, test)) {
            findings.push(error(TABLE, *line, format!("there is no test {test}")));
        }
    }
    findings
}

struct Row<'t> {
    parameter: &'t str,
    status: &'t str,
    tests: Vec<&'t str>,
}

/// `` | `Parameter` | status | its effect here | `test`, `test` | ``
fn row(line: &str) -> Option<Row<'_>> {
    let mut cells = line.strip_prefix("| `")?.trim_end().trim_end_matches('|').split(" | ");
    let parameter = cells.next()?.trim_end_matches('`');
    let status = cells.next()?.trim();
    let tests = cells.last()?.split('`').skip(1).step_by(2).collect();
    Some(Row { parameter, status, tests })
}

/// A dialogue below tests/dialogues, or a function of that name.
fn exists(tree: &Tree, test: &str) -> bool {
    if test.ends_with(".smtp") {
        return tree.file(&format!("tests/dialogues/{test}")).is_some();
    }
    let function = format!("fn {test}(");
    tree.below("", ".rs").any(|(_, text)| text.contains(&function))
}
