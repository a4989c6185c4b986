//! Every refusal and every warning by its text, and what a sound text becomes.

use std::path::Path;

use super::*;

#[test]
fn the_deployed_configurations_are_sound_and_give_no_cause_for_warnings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    for file in ["relay.toml", "development.toml"] {
        let config = Config::load(&folder.join(file)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.warnings(), [], "{file}");
    }
}
