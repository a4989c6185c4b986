//! Which rights does a principal have, and what does each right change?

use super::*;

/// Keys that deny permissions of a group and of a grant.
pub(super) const DENIALS: &str = "permission_groups = [\"AnonymousUsers\", \"Custom\"]\n\
    grants = { anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipient\"] }\n\
    denies = { anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipient\", \
    \"ms-Exch-SMTP-Accept-Authoritative-Domain-Sender\"] }";

/// The effect of every permission alone, for every principal and every command. One line for each
/// case in which the reply differs from the reply with Submit only.
#[test]
fn each_permission_allows_exactly_its_own_commands() {
    let rules = rules("");
    let replies = |permissions: PermissionSet, principal: Principal| {
        let mut peer = peer(&rules, "Default Frontend");
        peer.principal = principal;
        peer.permissions = permissions;
        let large = peer.connector.limits.max_message_size + 1;
        let sent = |path: &str, size| mail(&rules, &peer, &sender(path), size).reply.code;
        let to = |path: &str| rcpt_now(&rules, &peer, &recipient(path), 0).reply.code;
        let facts = MessageFacts { size: large, ..MessageFacts::default() };
        [
            ("MAIL ours", sent("<a@contoso.example>", None)),
            ("MAIL relayed", sent("<a@customer.example>", None)),
            ("MAIL stranger", sent("<a@stranger.example>", None)),
            ("MAIL null", sent("<>", None)),
            ("MAIL large", sent("<>", Some(large))),
            ("RCPT ours", to("<b@contoso.example>")),
            ("RCPT stranger", to("<b@stranger.example>")),
            ("end of data, large", message(&peer, &facts).reply.code),
        ]
    };
    for &principal in Principal::ALL {
        let submit = PermissionSet::of(&[Permission::Submit]);
        assert_eq!(
            replies(PermissionSet::EMPTY, principal).map(|(_, code)| code),
            [530, 530, 530, 530, 530, 250, 550, 552]
        );
        let with_submit = replies(submit, principal);
        assert_eq!(with_submit.map(|(_, code)| code), [550, 250, 550, 250, 552, 250, 550, 552]);
        for &permission in Permission::ALL {
            let both = submit.union(PermissionSet::of(&[permission]));
            let opened: Vec<&str> = with_submit
                .iter()
                .zip(replies(both, principal))
                .filter(|(without, with)| without.1 != with.1)
                .map(|(&(command, _), _)| command)
                .collect();
            let expected: &[&str] = match permission {
                Permission::AcceptAnyRecipient => &["RCPT stranger"],
                Permission::AcceptAnySender => &["MAIL stranger"],
                Permission::AcceptAuthoritativeDomainSender => &["MAIL ours"],
                Permission::BypassMessageSizeLimit => &["MAIL large", "end of data, large"],
                Permission::Submit
                | Permission::AcceptAuthenticationFlag
                | Permission::BypassAntiSpam
                | Permission::AcceptHeadersRouting
                | Permission::AcceptHeadersOrganization
                | Permission::AcceptHeadersForest => &[],
            };
            assert_eq!(opened, expected, "{principal} with {permission}");
        }
    }
}

/// The permission sets of the documentation, by connector.
#[test]
fn each_connector_gives_exactly_its_permissions() {
    let rules = rules("");
    let names = |connector: &str| {
        let peer = peer(&rules, connector);
        let names: Vec<_> = peer.permissions.iter().map(Permission::name).collect();
        (peer.principal, names)
    };
    let anonymous = [
        "ms-Exch-SMTP-Submit",
        "ms-Exch-SMTP-Accept-Any-Sender",
        "ms-Exch-SMTP-Accept-Authoritative-Domain-Sender",
        "ms-Exch-Accept-Headers-Routing",
    ];
    assert_eq!(names("Default Frontend"), (Principal::Anonymous, anonymous.to_vec()));
    let mut relay = anonymous.to_vec();
    relay.insert(1, "ms-Exch-SMTP-Accept-Any-Recipient");
    assert_eq!(names("Scanners"), (Principal::Anonymous, relay));
    let trusted = [
        "ms-Exch-SMTP-Submit",
        "ms-Exch-SMTP-Accept-Any-Recipient",
        "ms-Exch-SMTP-Accept-Any-Sender",
        "ms-Exch-SMTP-Accept-Authoritative-Domain-Sender",
        "ms-Exch-SMTP-Accept-Authentication-Flag",
        "ms-Exch-Bypass-Anti-Spam",
        "ms-Exch-Bypass-Message-Size-Limit",
        "ms-Exch-Accept-Headers-Routing",
    ];
    assert_eq!(names("SMTP Relay EXCH01"), (Principal::ExternallySecured, trusted.to_vec()));
    assert_eq!(names("Other"), (Principal::Anonymous, vec![]));
}

/// Table 3.1 of docs/exchange-semantics.md, for the rights that matter to a relay.
#[test]
fn each_group_gives_exactly_the_documented_rights() {
    use relay_connector::Permission::*;
    let trusted = [
        Submit,
        AcceptAnyRecipient,
        AcceptAnySender,
        AcceptAuthoritativeDomainSender,
        AcceptAuthenticationFlag,
        BypassAntiSpam,
        BypassMessageSizeLimit,
        AcceptHeadersRouting,
    ];
    for &group in PermissionGroup::ALL {
        for &principal in Principal::ALL {
            let given: Vec<_> = group.permissions(principal).iter().collect();
            let expected = match (group.name(), principal) {
                ("AnonymousUsers", Principal::Anonymous) => vec![
                    Submit,
                    AcceptAnySender,
                    AcceptAuthoritativeDomainSender,
                    AcceptHeadersRouting,
                ],
                ("ExchangeUsers", Principal::User) => {
                    vec![Submit, AcceptAnyRecipient, BypassAntiSpam, AcceptHeadersRouting]
                }
                ("ExchangeServers", Principal::ExternallySecured) => trusted.to_vec(),
                ("ExchangeServers", Principal::Server) => Permission::ALL.to_vec(),
                ("Partners", Principal::Partner) => vec![Submit, AcceptHeadersRouting],
                _ => vec![],
            };
            assert_eq!(given, expected, "{group} for {principal}");
        }
    }
}

/// A denial goes before group and grant.
#[test]
fn a_denial_beats_group_and_grant() {
    let rules = rules(DENIALS);
    let peer = peer(&rules, "Other");
    let ours = mail(&rules, &peer, &sender("<ceo@contoso.example>"), None);
    assert_eq!(ours.reply, reply::MAY_NOT_SEND_AS);
    let permission = Permission::AcceptAuthoritativeDomainSender;
    assert_eq!(rule(&ours), Rule::Permission(permission));
    let theirs = mail(&rules, &peer, &sender("<a@stranger.example>"), None);
    assert_eq!(theirs.reply, reply::SENDER_OK);
    let relay = rcpt_now(&rules, &peer, &recipient("<b@stranger.example>"), 0);
    assert_eq!(relay.reply, reply::UNABLE_TO_RELAY);
    assert_eq!(rule(&relay), Rule::Permission(Permission::AcceptAnyRecipient));
}
