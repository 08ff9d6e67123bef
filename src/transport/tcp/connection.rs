//! One connection, from the first byte to the last.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::error::TcpError;
use super::frame::{FrameReader, write_frame, write_sign_of_life};
use super::preface::{NodeId, introduce};
use super::registry::Admitted;
use super::{Shared, WINDOW};
use crate::transport::{Channel, PeerName};

/// How long a connection that is to be closed may take to send what it was given.
pub(super) const FLUSH: Duration = Duration::from_secs(2);

/// Small frames go in one segment.
const WRITE_BUFFER_BYTES: usize = 32 << 10;

/// Introduces both ends. `dialled` is the address, if this end has dialled; `from` is where the other end is.
///
/// # Errors
/// They do not agree on a connection.
pub(super) async fn meet(
    shared: &Shared,
    stream: &mut TcpStream,
    dialled: Option<&PeerName>,
    from: PeerName,
) -> Result<(NodeId, Admitted), TcpError> {
    stream.set_nodelay(true)?;
    let judge = |other| shared.registry.judge(other, dialled);
    let me = shared.registry.me();
    let other = introduce(stream, me, shared.limits.preface_within, judge).await?;
    let admitted = shared.registry.admit(other, dialled, from).await.ok_or(TcpError::AlreadyConnected)?;
    Ok((other, admitted))
}

/// Carries frames until the connection ends. The node is told of it.
pub(super) async fn carry(shared: &Shared, stream: TcpStream, other: NodeId, admitted: Admitted) -> TcpError {
    let Admitted { name, mut frames, mut closing } = admitted;
    let registered = Registered { shared, other, name };
    let name = &registered.name;
    let (read, write) = stream.into_split();
    let mut reader = FrameReader::new(read, 3 * shared.limits.keep_alive);
    shared.link.up(name.clone(), Channel { is_ordered: true, window: WINDOW });
    let why = {
        let goes_out = send_frames(shared, name, write, &mut frames);
        tokio::pin!(goes_out);
        let ended = tokio::select! {
            why = take_frames(shared, name, &mut reader) => Some(why),
            result = &mut goes_out => result.err(),
            _closing = &mut closing => timeout(FLUSH, goes_out).await.ok().and_then(Result::err),
        };
        match ended {
            Some(why) => why,
            None => {
                // Bytes that nobody has read would make the other end lose what was sent last.
                timeout(FLUSH, async { while reader.next().await.is_ok() {} }).await.unwrap_or_default();
                TcpError::Ended("this node closes the connection")
            }
        }
    };
    shared.link.down(name, &why);
    why
}

/// A connection that is up, until the task that carries it ends, in whatever way.
struct Registered<'a> {
    shared: &'a Shared,
    other: NodeId,
    name: PeerName,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.shared.registry.ended(self.other, &self.name);
    }
}

async fn take_frames(shared: &Shared, name: &PeerName, reader: &mut FrameReader<OwnedReadHalf>) -> TcpError {
    loop {
        match reader.next().await {
            // Nothing is read meanwhile: the other end feels that this one is behind.
            Ok(frame) => shared.link.received(name, frame).await,
            Err(error) => return error,
        }
    }
}

/// Sends frames until there are no more, then the end of the stream.
async fn send_frames(
    shared: &Shared,
    name: &PeerName,
    write: OwnedWriteHalf,
    frames: &mut mpsc::UnboundedReceiver<Vec<u8>>,
) -> Result<(), TcpError> {
    let mut write = BufWriter::with_capacity(WRITE_BUFFER_BYTES, write);
    loop {
        match timeout(shared.limits.keep_alive, frames.recv()).await {
            Ok(Some(frame)) => send_frame(shared, name, &mut write, &frame).await?,
            Ok(None) => break,
            Err(_quiet) => write_sign_of_life(&mut write).await?,
        }
        while let Ok(frame) = frames.try_recv() {
            send_frame(shared, name, &mut write, &frame).await?;
        }
        write.flush().await?;
    }
    write.shutdown().await?;
    Ok(())
}

async fn send_frame(shared: &Shared, name: &PeerName, write: &mut BufWriter<OwnedWriteHalf>, frame: &[u8]) -> io::Result<()> {
    write_frame(write, frame).await?;
    shared.link.sent(name, frame.len() as u64);
    Ok(())
}
