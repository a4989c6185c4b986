//! Our own fields that say how the sender was known.
//!
//! They stand under our trace field, above everything that came in, and are written after the header
//! firewall has removed what others wrote under these names. A server that may bring such fields
//! keeps its own: it knew the sender, and we know only it.

use bytes::Bytes;

use crate::policy::Stamp;

/// The field that says whether a message is stamped.
pub const AUTH_AS: &[u8] = b"X-MS-Exchange-Organization-AuthAs";

/// The fields, with their CRLFs. `source` is the host that judged: the connector's `fqdn`.
pub fn fields(stamp: Stamp, source: &str) -> Bytes {
    let Stamp { auth_as, mechanism } = stamp;
    let mechanism = mechanism.map_or_else(String::new, |mechanism| {
        format!("X-MS-Exchange-Organization-AuthMechanism: {mechanism:02X}\r\n")
    });
    Bytes::from(format!(
        "X-MS-Exchange-Organization-AuthSource: {source}\r\n\
         X-MS-Exchange-Organization-AuthAs: {auth_as}\r\n{mechanism}"
    ))
}
