//! A link between two replicas: deltas over one TCP connection.
//!
//! What a reader learns: the whole of replication by hand is to say one's version, to merge what comes back, and to send what
//! the other lacks. It needs no server, no order, and no memory of what was sent before.
//!
//! ```text
//! caller                                   listener
//!   my version                 ──────▶
//!                              ◀──────     my version
//!   delta since your version   ──────▶     merge
//!   merge                      ◀──────     delta since your version
//!   my digest                  ◀─────▶     my digest            equal versions, so they must be equal
//!
//! message := length (u32, little-endian), bytes
//! ```

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tombolo::Store;
use tombolo::causal::VersionVector;
use tombolo::kv::Merged;

use crate::Result;

/// No message is believed to be longer.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// How long a replica waits for a peer that is busy merging, before it gives it up.
const PATIENCE: Duration = Duration::from_secs(300);

/// What one side of an exchange saw.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Everything that this side sent, in bytes.
    pub(crate) bytes_sent: u64,
    /// The rows that it sent.
    pub(crate) rows_sent: u64,
    /// What it merged.
    pub(crate) merged: Merged,
    /// How long its merge took.
    pub(crate) merge_time: Duration,
}

/// Exchanges with the peer at the other end, who takes the call.
pub(crate) fn call(store: &Store, stream: TcpStream) -> Result<Exchange> {
    let mut link = Link::new(stream)?;
    link.send(&store.version()?.to_bytes())?;
    let theirs = VersionVector::from_bytes(&link.receive()?)?;
    let rows_sent = link.send_delta(store, &theirs)?;
    let (merged, merge_time) = link.merge_into(store)?;
    link.finish(store, rows_sent, merged, merge_time)
}

/// Takes one call and exchanges with the caller.
pub(crate) fn take_call(store: &Store, listener: &TcpListener) -> Result<Exchange> {
    let (stream, _address) = listener.accept()?;
    let mut link = Link::new(stream)?;
    let theirs = VersionVector::from_bytes(&link.receive()?)?;
    link.send(&store.version()?.to_bytes())?;
    let (merged, merge_time) = link.merge_into(store)?;
    let rows_sent = link.send_delta(store, &theirs)?;
    link.finish(store, rows_sent, merged, merge_time)
}

struct Link {
    stream: TcpStream,
    bytes_sent: u64,
}

impl Link {
    fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, bytes_sent: 0 })
    }

    fn send(&mut self, message: &[u8]) -> Result<()> {
        let len = u32::try_from(message.len()).ok().filter(|_len| message.len() <= MESSAGE_BYTES_MAX);
        let len = len.ok_or("a message is longer than a link carries")?.to_le_bytes();
        self.stream.write_all(&len)?;
        self.stream.write_all(message)?;
        self.bytes_sent += (len.len() + message.len()) as u64;
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<u8>> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len)?;
        let len = usize::try_from(u32::from_le_bytes(len))?;
        if len > MESSAGE_BYTES_MAX {
            return Err(format!("a peer announces a message of {len} bytes").into());
        }
        // Grows by what really comes, not by what was announced.
        let mut message = Vec::new();
        (&self.stream).take(len as u64).read_to_end(&mut message)?;
        if message.len() < len {
            return Err("a peer hung up in the middle of a message".into());
        }
        Ok(message)
    }

    /// Sends what the peer lacks. Returns how many rows that is.
    fn send_delta(&mut self, store: &Store, theirs: &VersionVector) -> Result<u64> {
        let delta = store.delta_since(theirs)?;
        self.send(delta.as_ref())?;
        Ok(delta.rows())
    }

    fn merge_into(&mut self, store: &Store) -> Result<(Merged, Duration)> {
        let delta = self.receive()?;
        let started = now();
        let merged = store.merge(&delta)?;
        Ok((merged, started.elapsed()))
    }

    fn finish(mut self, store: &Store, rows_sent: u64, merged: Merged, merge_time: Duration) -> Result<Exchange> {
        let ours = store.digest()?.to_bytes();
        self.send(&ours)?;
        if self.receive()? != ours {
            return Err("the replicas have seen the same, and differ".into());
        }
        Ok(Exchange { bytes_sent: self.bytes_sent, rows_sent, merged, merge_time })
    }
}

#[expect(clippy::disallowed_methods, reason = "an application may look at the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
