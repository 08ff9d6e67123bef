//! The places where a reader's snapshot and a writer can meet, so that a test can stop one there and let the other run. Nothing, in any
//! other build.

/// A place on the way of a writer, or of a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A writer has the lock, and is about to hand its commit to the backend.
    Applying,
    /// The backend has the commit; readers of META do not see it yet.
    Applied,
    /// Readers of META see it; the writer still has the lock.
    Published,
    /// Others may write; the commit may not be durable yet.
    Unlocked,
    /// A reader has META, and no snapshot of the backend yet.
    MetaRead,
    /// A reader has both, and has not compared them yet.
    SnapshotTaken,
    /// An emission has looked whether there is anything to note.
    EmissionLooked,
    /// An emission has noted it, and its state is not durable yet.
    EmissionNoted,
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) fn at(_step: Step) {}

#[cfg(test)]
pub(crate) use hook::{at, with};

#[cfg(test)]
mod hook {
    use std::cell::RefCell;

    use super::Step;

    type Hook = Box<dyn FnMut(Step)>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    pub(crate) fn at(step: Step) {
        // Taken out meanwhile: what the hook does passes steps too.
        let hook = HOOK.with_borrow_mut(Option::take);
        if let Some(mut hook) = hook {
            hook(step);
            HOOK.with_borrow_mut(|slot| *slot = Some(hook));
        }
    }

    /// Runs `body`, and `hook` at each step that this thread passes.
    pub(crate) fn with<R>(hook: impl FnMut(Step) + 'static, body: impl FnOnce() -> R) -> R {
        HOOK.with_borrow_mut(|slot| *slot = Some(Box::new(hook)));
        let result = body();
        HOOK.with_borrow_mut(|slot| *slot = None);
        result
    }
}

#[cfg(test)]
mod tests;
