//! Connecting, again and again.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::error::TcpError;
use super::{Shared, connection};
use crate::transport::PeerName;

/// Keeps a connection to an address up, for ever.
pub(super) async fn keep_connected(shared: Arc<Shared>, address: PeerName) {
    let mut pause = Pause::new(&shared, &address);
    loop {
        match connect(&shared, &address).await {
            Ok(lasted) => pause.has_lasted(lasted),
            Err(TcpError::AlreadyConnected) => {
                // Here: until that one ends. There alone: the other end will find out that it is gone.
                let since = Instant::now();
                shared.registry.alone(&address).await;
                pause.has_lasted(since.elapsed());
            }
            Err(TcpError::Oneself) => {
                shared.link.unreachable(&address, TcpError::Oneself);
                pause.is_hopeless();
            }
            Err(error) => shared.link.unreachable(&address, error),
        }
        sleep(pause.next()).await;
    }
}

/// Connects, and carries frames until the connection ends. Returns how long it was up.
async fn connect(shared: &Shared, address: &PeerName) -> Result<Duration, TcpError> {
    let within = shared.limits.preface_within;
    let connected = timeout(within, TcpStream::connect(address.as_str())).await;
    let mut stream = connected.map_err(|_late| TcpError::Late { within })??;
    let (other, admitted) = connection::meet(shared, &mut stream, Some(address), address.clone()).await?;
    let since = Instant::now();
    connection::carry(shared, stream, other, admitted).await;
    Ok(since.elapsed())
}

/// How long to wait before the next attempt: twice as long each time, and never as long as everybody else.
struct Pause {
    next: Duration,
    first: Duration,
    longest: Duration,
    random: Rng,
}

impl Pause {
    fn new(shared: &Shared, address: &PeerName) -> Self {
        let (first, longest) = shared.limits.retry;
        // Another sequence for each node and address.
        let id = u64::from_le_bytes(shared.link.id().first_chunk().copied().unwrap_or_default());
        let seed = address.as_str().bytes().fold(id, |seed, byte| Rng::with_seed(seed ^ u64::from(byte)).u64(..));
        Self { next: first, first, longest, random: Rng::with_seed(seed) }
    }

    /// Between a half of it and all of it.
    fn next(&mut self) -> Duration {
        let micros = u64::try_from(self.next.as_micros()).unwrap_or(u64::MAX);
        self.next = (2 * self.next).min(self.longest);
        Duration::from_micros(self.random.u64(micros / 2..=micros))
    }

    /// A connection that was up for longer than the pause counts as a success. One that was cut off at once does not.
    fn has_lasted(&mut self, lasted: Duration) {
        if lasted >= self.next {
            self.next = self.first;
        }
    }

    /// The address may come to belong to another node, but hardly soon.
    fn is_hopeless(&mut self) {
        self.next = self.longest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over_after_a_success() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(30));
        let mut pause = Pause { next: first, first, longest, random: Rng::with_seed(1) };
        let mut expected = first;
        for _ in 0..12 {
            let next = pause.next();
            assert!(next >= expected / 2 && next <= expected, "{next:?} for {expected:?}");
            expected = (2 * expected).min(longest);
        }
        pause.has_lasted(Duration::from_secs(29));
        assert!(pause.next() >= longest / 2);
        pause.has_lasted(longest);
        assert!(pause.next() <= first);
    }

    #[test]
    fn nodes_do_not_pause_alike() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(30));
        let mut pauses = [1, 2].map(|seed| Pause { next: first, first, longest, random: Rng::with_seed(seed) });
        let [one, other] = &mut pauses;
        assert_ne!(one.next(), other.next());
    }
}
