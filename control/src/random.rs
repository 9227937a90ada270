//! Random names for processes, from the operating system by way of the TLS provider.

use rustls::crypto::aws_lc_rs;

/// `N` random bytes.
///
/// # Panics
/// When the system gives no randomness; nothing in this program can run then.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    aws_lc_rs::default_provider().secure_random.fill(&mut out).expect("the system gives randomness");
    out
}

/// A random UUID (RFC 9562 section 5.4).
pub(crate) fn uuid() -> String {
    let mut raw: [u8; 16] = bytes();
    raw[6] = (raw[6] & 0x0f) | 0x40;
    raw[8] = (raw[8] & 0x3f) | 0x80;
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    #[test]
    fn uuids_are_of_version_4_and_differ() {
        let (a, b) = (super::uuid(), super::uuid());
        assert_eq!(a.len(), 36);
        assert_eq!(&a[14..15], "4");
        assert!(matches!(&a[19..20], "8" | "9" | "a" | "b"));
        assert_ne!(a, b);
    }
}
