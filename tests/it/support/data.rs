//! Bytes that are the same in every run, and their digests.

use dxf_registry::Digest;

/// `size` bytes that look random and depend on `seed` alone.
pub fn blob(seed: u64, size: usize) -> Vec<u8> {
    let mut random = Random::new(seed ^ 0x5851_f42d_4c95_7f2d);
    let mut bytes = vec![0; size];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.word().to_le_bytes()[..chunk.len()]);
    }
    bytes
}

/// Chance that can be repeated (splitmix64: no zero state, so every seed is a
/// good one).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number from 0 to `end`, without `end`; it must not be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.word() % end
    }

    /// True so often in a hundred times.
    pub fn percent(&mut self, times: u64) -> bool {
        self.below(100) < times
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// A number from the environment, for tests that can be run longer.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}")),
        Err(_) => default,
    }
}

/// The seed that `name` sets, or one that differs from run to run; it is
/// printed, so that a failure can be repeated.
pub fn seed(name: &str) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = setting(name, now.map_or(1, |now| now.as_micros() as u64));
    println!("{name}={seed}");
    seed
}

/// `sha256:…` of these bytes.
pub fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}
