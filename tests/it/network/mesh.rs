//! How often a transaction arrives on a mesh and on a tree, and how many bytes that takes.

use tombolo::replication::Config;
use tombolo::sim::{Faults, Rng};

use super::{Measured, mesh, tree};

const REPLICAS: usize = 15;

#[test]
fn a_transaction_arrives_about_once_on_a_mesh_and_once_on_a_tree() {
    for (name, links) in [("mesh", mesh(REPLICAS, 4)), ("tree", tree(REPLICAS))] {
        let mut measured = Measured::new(REPLICAS, Config::default(), &links, &Faults::connection());
        measured.network.count_rows();
        let mut rng = Rng::new(2);
        measured.run(2_000_000, 0, &mut rng);
        let writes = 1_500;
        measured.run(15_000_000, writes, &mut rng);
        measured.run(30_000_000, 0, &mut rng);
        assert!(measured.are_same());
        let (received, repeated) = measured.received();
        let receipts = received as f64 / writes as f64 / (REPLICAS - 1) as f64;
        println!(
            "{name}: {receipts:.3} receipts of each at each, {repeated} of {received} repeated; {}",
            measured.network.counts()
        );
        assert!(receipts <= if name == "mesh" { 1.3 } else { 1.0 });
        let sent = measured.network.sent();
        println!("{name}: {sent:?}");
        // Every receipt was seen leaving.
        assert!(sent.transactions >= received && sent.rows >= sent.transactions);
        assert_eq!(sent.transactions_again, 0, "none is pushed over one link twice");
        // On a mesh a transaction may wait for another that a peer has and does not push: the answer that brings that one has both.
        assert!(sent.rows_again <= if name == "mesh" { sent.rows / 500 } else { 0 });
    }
}
