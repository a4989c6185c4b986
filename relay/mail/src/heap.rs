//! How many octets of memory a value keeps on the heap.
//!
//! The budget `message_memory` counts what sessions keep of their clients' input. A short struct
//! may point to much text, so a count of structs alone says little. What a type points to is told
//! beside the type; this module has the trait and the types of the standard library.

/// What the allocator keeps beside each allocation, and what it rounds up, in octets on average.
const ALLOCATION: usize = 16;

/// Memory that a value points to. The value itself is counted where it is kept.
pub trait HeapOctets {
    /// Octets on the heap, the allocator's own included.
    fn heap_octets(&self) -> usize;
}

/// One allocation of so many octets. Without octets there is no allocation.
pub const fn allocation(octets: usize) -> usize {
    if octets == 0 { 0 } else { octets + ALLOCATION }
}

impl HeapOctets for String {
    fn heap_octets(&self) -> usize {
        allocation(self.capacity())
    }
}

impl HeapOctets for Box<str> {
    fn heap_octets(&self) -> usize {
        allocation(self.len())
    }
}

impl<T: HeapOctets> HeapOctets for Option<T> {
    fn heap_octets(&self) -> usize {
        self.as_ref().map_or(0, T::heap_octets)
    }
}

impl<T: HeapOctets> HeapOctets for [T] {
    fn heap_octets(&self) -> usize {
        self.iter().map(T::heap_octets).sum()
    }
}

impl<T: HeapOctets> HeapOctets for Vec<T> {
    fn heap_octets(&self) -> usize {
        allocation(self.capacity() * size_of::<T>()) + self.as_slice().heap_octets()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_counted_with_what_they_point_to() {
        assert_eq!(String::new().heap_octets(), 0);
        assert_eq!(String::with_capacity(100).heap_octets(), 100 + ALLOCATION);
        let list = vec![Some("a".repeat(50)), None];
        let elements = list.capacity() * size_of::<Option<String>>();
        assert_eq!(list.heap_octets(), elements + ALLOCATION + 50 + ALLOCATION);
    }
}
