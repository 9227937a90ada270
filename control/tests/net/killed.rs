//! Processes that are killed as the kernel kills them: without a word to anybody.

use std::time::{Duration, Instant};

use adit_bench::client as bytes;

use crate::support::flows::Flows;
use crate::support::world::{Case, TARGET, World};
use crate::tunnels::client::connect;
use crate::tunnels::{soon, until};

/// How long a dial may take while one of two agents is dead (decision D13 of the design).
const DIAL_WITHIN: Duration = Duration::from_secs(2);
/// How soon after a restart of the server its agents are back, busy or idle.
const BACK_WITHIN: Duration = Duration::from_secs(6);

/// Every dial goes through, in time, while an agent dies under load; what ran on it is reset.
pub(crate) async fn no_dial_fails_while_one_of_two_agents_is_killed(case: Case) {
    let mut world = World::start_over_quic(case, 2).await;
    let socket = world.socket();
    let mut streams = Vec::new();
    let mut on = [0, 0];
    while on.contains(&0) {
        assert!(streams.len() < 64, "64 dials and none on one of two agents: {on:?}");
        streams.push(connect(&socket, TARGET).await.expect("a tunnel"));
        for (index, open) in on.iter_mut().enumerate() {
            *open = world.agent_metrics(index).await.sum("adit_tunnels_open", "");
        }
    }
    world.agents[0].kill().await;
    let killed = Instant::now();
    // As long as the dead one may still be chosen, and a little longer.
    while world.server_metrics().await.sum("adit_agents", "") > 1 || killed.elapsed() < Duration::from_secs(2)
    {
        let asked = Instant::now();
        let mut stream = connect(&socket, TARGET).await.expect("a tunnel while an agent is dead");
        assert!(asked.elapsed() < DIAL_WITHIN, "a dial took {:?}", asked.elapsed());
        soon("echo", bytes::echo(&mut stream, 1, 1_000)).await.expect("echo");
        assert!(killed.elapsed() < Duration::from_secs(20), "the dead agent is still counted");
    }
    world.agents.remove(0);
    world.agent_nets.rotate_left(1);
    let mut alive = 0;
    for mut stream in streams {
        alive += u64::from(soon("an end", bytes::echo(&mut stream, 2, 1_000)).await.is_ok());
    }
    assert_eq!(alive, on[1], "the tunnels of the living agent live, the others were reset");
    world.settle().await;
}

/// Idle agents of a server that was killed and started again hear from it, by stateless reset, that it does not know
/// them: they neither wait out a timeout nor take it for a stranger.
pub(crate) async fn idle_agents_believe_a_restarted_servers_reset(case: Case) {
    let mut world = World::start_over_quic(case, 2).await;
    for seed in 0..10 {
        let mut stream = connect(&world.socket(), TARGET).await.expect("a tunnel");
        soon("echo", bytes::echo(&mut stream, seed, 1_000)).await.expect("echo");
    }
    // Who has something unanswered while nobody is there looks for a server at once, and hears of no reset. All is
    // answered, and the next keep-alive comes when the server is back.
    world.no_datagram_under_way().await;
    world.server.kill().await;
    world.restart_server().await;
    world.wait_for_agents_within(2, BACK_WITHIN).await;
    for agent in &world.agents {
        agent.process.logged(&["connection to the server lost", "stateless reset"]).await;
    }
    Flows::start(&world.socket(), TARGET, 1).await.finish().await;
    world.settle().await;
}

/// A busy agent has something unanswered when the server dies, and may be back before the reset reaches it.
pub(crate) async fn busy_agents_are_back_soon_after_a_restart_of_the_server(case: Case) {
    let mut world = World::start_over_quic(case, 2).await;
    let flows = Flows::start(&world.socket(), TARGET, 2).await;
    world.server.kill().await;
    world.restart_server().await;
    world.wait_for_agents_within(2, BACK_WITHIN).await;
    flows.cut(Duration::from_secs(5)).await;
    Flows::start(&world.socket(), TARGET, 1).await.finish().await;
    world.settle().await;
}

/// The server dies and stays away: what ran is reset at the agent, which keeps trying and finds it when it comes.
pub(crate) async fn an_agent_outlives_its_server(case: Case) {
    let mut world = World::start_over_quic(case, 1).await;
    let flows = Flows::start(&world.socket(), TARGET, 1).await;
    world.server.kill().await;
    flows.cut(Duration::from_secs(5)).await;
    until("the agent's targets to be rid of it", Duration::from_secs(12), || async {
        (world.targets().open == 0).then_some(())
    })
    .await;
    world.agents[0].process.logged(&["cannot connect to the server"]).await;
    world.restart_server().await;
    world.wait_for_agents_within(1, BACK_WITHIN).await;
    Flows::start(&world.socket(), TARGET, 1).await.finish().await;
    world.settle().await;
}
