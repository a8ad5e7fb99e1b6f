//! Bytes that are the same in every run, and their digests.

use dxf_registry::Digest;

/// `size` bytes that look random and depend on `seed` alone.
pub fn blob(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed ^ 0x5851_f42d_4c95_7f2d;
    let mut bytes = vec![0; size];
    for chunk in bytes.chunks_mut(8) {
        // splitmix64: no zero state, so every seed is a good one.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    bytes
}

/// `sha256:…` of these bytes.
pub fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}
