//! The header firewall: removes fields that a principal may not send.
//!
//! A field that a later server would trust is removed unless the principal has the permission to
//! write it. Which permission guards which fields is defined by Exchange:
//! docs/exchange-semantics.md section 9. Authentication-Results that claim to be ours, and our
//! X-Relay-Spam, are removed with any permissions. Each removal is recorded.

use crate::authentication_results::AuthservIds;
use crate::changes::Changes;
use crate::header::{Field, HeaderSection};
use crate::hops;
use crate::spam;
use crate::stamp::AUTH_AS;
use bytes::Bytes;
use relay_connector::{Permission, PermissionSet};

/// The name under which a line of an mbox file is stored, as Postfix does it.
const MAILBOX_LINE: &[u8] = b"X-Mailbox-Line: ";

/// The result of the firewall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// The section as it is kept, in order.
    pub slices: Vec<Bytes>,
    /// The removed fields, and the lines that became fields.
    pub changes: Changes,
    /// Does it say already how the sender was known?
    pub is_stamped: bool,
}

/// Removes every field whose permission is not in the set, and every field that claims to have our
/// results. Our own Received fields stay with any permissions: without them a loop through a
/// connector that removes trace fields would never end. Hops must be counted before, because
/// otherwise a loop would be hidden. Lines of an mbox file become fields.
pub fn admit(
    section: &HeaderSection,
    permissions: PermissionSet,
    ours: AuthservIds<'_>,
    is_our_name: impl Fn(&str) -> bool,
) -> Admitted {
    let mut admitted = Admitted::default();
    for line in section.mbox_lines() {
        admitted.slices.extend([Bytes::from_static(MAILBOX_LINE), line]);
        admitted.changes.renamed_mbox_line();
    }
    // The open run of admitted fields begins at `from` and ends at `to`.
    let mut from = 0;
    let mut to = 0;
    for field in section.fields() {
        let end = to + field.octets().len();
        let is_admitted = !ours.are_claimed_by(field)
            && !spam::is_claimed_by(field)
            && (guard(field).is_none_or(|permission| permissions.contains(permission))
                || hops::names_us(field, &is_our_name));
        if !is_admitted {
            admitted.close(section, from, to);
            admitted.changes.removed(field.name());
            from = end;
        } else if field.name().eq_ignore_ascii_case(AUTH_AS) {
            admitted.is_stamped = true;
        }
        to = end;
    }
    admitted.close(section, from, to);
    admitted
}

impl Admitted {
    fn close(&mut self, section: &HeaderSection, from: usize, to: usize) {
        if from < to {
            self.slices.push(section.slice(from, to));
        }
    }
}

/// The permission without which a field is removed. `None`: every client may write it.
fn guard(field: Field<'_>) -> Option<Permission> {
    let name = field.name();
    let begins_with = |prefix: &[u8]| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    if field.is_received() || begins_with(b"Resent-") {
        Some(Permission::AcceptHeadersRouting)
    } else if begins_with(b"X-MS-Exchange-Organization-") {
        Some(Permission::AcceptHeadersOrganization)
    } else if begins_with(b"X-MS-Exchange-Forest-") {
        Some(Permission::AcceptHeadersForest)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::firewall::*;
    use crate::header::{Collected, HeaderCollector};

    const OURS: AuthservIds<'_> = AuthservIds { hostname: "relay.example", fqdn: "mx.example" };

    fn is_ours(name: &str) -> bool {
        name == "relay.example"
    }

    const SECTION: &str = "Received: from a\r\n\tby b\r\n\
        Subject: x\r\n\
        resent-from: a@b\r\n\
        X-MS-Exchange-Organization-AuthAs: Internal\r\n\
        x-ms-exchange-organization-SCL : -1\r\n \r\n -1\r\n\
        X-MS-Exchange-Forest-RulesExecuted: y\r\n\
        X-MS-Exchange-CrossTenant-Id: z\r\n\
        X-Received: w\r\n\
        To: c@d\r\n";

    fn admitted(permissions: &[Permission]) -> (String, u32) {
        let mut collector = HeaderCollector::new(10_000);
        collector.push(SECTION.as_bytes());
        let Collected::Complete { section, .. } = collector.finish() else { panic!() };
        let admitted = admit(&section, PermissionSet::of(permissions), OURS, is_ours);
        (String::from_utf8(admitted.slices.concat()).unwrap(), admitted.changes.removed_fields())
    }

    #[test]
    fn mbox_lines_are_kept_as_fields() {
        let mut collector = HeaderCollector::new(10_000);
        collector.push(b"From root Mon Jan  1\r\n>From x\r\nTo: c@d\r\n");
        let Collected::Complete { section, .. } = collector.finish() else { panic!() };
        let admitted = admit(&section, PermissionSet::of(Permission::ALL), OURS, is_ours);
        assert_eq!(
            admitted.slices.concat().escape_ascii().to_string(),
            "X-Mailbox-Line: From root Mon Jan  1\\r\\nX-Mailbox-Line: >From x\\r\\n\
             To: c@d\\r\\n"
        );
    }

    #[test]
    fn our_own_trace_stays_with_any_permissions() {
        let mut collector = HeaderCollector::new(10_000);
        collector.push(
            b"Received: from a by b; Sun\r\nReceived: from b\r\n by Relay.example. with ESMTP; Sun\r\n\
              Received: from relay.example by c (by relay.example); Sun\r\n\
              Resent-From: by relay.example\r\nTo: c@d\r\n",
        );
        let Collected::Complete { section, .. } = collector.finish() else { panic!() };
        let admitted = admit(&section, PermissionSet::of(&[]), OURS, is_ours);
        let left = b"Received: from b\r\n by Relay.example. with ESMTP; Sun\r\nTo: c@d\r\n";
        assert_eq!(admitted.slices.concat(), left);
    }

    #[test]
    fn no_permission_lets_our_results_in() {
        let mut collector = HeaderCollector::new(10_000);
        collector.push(
            b"Authentication-Results: relay.example;\r\n spf=pass\r\n\
              Authentication-Results: other.example; spf=pass\r\n\
              authentication-results : MX.example; dkim=pass\r\nTo: c@d\r\n",
        );
        let Collected::Complete { section, .. } = collector.finish() else { panic!() };
        let admitted = admit(&section, PermissionSet::of(Permission::ALL), OURS, is_ours);
        let left = b"Authentication-Results: other.example; spf=pass\r\nTo: c@d\r\n";
        assert_eq!(
            (&admitted.slices.concat()[..], admitted.changes.removed_fields()),
            (&left[..], 2)
        );
    }

    #[test]
    fn each_permission_guards_its_fields() {
        use Permission::*;
        let all = [AcceptHeadersRouting, AcceptHeadersOrganization, AcceptHeadersForest];
        assert_eq!(admitted(&all), (SECTION.to_owned(), 0));
        assert_eq!(
            admitted(&[]),
            (
                "Subject: x\r\nX-MS-Exchange-CrossTenant-Id: z\r\nX-Received: w\r\nTo: c@d\r\n"
                    .to_owned(),
                5
            )
        );
        let (routing, removed) = admitted(&[AcceptHeadersRouting]);
        assert!(routing.starts_with("Received: from a\r\n\tby b\r\nSubject: x\r\nresent-from"));
        assert!(!routing.contains("SCL") && !routing.contains(" -1") && removed == 3);
        let (organization, removed) = admitted(&[AcceptHeadersOrganization]);
        assert!(organization.contains("SCL : -1\r\n \r\n -1\r\n") && removed == 3);
        assert!(admitted(&[AcceptHeadersForest]).0.contains("RulesExecuted"));
    }
}
