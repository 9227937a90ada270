//! The `user_data` of every submission: what it is, and which. An index with a generation, never a pointer, so that
//! a completion that should not exist is met by a check.

const KIND_SHIFT: u32 = 56;
const GENERATION_SHIFT: u32 = 32;
/// Generations have 24 bits.
const GENERATION_MASK: u32 = (1 << 24) - 1;

/// An entry of the in-flight table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FlightKey {
    pub(super) index: u32,
    generation: u32,
}

impl FlightKey {
    /// The generation is cut to 24 bits: it would take 16 million operations in one place, while the first of them
    /// is outstanding, to mistake one for another.
    pub(super) const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation: generation & GENERATION_MASK }
    }
}

/// What a completion belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// An operation of the caller.
    Flight(FlightKey),
    /// A request to cancel. Its result is of no interest: the cancelled operation completes for itself.
    Cancel,
    /// The closing of a descriptor.
    Close,
    /// The read on the eventfd.
    Wake,
}

impl Key {
    /// As it travels through the kernel.
    pub(super) fn encode(self) -> u64 {
        let kind = |kind: u64| kind << KIND_SHIFT;
        match self {
            Self::Flight(key) => {
                kind(1) | u64::from(key.generation) << GENERATION_SHIFT | u64::from(key.index)
            }
            Self::Cancel => kind(2),
            Self::Close => kind(3),
            Self::Wake => kind(4),
        }
    }

    /// Panics on anything that [`Self::encode`] does not make: the kernel hands back what it was given.
    #[allow(clippy::cast_possible_truncation, reason = "cutting the fields apart is the purpose")]
    pub(super) fn decode(user_data: u64) -> Self {
        match user_data >> KIND_SHIFT {
            1 => Self::Flight(FlightKey::new(user_data as u32, (user_data >> GENERATION_SHIFT) as u32)),
            2 => Self::Cancel,
            3 => Self::Close,
            4 => Self::Wake,
            _ => panic!("a completion with the user data {user_data:#x} was never submitted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_survive_the_kernel(index: u32, generation: u32) {
            let key = Key::Flight(FlightKey::new(index, generation));
            prop_assert_eq!(Key::decode(key.encode()), key);
        }
    }

    #[test]
    fn private_keys_are_told_apart() {
        for key in [Key::Cancel, Key::Close, Key::Wake] {
            assert_eq!(Key::decode(key.encode()), key);
        }
    }

    #[test]
    #[should_panic(expected = "never submitted")]
    fn nothing_else_decodes() {
        Key::decode(0);
    }
}
