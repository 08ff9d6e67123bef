//! Flag: a boolean. A write replaces what its writer has seen; a flag never written, or deleted, is false.
//!
//! ```text
//! payload := 0 | 1
//! flag      reads true if some live write enables                          concurrent: enable wins
//! veto flag reads true if some live write enables and none disables        concurrent: disable wins
//! ```

use std::fmt;

use bytes::Bytes;

use crate::codec::DecodeError;
use crate::kv::error::Result;
use crate::kv::overlay::Replaces;
use crate::kv::path::Spot;
use crate::kv::place::{Place, WritePlace};
use crate::kv::row::Row;
use crate::kv::store::Store;

use super::undecodable;

/// The flag under a key. From [`Store::flag`] (enable wins) and [`Store::veto_flag`] (disable wins).
///
/// ```
/// # let store = tombolo::Store::in_memory();
/// let done = store.flag("done");
/// done.enable()?;
/// assert!(done.get()?);
/// done.disable()?;
/// assert!(!done.get()?);
/// done.delete()?;
/// # Ok::<(), tombolo::Error>(())
/// ```
#[derive(Clone)]
pub struct Flag<C = Store> {
    place: C,
    spot: Spot,
    veto: bool,
}

impl<C> fmt::Debug for Flag<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Flag").field(&self.spot).finish()
    }
}

impl<C> Flag<C> {
    pub(crate) const fn new(place: C, spot: Spot, veto: bool) -> Self {
        Self { place, spot, veto }
    }
}

impl<C: Place> Flag<C> {
    /// Whether it is enabled.
    ///
    /// # Errors
    /// The key is none, what is stored is no flag, or the medium fails.
    pub fn get(&self) -> Result<bool> {
        let path = self.spot.bytes()?;
        read(path, &self.place.row(path)?, self.veto)
    }
}

impl<C: WritePlace> Flag<C> {
    /// Enables it.
    ///
    /// # Errors
    /// The key is none, or the medium fails. Nothing was written.
    pub fn enable(&self) -> Result<()> {
        self.write(true)
    }

    /// Disables it.
    ///
    /// # Errors
    /// As [`enable`](Self::enable).
    pub fn disable(&self) -> Result<()> {
        self.write(false)
    }

    /// Forgets it: it reads false, and a concurrent write to it stands alone.
    ///
    /// # Errors
    /// As [`enable`](Self::enable).
    pub fn delete(&self) -> Result<()> {
        let path = self.spot.bytes()?;
        self.place.write(|overlay| overlay.delete_row(path).map(drop))
    }

    /// Enables or disables it.
    ///
    /// # Errors
    /// As [`enable`](Self::enable).
    pub fn set(&self, enabled: bool) -> Result<()> {
        self.write(enabled)
    }

    fn write(&self, enabled: bool) -> Result<()> {
        let path = self.spot.bytes()?;
        let payload = Bytes::from_static(if enabled { &[1] } else { &[0] });
        self.place.write(|overlay| overlay.put(path, payload, Replaces::All))
    }
}

/// What a flag's row reads.
pub(crate) fn read(path: &[u8], row: &Row, veto: bool) -> Result<bool> {
    let (mut enabled, mut disabled) = (false, false);
    for entry in row.entries() {
        match &*entry.payload {
            [1] => enabled = true,
            [0] => disabled = true,
            _other => return Err(undecodable(path, DecodeError::new(0, "a flag that is neither 0 nor 1"))),
        }
    }
    Ok(enabled && !(veto && disabled))
}
