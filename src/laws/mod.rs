//! The laws of CRDTs, as functions: with them you prove a type of your own.

mod rng;
mod slices;
#[cfg(test)]
mod tests;

pub use rng::Rng;
pub use slices::{decompose_laws, join_laws, order_laws};
