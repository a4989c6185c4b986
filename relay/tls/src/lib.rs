//! Facts about certificates and failures of TLS, for listeners and for connections to next hops.

pub mod certificate;
pub mod limits;
pub mod tls_failure;
