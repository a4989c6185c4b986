//! How many octets of heap memory does a value use?
//!
//! The budget `message_memory` counts the memory that sessions use for their clients' input. A
//! short struct may point to much text, so its size alone says little. Each type's heap memory is
//! computed beside the type; this module has the trait and the types of the standard library.

/// Octets that the allocator adds to each allocation, rounding included, on average.
const ALLOCATION: usize = 16;

/// Memory to which a value points. The owner of the value counts the value itself.
pub trait HeapOctets {
    /// Octets on the heap, including those that the allocator adds.
    fn heap_octets(&self) -> usize;
}

/// Octets of one allocation of this size. A size of zero needs no allocation.
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
    fn members_are_counted_with_their_own_heap_memory() {
        assert_eq!(String::new().heap_octets(), 0);
        assert_eq!(String::with_capacity(100).heap_octets(), 100 + ALLOCATION);
        let list = vec![Some("a".repeat(50)), None];
        let elements = list.capacity() * size_of::<Option<String>>();
        assert_eq!(list.heap_octets(), elements + ALLOCATION + 50 + ALLOCATION);
    }
}
