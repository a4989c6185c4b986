//! The keys that switch extensions of SMTP.

use crate::document::{Section, Wrong};
use crate::value::{boolean, one_of};
use relay_connector::{Extensions, SizeEnabled};

/// Reads the switches. If a required extension is off, the dependent extension is off too, and
/// refused if the text turns it on.
pub(super) fn read(section: &mut Section<'_, '_>) -> Extensions {
    let default = Extensions::default();
    let sizes = one_of(&[
        ("Enabled", SizeEnabled::Enabled),
        ("EnabledWithoutValue", SizeEnabled::EnabledWithoutValue),
        ("Disabled", SizeEnabled::Disabled),
    ]);
    let eight_bit_mime_enabled = switch(section, "eight_bit_mime_enabled");
    let chunking_enabled = switch(section, "chunking_enabled");
    Extensions {
        pipelining_enabled: switch(section, "pipelining_enabled"),
        delivery_status_notification_enabled: switch(
            section,
            "delivery_status_notification_enabled",
        ),
        eight_bit_mime_enabled,
        chunking_enabled,
        // RFC 3030 section 3: BINARYMIME requires BDAT.
        binary_mime_enabled: dependent(
            section,
            "binary_mime_enabled",
            "chunking_enabled",
            chunking_enabled,
        ),
        enhanced_status_codes_enabled: switch(section, "enhanced_status_codes_enabled"),
        // RFC 6531 section 3.1: a server with SMTPUTF8 must offer 8BITMIME.
        smtp_utf8_enabled: dependent(
            section,
            "smtp_utf8_enabled",
            "eight_bit_mime_enabled",
            eight_bit_mime_enabled,
        ),
        size_enabled: section.take("size_enabled", sizes).unwrap_or(default.size_enabled),
    }
}

fn switch(section: &mut Section<'_, '_>, key: &'static str) -> bool {
    section.take(key, boolean).unwrap_or(true)
}

fn dependent(
    section: &mut Section<'_, '_>,
    key: &'static str,
    needed: &'static str,
    needed_is_on: bool,
) -> bool {
    let line = section.line_of(key);
    let is_on = section.take(key, boolean).unwrap_or(needed_is_on);
    if is_on && !needed_is_on {
        let wrong = Wrong::new(
            format!("needs {needed}, which is false"),
            format!("write {key} = false, or remove {needed} = false"),
        );
        section.refuse(line, key, wrong);
    }
    is_on && needed_is_on
}
