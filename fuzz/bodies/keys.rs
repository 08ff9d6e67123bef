//! Any bytes read as a key, a vector, a context or a MessagePack value, or are refused; what is accepted has these very bytes.

use tombolo::causal::{CausalContext, VersionVector};
use tombolo::codec::key::KeyBuf;
use tombolo::codec::msgpack;
use tombolo::kv::Dynamic;

pub(super) fn run(bytes: &[u8]) {
    if let Ok(key) = KeyBuf::from_encoded(bytes) {
        let parts: Vec<_> = key.parts().collect();
        let again = parts.iter().fold(Vec::new(), |mut bytes, part| {
            bytes.extend_from_slice(KeyBuf::from_key(part).as_bytes());
            bytes
        });
        assert_eq!(again, bytes);
        assert!(!key.to_string().is_empty());
    }
    if let Ok(vector) = VersionVector::from_bytes(bytes) {
        assert_eq!(vector.to_bytes(), bytes);
    }
    if let Ok(context) = CausalContext::from_bytes(bytes) {
        assert_eq!(context.to_bytes(), bytes);
    }
    drop(msgpack::from_bytes::<Dynamic>(bytes));
}
