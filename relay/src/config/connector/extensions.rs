//! The keys that switch extensions of SMTP.

use relay_connector::{Extensions, SizeEnabled};

use super::super::document::{Section, Wrong};
use super::super::value::{boolean, one_of};

/// Reads the switches. One that depends on another is off with it, and refused where the text says
/// that it is on.
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
        // RFC 3030 section 3: what may be binary can come by BDAT only.
        binary_mime_enabled: dependent(
            section,
            "binary_mime_enabled",
            "chunking_enabled",
            chunking_enabled,
        ),
        enhanced_status_codes_enabled: switch(section, "enhanced_status_codes_enabled"),
        // RFC 6531 section 3.1: whoever offers SMTPUTF8 offers 8BITMIME.
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
