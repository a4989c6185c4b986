//! What the report warns of.

use super::*;

fn with(changes: &[(&str, &str)], base: &str) -> ExportedObject {
    let mut text = base.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    receive(&text)
}

fn of(objects: Vec<ExportedObject>, access: Vec<AccessRow>) -> Imported {
    imported(&ExportedObjects { objects, access })
}

#[test]
fn an_open_relay() {
    let access = || vec![row("Default Frontend EX01", ANONYMOUS, ANY_RECIPIENT, AccessKind::Allow)];
    let imported = of(vec![receive(DEFAULT_FRONTEND)], access());
    let found = dangers(&imported, DangerLevel::Danger, "Default Frontend EX01");
    assert!(found.contains("any recipient") && found.contains("open relay"), "{found}");
    // Denied, it is none.
    let mut rows = access();
    rows.push(row("Default Frontend EX01", ANONYMOUS, ANY_RECIPIENT, AccessKind::Deny));
    let denied = of(vec![receive(DEFAULT_FRONTEND)], rows);
    assert_eq!(dangers(&denied, DangerLevel::Danger, "Default"), "");
    let public = with(&[("10.6.0.15", "8.8.8.0/24")], SECURED);
    let found = dangers(&of(vec![public], vec![]), DangerLevel::Danger, "Applications");
    assert!(found.contains("8.8.8.0/24 is public"), "{found}");
    assert_eq!(dangers(&of(vec![receive(SECURED)], vec![]), DangerLevel::Danger, ""), "");
}

#[test]
fn rights_that_the_export_does_not_have() {
    let imported = of(vec![receive(SCANNERS)], vec![]);
    let found = dangers(&imported, DangerLevel::Danger, "Scanners");
    assert!(found.contains("Get-ReceiveConnector 'EX01\\Scanners' | Get-ADPermission"), "{found}");
    assert_eq!(dangers(&self::imported(&typical()), DangerLevel::Danger, "Scanners"), "");
}

#[test]
fn overlapping_ranges() {
    let partial = with(&[("10.6.0.15", "10.5.0.30-10.5.0.60")], SECURED);
    let imported = of(vec![receive(SCANNERS), partial], vec![]);
    let found = dangers(&imported, DangerLevel::Danger, "Applications");
    assert!(found.contains("10.5.0.10-10.5.0.40"), "{found}");
    assert!(found.contains("remove 10.5.0.30-10.5.0.40 from one of them"), "{found}");
    assert!(imported.refusals.is_some());
    let inner = with(&[("10.6.0.15", "10.4.9.7")], SECURED);
    let imported = of(vec![receive(SCANNERS), inner], vec![]);
    let found = dangers(&imported, DangerLevel::Note, "Scanners");
    assert!(found.contains("10.4.9.7 of the range 10.4.9.0/24"), "{found}");
    assert_eq!(imported.refusals, None);
    // The range for all clients contains every other one, which is meant.
    let usual = of(vec![receive(DEFAULT_FRONTEND), receive(SECURED)], vec![]);
    assert!(!dangers(&usual, DangerLevel::Note, "").contains("the smaller range wins"));
    let inside = with(&[("{10.6.0.15}", "{10.6.0.0-10.6.0.9, 10.6.0.5-10.6.0.20}")], SECURED);
    let found = dangers(&of(vec![inside], vec![]), DangerLevel::Danger, "Applications");
    assert!(found.contains("write 10.6.0.0-10.6.0.20 instead"), "{found}");
}

#[test]
fn logons_certificates_and_bindings() {
    let clear = with(&[(", BasicAuthRequireTLS", "")], CLIENTS);
    let imported = of(vec![clear], vec![]);
    let found = dangers(&imported, DangerLevel::Danger, "Client Frontend EX01");
    assert!(found.contains("unencrypted"), "{found}");
    let found = dangers(&imported, DangerLevel::ToDo, "Client Frontend EX01");
    assert!(found.contains("relay passwd") && found.contains("NTLM"), "{found}");
    let found = dangers(&imported, DangerLevel::ToDo, "certificate \"mail.contoso.example\"");
    assert!(found.contains("Export-PfxCertificate"), "{found}");
    let exact = with(&[("0.0.0.0:25", "10.0.0.5:25")], SECURED);
    let imported = of(vec![receive(DEFAULT_FRONTEND), exact], vec![]);
    let found = dangers(&imported, DangerLevel::ToDo, "Applications");
    assert!(found.contains("10.0.0.5:25"), "{found}");
    assert!(dangers(&imported, DangerLevel::Note, "Applications").contains("never fall back"));
    let found = dangers(&self::imported(&typical()), DangerLevel::Note, "binding 0.0.0.0:25");
    assert!(found.contains("\"Scanners\", \"Applications\""), "{found}");
    let off = with(&[("Enabled: True", "Enabled: False")], SECURED);
    let imported = of(vec![receive(SCANNERS), off], vec![]);
    assert!(dangers(&imported, DangerLevel::Note, "Applications").contains("disabled"));
    assert!(!config(&imported).connectors()[1].enabled);
}

#[test]
fn values_that_cannot_be_taken_over() {
    let text = with(
        &[("{10.4.8.20, 10.4.9.0/24", "{0.0.0.0, fe80::1%11, 10.4.9.0(255.255.255.0)")],
        SCANNERS,
    );
    let imported = of(vec![text], vec![]);
    assert!(dangers(&imported, DangerLevel::Danger, "Scanners").contains("`0.0.0.0`"));
    let config = config(&imported);
    let ranges: Vec<_> =
        config.connectors()[0].remote_ip_ranges.iter().map(|it| it.text().to_owned()).collect();
    assert_eq!(ranges, ["fe80::1", "10.4.9.0/24", "10.5.0.10-10.5.0.40"]);
    let star = ExportedObjects {
        objects: vec![receive(SECURED), domain("*", "Authoritative")],
        access: vec![],
    };
    let star = self::imported(&star);
    assert!(dangers(&star, DangerLevel::Danger, "accepted domain").contains("open relay"));
}
