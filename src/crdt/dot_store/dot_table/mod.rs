//! Values at keys and dots, in one flat table.

mod few;
mod hash;
mod join;
mod lane;
mod many;
#[cfg(test)]
mod tests;
mod wire;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;
use core::hash::Hash;

use smallvec::SmallVec;

use self::few::{Entry, Few};
use self::many::Many;
use super::DotStore;
use crate::causal::{CausalContext, Dot, ReplicaId};
use crate::crdt::Refused;

/// How many entries need no index.
const FEW_MAX: usize = if cfg!(test) { 2 } else { 8 };

/// A value for each of some dots, at keys: what [`DotMap`](super::DotMap) of [`DotFun`](super::DotFun) is, for any number of keys.
/// For sets (of keys, with no values) and maps, where nearly every key has one dot.
///
/// Join: as of those two: of each key, the dots live on that both hold, or one holds and the other has not seen. A value goes with its
/// dot and never changes.
///
/// Its order is that of the dots, which is the same wherever the same is live; keys are hashed, and no order of a hash ever shows.
///
/// | cost | |
/// |---|---|
/// | look up, write, remove a key | constant: a look into a hash table, and the place of a dot |
/// | join of a delta | of what it has, and of what it has seen: never of the whole table |
/// | join of a state | linear in what is live of those replicas by whose dots the two differ; constant, if they do not |
/// | memory | an entry has 16 bytes besides its key and value, 12 for its dot, about 8 for the index |
///
/// Two tables are taken to have the same dots of a replica if they have as many, and the sums of their hashes are equal: by chance for two
/// that differ once in 2^64 joins. The hashes are keyed anew in each process, so nobody can aim at that.
///
/// Holds fewer than 2^32 entries, and panics beyond, as a `Vec` does that is full.
///
/// Source: see [`DotStore`]; the flat form is ours.
#[derive(Clone)]
pub struct DotTable<K, V> {
    form: Form<K, V>,
}

/// Which of the two it is says nothing: they compare by what they hold.
#[derive(Clone)]
enum Form<K, V> {
    Few(Few<K, V>),
    Many(Box<Many<K, V>>),
}

/// What a write takes the place of. Mostly of one entry, or none.
enum Replaced {
    None,
    One(Dot),
    Several(CausalContext),
}

impl<K, V> DotTable<K, V> {
    /// No entry.
    #[must_use]
    pub fn new() -> Self {
        Self { form: Form::Few(Few::new()) }
    }

    /// One entry; none, if the dot [is no event](Dot::is_event).
    pub(crate) fn single(dot: Dot, key: K, value: V) -> Self {
        let few = if dot.is_event() { Few::from_buf([Entry { dot, key, value }]) } else { Few::new() };
        Self { form: Form::Few(few) }
    }

    /// The entries, ascending by dot: dot, key, value. Concurrent writes of a key are entries of their own.
    pub fn iter(&self) -> impl Iterator<Item = (Dot, &K, &V)> + '_ {
        let (few, many): (&[_], _) = match &self.form {
            Form::Few(few) => (few, None),
            Form::Many(many) => (&[], Some(many)),
        };
        let few = few.iter().map(|entry| (entry.dot, &entry.key, &entry.value));
        few.chain(many.into_iter().flat_map(|many| many.iter()))
    }

    /// How many keys have an entry. Cost: constant.
    #[must_use]
    pub fn keys(&self) -> usize
    where
        K: Eq,
    {
        match &self.form {
            Form::Few(few) => few::keys(few),
            Form::Many(many) => many.keys(),
        }
    }

    /// How many entries there are: as many as dots. Cost: constant.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Few(few) => few.len(),
            Form::Many(many) => many.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Hash + Eq, V> DotTable<K, V> {
    /// Whether a key has an entry.
    #[must_use]
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        match &self.form {
            Form::Few(few) => few.iter().any(|entry| entry.key.borrow() == key),
            Form::Many(many) => many.find(hash::of_key(key), key).is_some(),
        }
    }

    /// The entries of a key, in no particular order.
    pub(crate) fn entries<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> impl Iterator<Item = (Dot, &V)> + '_
    where
        K: Borrow<Q>,
    {
        let mut found: SmallVec<[(Dot, &V); 1]> = SmallVec::new();
        match &self.form {
            Form::Few(few) => {
                found.extend(few.iter().filter(|entry| entry.key.borrow() == key).map(|entry| (entry.dot, &entry.value)));
            }
            Form::Many(many) => {
                let slots = many.find_all(hash::of_key(key), key);
                found.extend(
                    slots.iter().filter_map(|at| many.slot(*at)).filter_map(|slot| Some((many.dot(slot)?, &slot.value))),
                );
            }
        }
        found.into_iter()
    }

    /// The value of a key, if it has one entry. `Err` says that it has several.
    #[inline]
    pub(crate) fn only<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Result<Option<&V>, ()>
    where
        K: Borrow<Q>,
    {
        match &self.form {
            Form::Many(many) if many.keys() == many.len() => Ok(many.find_slot(hash::of_key(key), key).map(|slot| &slot.value)),
            Form::Few(_) | Form::Many(_) => {
                let mut entries = self.entries(key);
                let first = entries.next().map(|(_, value)| value);
                if entries.next().is_some() { Err(()) } else { Ok(first) }
            }
        }
    }

    /// The entries of a key and their dots, ascending by dot.
    #[must_use]
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Vec<(Dot, &V)>
    where
        K: Borrow<Q>,
    {
        let mut entries: Vec<_> = self.entries(key).collect();
        entries.sort_unstable_by_key(|(dot, _)| *dot);
        entries
    }

    /// Puts an entry in place of all that the key has. Returns their dots. Does nothing for a dot that
    /// [is no event](Dot::is_event), or that is live: a dot is assigned once.
    pub fn write(&mut self, dot: Dot, key: &K, value: V) -> CausalContext
    where
        K: Clone,
    {
        if !dot.is_event() || self.is_live(dot) {
            return CausalContext::new();
        }
        match self.replace(dot, key, value) {
            Replaced::None => CausalContext::new(),
            Replaced::One(replaced) => CausalContext::of_one(replaced),
            Replaced::Several(replaced) => replaced,
        }
    }

    /// The same with the new event of a context. Returns it and the context of a delta: of that event, and of those that it replaces.
    #[inline]
    pub(crate) fn write_next(
        &mut self,
        context: &mut CausalContext,
        me: ReplicaId,
        key: &K,
        value: V,
    ) -> Result<(Dot, CausalContext), Refused>
    where
        K: Clone,
    {
        let dot = context.mint(me).ok_or(Refused::Exhausted)?;
        let seen = match self.replace(dot, key, value) {
            Replaced::None => CausalContext::of_one(dot),
            Replaced::One(replaced) => CausalContext::of_two(replaced, dot),
            Replaced::Several(mut replaced) => {
                replaced.insert(dot);
                replaced
            }
        };
        Ok((dot, seen))
    }

    /// [`write`](Self::write) with an event that is not live.
    #[inline]
    fn replace(&mut self, dot: Dot, key: &K, value: V) -> Replaced
    where
        K: Clone,
    {
        if let Form::Many(many) = &mut self.form {
            let hash = hash::of_key(key);
            match many.find(hash, key) {
                None => {
                    many.insert_new(dot, hash, key.clone(), value);
                    return Replaced::None;
                }
                Some(at) if many.keys() == many.len() => {
                    return many.rewrite(at, dot, value).map_or(Replaced::None, Replaced::One);
                }
                Some(_) => {}
            }
        }
        let replaced = self.remove(key);
        self.insert(dot, key.clone(), value);
        Replaced::Several(replaced)
    }

    /// Adds an entry, beside those that the key has. Returns whether it did: not for a dot that
    /// [is no event](Dot::is_event), nor for one that is live.
    pub fn insert(&mut self, dot: Dot, key: K, value: V) -> bool {
        if !dot.is_event() || self.is_live(dot) {
            return false;
        }
        match &mut self.form {
            Form::Few(few) => {
                few::insert(few, Entry { dot, key, value });
                self.grow();
            }
            Form::Many(many) => many.insert(dot, hash::of_key(&key), key, value),
        }
        true
    }

    /// Removes the entries of a key. Returns their dots.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> CausalContext
    where
        K: Borrow<Q>,
    {
        let mut removed = CausalContext::new();
        match &mut self.form {
            Form::Few(few) => few.retain(|entry| entry.key.borrow() != key || !removed.insert(entry.dot)),
            Form::Many(many) => {
                let hash = hash::of_key(key);
                // The last entry takes the slot of one that goes, so each is looked up when it is its turn.
                while many.keys() < many.len() {
                    let Some(at) = many.find(hash, key) else { return removed };
                    removed.extend(many.slot(at).and_then(|slot| many.dot(slot)));
                    many.remove_at(at);
                }
                match many.remove_only(hash, key) {
                    Some(dot) if removed.is_empty() => return CausalContext::of_one(dot),
                    dot => removed.extend(dot),
                }
            }
        }
        removed
    }

    /// Removes the entry at a dot.
    pub(crate) fn remove_dot(&mut self, dot: Dot) -> Option<(K, V)> {
        match &mut self.form {
            Form::Few(few) => {
                let at = few::find(few, dot).ok()?;
                let Entry { key, value, .. } = few.remove(at);
                Some((key, value))
            }
            Form::Many(many) => many.remove(dot).map(|slot| (slot.key, slot.value)),
        }
    }

    fn is_live(&self, dot: Dot) -> bool {
        match &self.form {
            Form::Few(few) => few::find(few, dot).is_ok(),
            Form::Many(many) => many.lane(dot.replica).is_some_and(|lane| lane.get(dot.seq).is_some()),
        }
    }

    /// Gets an index, once they are no longer few.
    fn grow(&mut self) {
        if self.len() > FEW_MAX {
            self.make_many(0);
        }
    }

    /// The form with an index, and room for more entries.
    fn make_many(&mut self, more: usize) -> &mut Many<K, V> {
        if let Form::Few(few) = &mut self.form {
            let mut many = Box::new(Many::with_capacity(few.len() + more));
            for Entry { dot, key, value } in few.drain(..) {
                many.insert(dot, hash::of_key(&key), key, value);
            }
            self.form = Form::Many(many);
        }
        match &mut self.form {
            Form::Many(many) => many,
            Form::Few(_) => unreachable!("made an index above"),
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> DotStore for DotTable<K, V> {
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.iter().map(|(dot, _, _)| dot)
    }

    fn restrict(&self, keep: &impl Fn(Dot) -> bool) -> Self {
        let kept = self.iter().filter(|(dot, _, _)| keep(*dot));
        kept.map(|(dot, key, value)| (dot, key.clone(), value.clone())).collect()
    }

    fn join(&mut self, ours: &CausalContext, other: &Self, theirs: &CausalContext) -> bool {
        self.join_seen(ours, other, theirs)
    }
}

impl<K, V> Default for DotTable<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

/// Of a dot that comes twice, the first entry counts.
impl<K: Hash + Eq, V> FromIterator<(Dot, K, V)> for DotTable<K, V> {
    fn from_iter<I: IntoIterator<Item = (Dot, K, V)>>(entries: I) -> Self {
        let mut table = Self::new();
        for (dot, key, value) in entries {
            table.insert(dot, key, value);
        }
        table
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for DotTable<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for DotTable<K, V> {}

impl<K: Hash, V: Hash> Hash for DotTable<K, V> {
    fn hash<H: core::hash::Hasher>(&self, to: &mut H) {
        to.write_usize(self.len());
        self.iter().for_each(|entry| entry.hash(to));
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for DotTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
