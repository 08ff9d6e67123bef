//! Two stores that were apart exchange what they have, and are equal.
//!
//! ```text
//! cargo run --example quickstart
//! ```

use tombolo::Store;

fn main() -> tombolo::Result<()> {
    // In a file it is `Store::open("phone.tombolo")?`. There is nothing to start.
    let phone = Store::in_memory();
    let laptop = Store::in_memory();

    phone.counter("visits").add(2)?;
    phone.set::<String>("tags").insert("draft")?;
    phone.register::<String>(("note", 7, "title")).set("Groceries")?;

    // At the same time, without a link between them.
    laptop.counter("visits").add(3)?;
    laptop.set::<String>("tags").insert("urgent")?;

    // Over anything that carries bytes: a socket, a file, a mailbox. Any number of times, in any order.
    laptop.merge(phone.delta_since(&laptop.version()?)?)?;
    phone.merge(laptop.delta_since(&phone.version()?)?)?;

    for entry in phone.scan(()) {
        let entry = entry?;
        println!("{} = {}", entry.key(), entry.value()?);
    }
    println!("phone  {}\nlaptop {}", phone.digest()?, laptop.digest()?);
    assert_eq!(phone.digest()?, laptop.digest()?);
    Ok(())
}
