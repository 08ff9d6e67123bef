//! A secondary index in fifteen lines: who lives where.
//!
//! People are replicated. The index is this replica's own, in `local()`, and follows what has changed since it was last brought up to
//! date. Its mark is written in the same transaction, so a crash leaves both or neither. `cargo run --example index`.

use tombolo::{Result, Store, VersionVector};

/// Brings the index up to date. Returns how many people that took. Cost: what has changed.
fn update(store: &Store) -> Result<usize> {
    let mark: VersionVector = store.local().get("mark")?.unwrap_or_default();
    let changes = store.changes_since(&mark, "person")?;
    let now = changes.snapshot();
    let people = match changes.keys() {
        Some(keys) => keys.iter().map(|change| change.key.decode()).collect::<std::result::Result<Vec<(String, String)>, _>>(),
        None => now.scan("person").filter_map(Result::ok).map(|entry| entry.key().decode()).collect(),
    };
    let people = people.expect("a person's key is a pair");
    store.transact(|tx| {
        for entry in if changes.keys().is_none() { tx.local().scan(()).collect::<Result<Vec<_>>>()? } else { vec![] } {
            tx.local().delete(entry.key())?; // Anything may have changed: start over.
        }
        for (_person, name) in &people {
            if let Some(city) = tx.local().get::<String>(("city of", name))? {
                tx.local().delete(("lives in", city, name))?;
                tx.local().delete(("city of", name))?;
            }
            if let Some(city) = now.register::<String>(("person", name)).get()? {
                tx.local().put(("lives in", &city, name), &())?;
                tx.local().put(("city of", name), &city)?;
            }
        }
        tx.local().put("mark", &now.version())?;
        Ok(people.len())
    })
}

/// Asks the index.
fn who_lives_in(store: &Store, city: &str) -> Result<Vec<String>> {
    let entries = store.local().scan(("lives in", city));
    entries.map(|entry| Ok(entry?.key().decode::<(String, String, String)>().expect("the index wrote it").2)).collect()
}

fn main() -> Result<()> {
    let (phone, laptop) = (Store::in_memory(), Store::in_memory());
    for (name, city) in [("Ada", "London"), ("Grace", "New York"), ("Edsger", "Rotterdam"), ("Barbara", "London")] {
        phone.register::<String>(("person", name)).set(city)?;
    }
    println!("the first time: {} people", update(&phone)?);
    println!("  London: {:?}", who_lives_in(&phone, "London")?);

    // Elsewhere, somebody moves and somebody is forgotten.
    laptop.merge(phone.delta_since(&laptop.version()?)?)?;
    laptop.register::<String>(("person", "Grace")).set("London")?;
    laptop.delete(("person", "Ada"))?;
    phone.merge(laptop.delta_since(&phone.version()?)?)?;

    println!("after a merge: {} people", update(&phone)?);
    println!("  London: {:?}", who_lives_in(&phone, "London")?);
    println!("  New York: {:?}", who_lives_in(&phone, "New York")?);
    println!("nothing new: {} people", update(&phone)?);
    assert_eq!(who_lives_in(&phone, "London")?, ["Barbara", "Grace"]);
    Ok(())
}
