//! What both ends of a connection say first.
//!
//! ```text
//! magic "tombolo\n" │ version u8 │ id [u8; 16]        at once
//!                                     verdict u8      once the other's preface was read
//! ```
//!
//! The connection is up at an end that has said and heard [`Verdict::Welcome`].

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::error::TcpError;

/// Random, and another one for each start of a node.
pub(super) type NodeId = [u8; 16];

const MAGIC: [u8; 8] = *b"tombolo\n";

/// The version of the preface and of the frames behind it.
pub(super) const VERSION: u8 = 1;

/// What an end thinks of the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Welcome = 0,
    OtherVersion = 1,
    Oneself = 2,
    AlreadyConnected = 3,
    Full = 4,
}

impl Verdict {
    const fn of_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Welcome,
            1 => Self::OtherVersion,
            2 => Self::Oneself,
            3 => Self::AlreadyConnected,
            4 => Self::Full,
            _ => return None,
        })
    }

    fn or_error(self, here: bool, theirs: u8) -> Result<(), TcpError> {
        Err(match self {
            Self::Welcome => return Ok(()),
            Self::OtherVersion => TcpError::OtherVersion { ours: VERSION, theirs },
            Self::Oneself => TcpError::Oneself,
            Self::AlreadyConnected => TcpError::AlreadyConnected,
            Self::Full => TcpError::Full { here },
        })
    }
}

/// Introduces this end to the other one. `judge` is asked once it is known who that is. Returns its id if both ends agree.
///
/// # Errors
/// One of them does not, or takes longer than `within`.
pub(super) async fn introduce<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    id: NodeId,
    within: Duration,
    judge: impl FnOnce(NodeId) -> Verdict,
) -> Result<NodeId, TcpError> {
    timeout(within, introduce_at_leisure(stream, id, judge)).await.unwrap_or(Err(TcpError::Late { within }))
}

async fn introduce_at_leisure<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    id: NodeId,
    judge: impl FnOnce(NodeId) -> Verdict,
) -> Result<NodeId, TcpError> {
    let mut ours = [0; 25];
    let (magic, rest) = ours.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    if let Some((version, to)) = rest.split_first_mut() {
        *version = VERSION;
        to.copy_from_slice(&id);
    }
    stream.write_all(&ours).await?;
    stream.flush().await?;

    // Whoever does not begin as we do is told nothing, and need not send the rest.
    let mut magic = [0; MAGIC.len()];
    read(stream, &mut magic).await?;
    if magic != MAGIC {
        return Err(TcpError::Stranger);
    }
    let mut version = [0];
    read(stream, &mut version).await?;
    let [theirs] = version;
    if theirs != VERSION {
        stream.write_all(&[Verdict::OtherVersion as u8]).await?;
        stream.flush().await?;
        return Err(TcpError::OtherVersion { ours: VERSION, theirs });
    }
    let mut other = [0; 16];
    read(stream, &mut other).await?;
    let verdict = if other == id { Verdict::Oneself } else { judge(other) };
    stream.write_all(&[verdict as u8]).await?;
    stream.flush().await?;
    verdict.or_error(true, theirs)?;

    let mut verdict = [0];
    read(stream, &mut verdict).await?;
    let [verdict] = verdict;
    Verdict::of_byte(verdict).ok_or(TcpError::Stranger)?.or_error(false, 0)?;
    Ok(other)
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S, to: &mut [u8]) -> Result<(), TcpError> {
    match stream.read_exact(to).await {
        Ok(_len) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(TcpError::Closed),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    /// What a node says to an end that sends these bytes.
    async fn told(bytes: &[u8]) -> Result<NodeId, TcpError> {
        let (mut here, mut there) = tokio::io::duplex(1000);
        there.write_all(bytes).await.unwrap();
        introduce(&mut here, [1; 16], WITHIN, |_other| Verdict::Welcome).await
    }

    fn preface(version: u8, id: u8, verdict: u8) -> Vec<u8> {
        [&MAGIC[..], &[version], &[id; 16], &[verdict]].concat()
    }

    #[tokio::test]
    async fn two_ends_learn_who_the_other_is() {
        let (mut here, mut there) = tokio::io::duplex(1000);
        let welcome = |_other| Verdict::Welcome;
        let (one, other) =
            tokio::join!(introduce(&mut here, [1; 16], WITHIN, welcome), introduce(&mut there, [2; 16], WITHIN, welcome));
        assert_eq!((one.unwrap(), other.unwrap()), ([2; 16], [1; 16]));
    }

    #[tokio::test]
    async fn both_ends_are_told_why_they_do_not_meet() {
        let (mut here, mut there) = tokio::io::duplex(1000);
        let (one, other) = tokio::join!(
            introduce(&mut here, [1; 16], WITHIN, |_other| Verdict::Full),
            introduce(&mut there, [2; 16], WITHIN, |_other| Verdict::Welcome)
        );
        assert!(matches!(one, Err(TcpError::Full { here: true })));
        assert!(matches!(other, Err(TcpError::Full { here: false })));
    }

    #[tokio::test]
    async fn who_does_not_belong_here_is_refused() {
        assert!(told(&preface(VERSION, 2, 0)).await.is_ok());
        assert!(matches!(told(b"GET / HTTP/1.1\r\n").await, Err(TcpError::Stranger)));
        assert!(matches!(told(&preface(9, 2, 0)).await, Err(TcpError::OtherVersion { theirs: 9, .. })));
        assert!(matches!(told(&preface(VERSION, 1, 0)).await, Err(TcpError::Oneself)));
        assert!(matches!(told(&preface(VERSION, 2, 77)).await, Err(TcpError::Stranger)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_late() {
        assert!(matches!(told(&[]).await, Err(TcpError::Late { .. })));
        assert!(matches!(told(&MAGIC).await, Err(TcpError::Late { .. })));
    }
}
