//! Addresses that change under a connection: of the translation before an agent, and of its node.

use crate::support::flows::Flows;
use crate::support::world::{Case, TARGET, World, translate};

/// The translation forgets the agent and gives it another port, as one that restarted or ran out of time does.
pub(crate) async fn streams_survive_a_rebinding(case: Case) {
    let world = World::start_behind_nat(case).await;
    let nat = world.nat.as_ref().expect("it is behind one");
    let mut flows = Flows::start(&world.socket(), TARGET, 2).await;
    for ports in ["3000-3999", "4000-4999"] {
        translate(nat, ports);
        flows.go_on("a rebinding").await;
    }
    flows.finish().await;
    world.settle().await;
    assert_unbroken(&world).await;
}

/// Nothing leads to the agent until it speaks, and it has nothing to say: its keep-alive comes before the server gives
/// it up.
pub(crate) async fn uploads_survive_a_rebinding(case: Case) {
    let world = World::start_behind_nat(case).await;
    let mut flows = Flows::start_uploads(&world.socket(), TARGET, 2).await;
    translate(world.nat.as_ref().expect("it is behind one"), "3000-3999");
    flows.go_on("a rebinding").await;
    flows.finish().await;
    world.settle().await;
    assert_unbroken(&world).await;
}

/// The node has another address from one moment to the next.
pub(crate) async fn streams_survive_a_changed_node_address(case: Case) {
    let world = World::start(case, 1).await;
    let node = &world.agent_nets[0];
    let mut flows = Flows::start(&world.socket(), TARGET, 2).await;
    for (old, new) in [("10.77.0.2/24", "10.77.0.3/24"), ("10.77.0.3/24", "10.77.0.4/24")] {
        node.ip(&["addr", "del", old, "dev", "w0"]);
        node.ip(&["addr", "add", new, "dev", "w0"]);
        flows.go_on("a change of address").await;
    }
    flows.finish().await;
    world.settle().await;
    assert_unbroken(&world).await;
}

/// The first connection is still the only one: nothing was closed and begun anew.
async fn assert_unbroken(world: &World) {
    let log = world.agents[0].process.log();
    assert!(!log.contains("connection to the server lost"), "{log}");
    let metrics = world.server_metrics().await;
    assert_eq!(metrics.sum("adit_agents", ""), 1);
}
