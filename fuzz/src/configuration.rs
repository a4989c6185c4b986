//! Configuration texts: loaded, or refused with line numbers that exist.

use relay_config::{Config, ConfigProblem};
use relay_connector::ConnectorIds;
use relay_connector::limits::{CONNECTOR_IDS, TABLE_BLOCKS};

/// See the module.
pub fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    match Config::parse(text, "relay.toml") {
        Err(refusals) => {
            assert!(!refusals.list.is_empty());
            check_findings(&refusals.list, text);
            assert!(refusals.to_string().starts_with("relay.toml:"));
        }
        Ok(config) => {
            check_findings(config.warnings(), text);
            assert!(config.connectors().len() <= CONNECTOR_IDS as usize);
            assert!(config.table().blocks().count() <= TABLE_BLOCKS);
            // A loaded configuration can be put in force.
            assert!(config.rules(&mut ConnectorIds::default(), 1).is_ok());
        }
    }
}

fn check_findings(findings: &[ConfigProblem], text: &str) {
    // If a text ends too early, the error is in the line after its last line.
    let lines = text.split('\n').count() + 1;
    for finding in findings {
        assert!((1..=lines).contains(&(finding.line as usize)), "{finding:?}");
        assert!(!finding.problem.is_empty() && !finding.mend.is_empty(), "{finding:?}");
    }
    assert!(findings.is_sorted_by_key(|finding| finding.line), "{findings:?}");
}
