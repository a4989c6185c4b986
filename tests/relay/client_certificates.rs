//! The principal of a client by its certificate: a partner, a server of our own fleet, or
//! anonymous.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use relay_tests::daemon::Daemon;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::PATIENCE;
use crate::edge::{Edge, Mode, SCANNER, session_line};
use crate::encrypted::{Encrypted, Terms};

const CONFIGURATION: &str = r#"
[tls]
certificate = "FOLDER/edge.pem"
key = "FOLDER/edge.key"

[partners]
ca = "FOLDER/partners.pem"
tls_receive_domain_secure_list = ["*.partner.example"]

[fleet]
ca = "FOLDER/fleet.pem"
names = ["hub1.contoso.example"]

[[connector]]
name = "Servers"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.0/8"]
auth_mechanism = ["Tls", "ExchangeServer"]
domain_secure_enabled = true
permission_groups = ["ExchangeServers", "Partners"]
tarpit_interval = "0s"

[[connector]]
name = "Everybody"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.9"]
permission_groups = ["AnonymousUsers"]
tarpit_interval = "0s"
"#;

/// An authority that issues certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these names, with the changes that the test needs.
    fn issue(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        (certificate.der().clone(), key)
    }
}

/// An edge host, the authorities that it trusts, and its own certificate.
struct World {
    edge: Edge,
    daemon: Daemon,
    partners: Authority,
    fleet: Authority,
    shown: CertificateDer<'static>,
}

impl World {
    fn new() -> Self {
        let edge = Edge::new(Mode::Userspace);
        let (partners, fleet) = (Authority::new(), Authority::new());
        let made = rcgen::generate_simple_self_signed(["edge.test".to_owned()]).unwrap();
        let write = |name: &str, text: &str| write(edge.folder(), name, text);
        write("edge.pem", &made.cert.pem());
        write("edge.key", &made.signing_key.serialize_pem());
        write("partners.pem", &partners.pem);
        write("fleet.pem", &fleet.pem);
        let folder = edge.folder().display().to_string();
        let daemon =
            edge.start_with(&edge.configuration(&CONFIGURATION.replace("FOLDER", &folder)));
        let shown = made.cert.der().clone();
        Self { edge, daemon, partners, fleet, shown }
    }

    /// Connects with this certificate. Returns also the principal in the daemon's log, and the
    /// log's text about the certificate.
    fn principal(
        &self,
        identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> (String, String) {
        let before = self.daemon.line_count();
        let mut client = self.connect(SCANNER, identity);
        client.say("QUIT");
        let line = session_line(&self.daemon, before, SCANNER);
        let said = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        (said("principal"), said("client_certificate"))
    }

    fn connect(
        &self,
        from: &str,
        identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> Encrypted {
        let terms = Terms::trusting(&self.shown);
        let terms = match identity {
            Some((certificate, key)) => terms.showing(certificate, key),
            None => terms,
        };
        let mut client = terms.start_tls(&self.edge, from).unwrap();
        client.say("EHLO client.example");
        client
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
}

fn nothing(_: &mut CertificateParams) {}

#[test]
fn a_partner_may_send_to_us_and_only_from_its_domain() {
    let world = World::new();
    let identity = world.partners.issue(&["mail.partner.example"], nothing);
    let mut client = world.connect(SCANNER, Some(identity));
    let denied = "550 5.7.60 SMTP; Client does not have permissions to send as this sender";
    assert_eq!(client.say("MAIL FROM:<a@stranger.example>"), denied);
    assert_eq!(client.say("MAIL FROM:<ceo@contoso.example>"), denied);
    assert!(client.say("MAIL FROM:<a@partner.example>").starts_with("250 "));
    let relay = client.say("RCPT TO:<b@fabrikam.example>");
    assert_eq!(relay, "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain");
    assert!(client.say("RCPT TO:<b@contoso.example>").starts_with("250 "));
    assert!(client.say("DATA").starts_with("354 "));
    let content =
        "X-MS-Exchange-Organization-SCL: -1\r\nReceived: from x by y\r\nSubject: x\r\n\r\n.";
    assert!(client.say(content).starts_with("250 2.6.0 "));
    let message = world.edge.sink.wait_for(1, PATIENCE).unwrap().remove(0).text();
    assert!(message.contains("(connector \"Servers\", partner;"), "{message}");
    assert!(message.contains("Received: from x by y") && !message.contains("SCL"), "{message}");
}

#[test]
fn a_server_of_our_fleet_has_the_rights_of_a_server() {
    let world = World::new();
    let identity = world.fleet.issue(&["hub1.contoso.example"], nothing);
    let mut client = world.connect(SCANNER, Some(identity));
    let keywords = client.say("EHLO hub1.contoso.example");
    assert!(keywords.contains("250-SIZE\n"), "no size limit: {keywords}");
    assert!(client.say("MAIL FROM:<ceo@contoso.example>").starts_with("250 "));
    assert!(client.say("RCPT TO:<b@fabrikam.example>").starts_with("250 "));
    assert!(client.say("DATA").starts_with("354 "));
    assert!(client.say("Subject: x\r\n\r\n.").starts_with("250 2.6.0 "));
    let message = world.edge.sink.wait_for(1, PATIENCE).unwrap().remove(0).text();
    assert!(message.contains("(connector \"Servers\", server;"), "{message}");
}

#[test]
fn a_client_without_a_valid_certificate_is_anonymous() {
    let world = World::new();
    let anonymous = |identity| {
        let (principal, found) = world.principal(Some(identity));
        assert_eq!(principal, "anonymous", "{found}");
        found
    };
    let hub = &["hub1.contoso.example"][..];
    let partner = &["mail.partner.example"][..];

    // No certificate, and no rights: no mail.
    let mut client = world.connect(SCANNER, None);
    let reply = client.say("MAIL FROM:<a@partner.example>");
    assert!(reply.starts_with("530 5.7.57 "), "{reply}");
    assert_eq!(world.principal(None).0, "anonymous");

    // The wrong authority: an unknown one, and each of the two for names that only the other may
    // certify.
    let stranger = Authority::new();
    for names in [hub, partner] {
        assert!(anonymous(stranger.issue(names, nothing)).contains("does not verify"));
    }
    anonymous(world.partners.issue(hub, nothing));
    anonymous(world.fleet.issue(partner, nothing));

    // The right authority, for another name.
    let found = anonymous(world.fleet.issue(&["hub2.contoso.example"], nothing));
    assert!(found.contains("hub2.contoso.example; none of them is listed"), "{found}");
    anonymous(world.partners.issue(&["mail.notpartner.example"], nothing));
    anonymous(world.fleet.issue(&[], nothing));

    // Outside its validity, before and after.
    let expired = world.fleet.issue(hub, |params| params.not_after = date_time_ymd(2020, 1, 1));
    assert!(anonymous(expired).contains("Expired"));
    let future = world.fleet.issue(hub, |params| params.not_before = date_time_ymd(4000, 1, 1));
    assert!(anonymous(future).contains("NotValidYet"));

    // For another purpose. A server certificate is accepted.
    let usage =
        |usage| move |params: &mut CertificateParams| params.extended_key_usages = vec![usage];
    anonymous(world.fleet.issue(hub, usage(ExtendedKeyUsagePurpose::CodeSigning)));
    let for_servers = world.fleet.issue(hub, usage(ExtendedKeyUsagePurpose::ServerAuth));
    assert_eq!(world.principal(Some(for_servers)).0, "server");

    // Connectors without a use for certificates do not ask for one.
    let mut client = world.connect("127.0.0.9", Some(world.fleet.issue(hub, nothing)));
    assert!(client.say("MAIL FROM:<a@b.example>").starts_with("250 "));
    let relay = client.say("RCPT TO:<b@fabrikam.example>");
    assert!(relay.starts_with("550 5.7.54 "), "{relay}");
}

#[test]
fn an_authority_that_is_replaced_on_disk_is_no_longer_trusted() {
    let world = World::new();
    let hub = &["hub1.contoso.example"];
    assert_eq!(world.principal(Some(world.fleet.issue(hub, nothing))).0, "server");
    let other = Authority::new();
    let before = world.daemon.line_count();
    write(world.edge.folder(), "fleet.pem", &other.pem);
    world.daemon.wait_for(before, PATIENCE, |line| line.contains("renewed").then_some(())).unwrap();
    assert_eq!(world.principal(Some(world.fleet.issue(hub, nothing))).0, "anonymous");
    assert_eq!(world.principal(Some(other.issue(hub, nothing))).0, "server");
}
