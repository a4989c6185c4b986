//! The whole table: for each principal each right alone and each right removed, with the reply to
//! every command.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use relay_config::users;
use relay_connector::Permission;
use relay_connector::PermissionSet;
use relay_connector::Principal;
use relay_message::authentication_results::AuthservIds;
use relay_message::firewall::admit;
use relay_message::header::{Collected, HeaderCollector};
use relay_smtp::sasl::ClaimedIdentity;

use super::*;

const HEADER: &str = "Received: from a\r\n\
    X-MS-Exchange-Organization-SCL: -1\r\n\
    X-MS-Exchange-Forest-RulesExecuted: x\r\n\
    Subject: x\r\n";

/// The user of the table. These values are never computed with: the table is about the consequences
/// of a right password.
const USERS: &str = r#"
secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[[user]]
name = "alice"
password = "$argon2id$v=19$m=64,t=1,p=1$6wdvjjFc2zeJvdzquxyvXA$U3f10w21kOb/IRf4frn2HYIVho3PVoZrQL048msOUak"
send_as = ["alice@contoso.example"]
"#;

/// A peer with this principal and exactly these rights, by a connector that grants them and denies
/// all others: the groups have no effect, except if a mechanism requires one.
fn peer_with(principal: Principal, rights: PermissionSet) -> (Arc<Rules>, Peer) {
    let names = |rights: PermissionSet| {
        let names: Vec<_> = rights.iter().map(|right| format!("\"{right}\"")).collect();
        names.join(", ")
    };
    let all = PermissionSet::of(Permission::ALL);
    let keys = format!(
        "{}\ngrants = {{ {principal} = [{}] }}\ndenies = {{ {principal} = [{}] }}",
        mechanism(principal),
        names(rights),
        names(all.without(rights)),
    );
    build(principal, &keys)
}

/// A peer with this principal and the permissions of its group.
fn peer_of_group(principal: Principal) -> (Arc<Rules>, Peer) {
    let groups = PermissionGroup::ALL
        .iter()
        .find(|group| group.principals().any(|of_group| of_group == principal));
    let keys = mechanism(principal).replace("[]", &format!("[\"{}\"]", groups.unwrap()));
    build(principal, &keys)
}

/// The keys that this principal requires.
fn mechanism(principal: Principal) -> &'static str {
    match principal {
        Principal::Anonymous => "permission_groups = []",
        Principal::User => "auth_mechanism = [\"Tls\", \"BasicAuth\"]\npermission_groups = []",
        Principal::ExternallySecured => {
            "auth_mechanism = [\"Tls\", \"ExternalAuthoritative\"]\n\
             permission_groups = [\"ExchangeServers\"]"
        }
        Principal::Partner => "domain_secure_enabled = true\npermission_groups = []",
        Principal::Server => {
            "auth_mechanism = [\"Tls\", \"ExchangeServer\"]\npermission_groups = []"
        }
    }
}

fn build(principal: Principal, keys: &str) -> (Arc<Rules>, Peer) {
    let text = format!(
        r#"
hostname = "edge1.contoso.example"
delivery.smart_host = "127.0.0.1:2626"
tls = {{ certificate = "/c", key = "/k" }}
authentication.users_file = "/users.toml"
partners = {{ ca = "/a", tls_receive_domain_secure_list = ["partner.example"] }}
fleet = {{ ca = "/a", names = ["hub1.contoso.example"] }}
accepted_domain = [
    {{ name = "contoso.example" }},
    {{ name = "customer.example", type = "ExternalRelay" }},
]
[[connector]]
name = "Row"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["10.0.0.1"]
{keys}
"#
    );
    let mut config = Config::parse(&text, "relay.toml").unwrap_or_else(|error| panic!("{error}"));
    config.users = Arc::new(users::parse(USERS, "users.toml").unwrap());
    let rules = config.rules(&mut ConnectorIds::default(), 1).unwrap();
    let connector = Arc::clone(rules.connectors().next().unwrap().1);
    if principal == Principal::User {
        let user = rules.users.iter().next().unwrap();
        let peer = Peer::new(connector).authenticated(Arc::clone(user));
        return (rules, peer);
    }
    let permissions = connector.permissions(principal);
    let partner_domains = match principal {
        Principal::Partner => rules.partner_domains.clone(),
        _ => Vec::new(),
    };
    let peer = Peer { principal, permissions, partner_domains, ..Peer::new(connector) };
    (rules, peer)
}

/// The reply to every command.
fn answers(rules: &Rules, peer: &Peer) -> Vec<(&'static str, String)> {
    let large = peer.connector.limits.max_message_size + 1;
    let from = |path: &str, size| mail(rules, peer, &sender(path), size).reply.code.to_string();
    let to = |path: &str| rcpt_now(rules, peer, &recipient(path), 0).reply.code.to_string();
    let facts = MessageFacts { size: large, ..MessageFacts::default() };
    let mut collector = HeaderCollector::new(10_000);
    collector.push(HEADER.as_bytes());
    let Collected::Complete { section, .. } = collector.finish() else { panic!() };
    let ours = AuthservIds { hostname: "edge1.contoso.example", fqdn: "edge1.contoso.example" };
    let kept = admit(&section, peer.permissions, ours, |_| false).slices.concat();
    let kept = String::from_utf8(kept).unwrap();
    let field = |name: &str| if kept.contains(name) { "kept" } else { "removed" }.to_owned();
    // AUTH comes before a peer is a user: with the right password, by the permission of users to
    // send.
    let before = Peer::new(Arc::clone(&peer.connector));
    let offered = auth(rules, &before, "PLAIN");
    let logged_on = if offered.reply.is_positive() {
        let user = rules.users.iter().next().unwrap();
        let claim = ClaimedIdentity { name: Some(user.name.clone()), user: Some(Arc::clone(user)) };
        logon(&before, &claim, &PasswordFinding::Right)
    } else {
        offered
    };
    let encrypted = Peer { tls: true, ..peer.clone() };
    vec![
        ("STARTTLS", start_tls(peer).reply.code.to_string()),
        ("again", start_tls(&encrypted).reply.code.to_string()),
        ("AUTH", logged_on.reply.code.to_string()),
        ("MAIL own", from("<alice@contoso.example>", None)),
        ("ours", from("<a@contoso.example>", None)),
        ("relayed", from("<a@customer.example>", None)),
        ("partner's", from("<a@partner.example>", None)),
        ("stranger's", from("<a@stranger.example>", None)),
        ("null", from("<>", None)),
        ("large", from("<>", Some(large))),
        ("RCPT ours", to("<b@contoso.example>")),
        ("stranger", to("<b@stranger.example>")),
        ("data large", message(peer, &facts).reply.code.to_string()),
        ("Received", field("Received")),
        ("Organization", field("Organization")),
        ("Forest", field("Forest")),
        ("AuthAs", auth_as(peer).auth_as.to_string()),
    ]
}

#[test]
fn the_whole_table() {
    let mut table = String::from(
        "# For each principal, each right alone and each right taken away: what every command answers.\n\
         # Written by the test `the_whole_table` of relay/policy/tests/decisions/permissions.rs with\n\
         # UPDATE_EXPECT=1. Senders and recipients are in domains that are ours (Authoritative),\n\
         # relayed (ExternalRelay), of a partner, or of strangers; own is what the user may send as;\n\
         # AUTH is that of a user with the right password; large is over max_message_size;\n\
         # the last columns say what becomes of the client's header fields and how it is stamped.\n",
    );
    let all = PermissionSet::of(Permission::ALL);
    let submit = PermissionSet::of(&[Permission::Submit]);
    for &principal in Principal::ALL {
        let mut rows = vec![
            ("as its group gives".to_owned(), peer_of_group(principal)),
            ("nothing".to_owned(), peer_with(principal, PermissionSet::EMPTY)),
            ("Submit".to_owned(), peer_with(principal, submit)),
        ];
        let short = |right: Permission| right.name().trim_start_matches("ms-Exch-").to_owned();
        for &right in Permission::ALL.iter().filter(|&&right| right != Permission::Submit) {
            let rights = submit.union(PermissionSet::of(&[right]));
            rows.push((format!("Submit and {}", short(right)), peer_with(principal, rights)));
        }
        rows.push(("everything".to_owned(), peer_with(principal, all)));
        for &right in Permission::ALL {
            let rights = all.without(PermissionSet::of(&[right]));
            rows.push((format!("all but {}", short(right)), peer_with(principal, rights)));
        }
        for (number, (name, (rules, peer))) in rows.iter().enumerate() {
            let answers = answers(rules, peer);
            let line = |first: &str, cells: &mut dyn Iterator<Item = &str>| {
                let mut line = format!("{first:<52}");
                for ((column, _), cell) in answers.iter().zip(cells) {
                    write!(line, " {cell:<0$}", column.len().max(7)).unwrap();
                }
                line.trim_end().to_owned() + "\n"
            };
            if number == 0 {
                table.push('\n');
                let columns = &mut answers.iter().map(|(column, _)| *column);
                table += &line(principal.name(), columns);
            }
            let cells = &mut answers.iter().map(|(_, cell)| cell.as_str());
            table += &line(&format!("  {name}"), cells);
        }
    }

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/permissions.snap");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &table).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    assert!(table == expected, "the table has changed; it is now\n{table}");
}
