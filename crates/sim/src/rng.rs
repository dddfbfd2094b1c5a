//! A small random number generator that gives the same numbers for the same seed, everywhere and for ever.

/// SplitMix64. Good enough to shuffle and to make noise; never for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`; 0 when `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.bits() % limit as u64) as usize }
    }

    /// From 0 up to 1, without 1.
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Noise that depends on nothing but its arguments, from 0 up to 1: what a guest shows at one instant must be
/// the same whoever asks, and however often.
pub(crate) fn noise(seed: u64, who: u64, when: u64) -> f64 {
    Rng::new(seed ^ who.wrapping_mul(0xa076_1d64_78bd_642f) ^ when.wrapping_mul(0xe703_7ed1_a0b4_28db))
        .fraction()
}
