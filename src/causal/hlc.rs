//! A time stamp that follows causality and stays near the wall clock.

use core::fmt;

use serde::{Deserialize, Serialize};

/// A hybrid logical clock stamp: 48 bits of milliseconds since 1970, then 16 bits that count within one.
///
/// It decides one thing only: which of several *concurrent* writes to a register is shown. Source: Kulkarni et al.,
/// "Logical Physical Clocks" (2014).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hlc(u64);

impl Hlc {
    /// The stamp before all others.
    pub const ZERO: Self = Self(0);

    /// The highest wall clock that a stamp can hold, in milliseconds: the year 10889.
    pub const MS_MAX: u64 = (1 << 48) - 1;

    /// A stamp of a wall clock and a count; a clock above [`MS_MAX`](Self::MS_MAX) counts as that.
    #[must_use]
    pub const fn new(ms: u64, count: u16) -> Self {
        let ms = if ms > Self::MS_MAX { Self::MS_MAX } else { ms };
        Self((ms << 16) | count as u64)
    }

    /// Its wall clock, in milliseconds since 1970.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// Its 64 bits; stamps order as these do.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// From its 64 bits. Every value is a stamp.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The next stamp of a replica whose last one, own or seen, was `self`, at the wall clock `now_ms`. Above `self`
    /// always; `None` at the end of time (a clock that stands at the year 10889).
    #[must_use]
    pub const fn tick(self, now_ms: u64) -> Option<Self> {
        let now = Self::new(now_ms, 0);
        if now.0 > self.0 {
            return Some(now);
        }
        match self.0.checked_add(1) {
            Some(next) => Some(Self(next)),
            None => None,
        }
    }

    /// How far its clock is ahead of `now_ms`, in milliseconds; 0 if it is not.
    #[must_use]
    pub const fn ahead_of(self, now_ms: u64) -> u64 {
        self.ms().saturating_sub(now_ms)
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ms(), self.0 & 0xffff)
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_above_its_past_and_follows_the_clock() {
        let past = Hlc::new(1_000, 7);
        assert_eq!(past.tick(900), Some(Hlc::new(1_000, 8)));
        assert_eq!(past.tick(1_000), Some(Hlc::new(1_000, 8)));
        assert_eq!(past.tick(1_001), Some(Hlc::new(1_001, 0)));
        // The clock stands where the last stamp was made, which counted nothing yet.
        assert_eq!(Hlc::new(1_000, 0).tick(1_000), Some(Hlc::new(1_000, 1)));
        assert_eq!(Hlc::new(5, u16::MAX).tick(5), Some(Hlc::new(6, 0)));
        assert_eq!(Hlc::from_bits(u64::MAX).tick(5), None);
    }

    /// They are what a register stores, and what another program sorts by.
    #[test]
    fn a_stamp_is_its_64_bits_and_orders_as_they_do() {
        assert_eq!(Hlc::new(3, 7).to_bits(), 3 << 16 | 7);
        let stamps = [Hlc::ZERO, Hlc::new(0, 1), Hlc::new(1, 0), Hlc::new(1, 1), Hlc::new(Hlc::MS_MAX, u16::MAX)];
        assert!(stamps.is_sorted() && stamps.map(Hlc::to_bits).is_sorted());
        assert_eq!(stamps.map(|stamp| Hlc::from_bits(stamp.to_bits())), stamps);
    }

    #[test]
    fn skew_is_in_milliseconds() {
        assert_eq!(Hlc::new(3_600_000, 0).ahead_of(0), 3_600_000);
        assert_eq!(Hlc::new(1, 0).ahead_of(2), 0);
        assert_eq!(Hlc::new(u64::MAX, 0).ms(), Hlc::MS_MAX);
    }
}
