//! The settings of the shipped unit, read from the unit itself, so that the test uses the deployed
//! settings.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The settings of the unit that matter without systemd.
#[derive(Debug, PartialEq)]
pub struct Unit {
    /// `CapabilityBoundingSet=`, such as `CAP_BPF`.
    pub capabilities: Vec<String>,
    /// `User=`; `None` for root.
    pub user: Option<String>,
}

impl Unit {
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let unit = Self::parse(&text);
        ensure!(!unit.capabilities.is_empty(), "{} has no CapabilityBoundingSet", path.display());
        Ok(unit)
    }

    fn parse(text: &str) -> Self {
        let values = |key: &'static str| {
            text.lines().filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='))
        };
        Self {
            capabilities: values("CapabilityBoundingSet")
                .flat_map(str::split_whitespace)
                .map(str::to_owned)
                .collect(),
            user: values("User").next_back().map(str::to_owned),
        }
    }

    /// The set in setpriv's form: `-all,+bpf,+perfmon`.
    pub fn setpriv_set(&self) -> String {
        let names = self
            .capabilities
            .iter()
            .map(|name| format!(",+{}", name.strip_prefix("CAP_").unwrap_or(name).to_lowercase()));
        std::iter::once("-all".to_owned()).chain(names).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_becomes_arguments_of_setpriv() {
        let unit = Unit::parse(
            "[Service]\n# User=nobody\nCapabilityBoundingSet=CAP_BPF CAP_NET_ADMIN\nUser=relay\n",
        );
        assert_eq!(unit.setpriv_set(), "-all,+bpf,+net_admin");
        assert_eq!(unit.user.as_deref(), Some("relay"));
        assert_eq!(Unit::parse("[Service]\n").user, None);
    }
}
