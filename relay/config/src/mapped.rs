//! Which addresses of the configuration are IPv4 addresses written as IPv6 (`::ffff:10.0.0.1`)?
//!
//! They are read as IPv4 everywhere, as the addresses of clients are. A warning says so, because an
//! administrator may expect that such a range is about IPv6.

use std::fmt::Display;
use std::str::FromStr;

use crate::document::{Section, Value, Wrong};
use crate::value::text;

/// The addresses of one list that were written as IPv6: line and IPv4 notation.
#[derive(Default)]
pub(super) struct MappedAddresses(Vec<(u32, String)>);

impl MappedAddresses {
    /// Reads a range or a binding; `mend` is the remedy of its error.
    pub(super) fn read<T: FromStr + Display>(
        &mut self,
        value: Value<'_>,
        mend: fn(&T::Err) -> String,
    ) -> Result<T, Wrong>
    where
        T::Err: Display,
    {
        let line = value.line;
        let text = text(value)?;
        let read: T = text.parse().map_err(|error| Wrong::new(format!("{error}"), mend(&error)))?;
        let canonical = read.to_string();
        // A binding has one colon before its port.
        let is_ipv6 = |text: &str| text.matches(':').count() > 1;
        if is_ipv6(&text) && !is_ipv6(&canonical) {
            self.0.push((line, canonical));
        }
        Ok(read)
    }

    /// Warns of those that were read.
    pub(super) fn warn(self, section: &Section<'_, '_>, key: &str) {
        for (line, canonical) in self.0 {
            let problem = "is an IPv4 address written as IPv6, and is read as IPv4";
            section.warn(line, key, Wrong::new(problem, format!("write `{canonical}`")));
        }
    }
}
