//! Intervals and limits, and the moments that they are counted from.

use std::ops::Add;
use std::time::Duration;

use fastrand::Rng;

/// A moment of the driver's clock, which never runs backwards: microseconds since whatever the driver likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// That many microseconds after the start of the driver's clock.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start of the driver's clock.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long after `earlier` it is; nothing, if it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Intervals and limits of an [`Engine`](super::Engine).
///
/// The defaults suit peers over the internet. Safety depends on none of them: too short an interval costs messages, too long a one
/// costs time, too small a buffer makes peers ask again.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// How often peers compare how they stand when nothing else tells it; also the keep-alive. 10 s.
    pub exchange_every: Duration,
    /// How long transactions wait for others, to be pushed in one go. 0: each goes at once.
    pub push_window: Duration,
    /// How long events wait until a peer is told that they are here, to be told of several at once. 100 ms.
    pub have_after: Duration,
    /// How long a peer that has what is missing here may take until it is asked for it: it may be under way. 500 ms.
    pub graft_after: Duration,
    /// How long an answer may make no progress. 10 s.
    pub answer_timeout: Duration,
    /// The longest pause before a failed request is tried again; the first is a sixteenth of it. 60 s.
    pub retry_max: Duration,
    /// How long the rest of an answer that was cut short is kept. 10 min.
    pub resume_within: Duration,
    /// How long frames are, about, in bytes; one transaction may make a longer one. 64 KiB.
    pub frame_bytes: usize,
    /// The largest transaction that is pushed, in bytes: peers ask for a larger one. 256 KiB.
    pub push_bytes_max: usize,
    /// What may wait to be pushed to one peer, in bytes. Beyond, it is dropped, and the peer told to ask. 4 MiB.
    pub queue_bytes: usize,
    /// Transactions that wait for others, in bytes of one store. Beyond, they are dropped and asked for. 4 MiB.
    pub waiting_bytes: usize,
    /// How much of an answer is kept in memory, in bytes; the rest is in a temporary file. 16 MiB.
    pub answer_memory: usize,
    /// The longest answer that is taken, in bytes: what a peer may put on the disk. 64 GiB.
    pub answer_bytes_max: u64,
    /// How many live events are in a page. Peers whose deletes were forgotten compare such pages instead of lists of all that is live, if that has
    /// more runs than eight times as many. 1,024.
    pub live_page: usize,
    /// The most that answers may take of the network, in bytes a second, all peers together. `None`: no limit.
    pub answer_rate: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            exchange_every: Duration::from_secs(10),
            push_window: Duration::ZERO,
            have_after: Duration::from_millis(100),
            graft_after: Duration::from_millis(500),
            answer_timeout: Duration::from_secs(10),
            retry_max: Duration::from_secs(60),
            resume_within: Duration::from_secs(600),
            frame_bytes: 64 << 10,
            push_bytes_max: 256 << 10,
            queue_bytes: 4 << 20,
            waiting_bytes: 4 << 20,
            answer_memory: 16 << 20,
            answer_bytes_max: 64 << 30,
            live_page: 1_024,
            answer_rate: None,
        }
    }
}

/// Between nine and eleven tenths of a duration: what would happen everywhere at once is spread.
pub(crate) fn around(duration: Duration, random: &mut Rng) -> Duration {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let share = micros / 10;
    Duration::from_micros(random.u64(micros - share..=micros.saturating_add(share)))
}
