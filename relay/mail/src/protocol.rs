//! The protocols for delivery to a next hop.

/// The protocol of a next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeliveryProtocol {
    /// RFC 5321.
    #[default]
    Smtp,
    /// RFC 2033: LHLO, and a reply for each recipient after the end of data.
    Lmtp,
}
