//! Random numbers for a store, from a seed: one run, one course.

use std::io;
use std::sync::{Mutex, PoisonError};

use super::Rng;
use crate::system::Entropy;

#[derive(Debug)]
pub(super) struct Dice(Mutex<Rng>);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(Rng::new(seed)))
    }
}

impl Entropy for Dice {
    fn fill(&self, to: &mut [u8]) -> io::Result<()> {
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        to.iter_mut().for_each(|byte| *byte = rng.next_u64().to_le_bytes()[0]);
        Ok(())
    }
}
