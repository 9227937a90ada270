//! Keys that outlive a process: what makes a restarted server's stateless resets and retry tokens believable.
//!
//! Equal inputs give equal keys, on every shard and after every restart. Nothing here is random.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{hkdf, hmac};
use quinn_proto::crypto::{HandshakeTokenKey, HmacKey};

const SALT: &[u8] = b"adit cluster keys, version 1";
const RESET_LABEL: &[u8] = b"stateless reset";
const TOKEN_LABEL: &[u8] = b"retry token";

/// The stateless-reset key and the retry-token key of one server (RFC 9000 sections 10.3.2 and 8.1.4), shared by
/// all of its shards.
#[derive(Clone)]
pub struct ClusterKeys {
    pub(super) reset: Arc<dyn HmacKey>,
    pub(super) token: Arc<dyn HandshakeTokenKey>,
}

impl ClusterKeys {
    /// Derives both keys by HKDF-SHA256 (RFC 5869) from a private key, in whatever encoding it is kept, and a name
    /// that outlives the process. Two servers with one private key and different names have unrelated keys. An
    /// agent, whose resets nobody needs to believe after a restart, may pass any random bytes.
    #[must_use]
    pub fn derive(private_key_der: &[u8], name: &str) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(private_key_der);
        let reset = expand(&root, RESET_LABEL, name);
        let token = expand(&root, TOKEN_LABEL, name);
        Self {
            reset: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset)),
            token: Arc::new(hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &token)),
        }
    }
}

/// 32 bytes for one purpose. The label's length goes first, so that no label and name read as another pair.
fn expand(root: &hkdf::Prk, label: &[u8], name: &str) -> [u8; 32] {
    let length = [u8::try_from(label.len()).expect("labels are short")];
    let info = [&length, label, name.as_bytes()];
    let mut out = [0; 32];
    root.expand(&info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut out))
        .expect("HKDF-SHA256 gives up to 8160 bytes, 32 are asked for");
    out
}

impl fmt::Debug for ClusterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKeys(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(keys: &ClusterKeys) -> Vec<u8> {
        let mut out = vec![0; keys.reset.signature_len()];
        keys.reset.sign(b"a connection id", &mut out);
        out
    }

    fn opens(sealer: &ClusterKeys, opener: &ClusterKeys) -> bool {
        let mut data = b"token".to_vec();
        sealer.token.aead_from_hkdf(b"nonce").seal(&mut data, b"").unwrap();
        opener.token.aead_from_hkdf(b"nonce").open(&mut data, b"").is_ok()
    }

    #[test]
    fn equal_inputs_give_equal_keys() {
        let (a, b) = (ClusterKeys::derive(b"key", "server-0"), ClusterKeys::derive(b"key", "server-0"));
        assert_eq!(signature(&a), signature(&b));
        assert!(opens(&a, &b));
    }

    #[test]
    fn either_input_changes_both_keys() {
        let a = ClusterKeys::derive(b"key", "server-0");
        for b in [ClusterKeys::derive(b"key", "server-1"), ClusterKeys::derive(b"yek", "server-0")] {
            assert_ne!(signature(&a), signature(&b));
            assert!(!opens(&a, &b));
        }
    }

    #[test]
    fn the_two_keys_differ() {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(b"key");
        assert_ne!(expand(&root, RESET_LABEL, "a"), expand(&root, TOKEN_LABEL, "a"));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", ClusterKeys::derive(b"key", "n")), "ClusterKeys(..)");
    }
}
