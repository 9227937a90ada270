//! Networks that swallow packets: all of them for a while, or some of them all the time, both ways or one.

use std::time::Duration;

use crate::support::flows::Flows;
use crate::support::netns::Netns;
use crate::support::world::{Case, PORT, TARGET, World};
use crate::tunnels::until;

/// A silence that a connection survives, however slow the machine is at ending it: a peer is given up after
/// `UNANSWERED_TIME_MAX`, 5 s, and asked every second.
const SHORT: Duration = Duration::from_secs(3);
/// From the end of a silence to a new connection: an attempt may have just begun, and each takes up to 3 s.
const BACK_WITHIN: Duration = Duration::from_secs(6);

/// What of the tunnel's packets is dropped in a namespace.
#[derive(Clone, Copy, Debug)]
enum Lost {
    /// What arrives.
    Incoming,
    /// What leaves.
    Outgoing,
    /// Both.
    All,
}

/// Drops so many of a hundred of the tunnel's packets here.
fn lose(net: &Netns, lost: Lost, percent: u32) {
    // nftables refuses a comparison that is always true.
    let chance = if percent < 100 { format!("numgen random mod 100 < {percent}") } else { String::new() };
    let chain = |hook: &str| {
        format!(
            "chain {hook}s {{\ntype filter hook {hook} priority 0;\n\
             udp dport {PORT} {chance} drop\nudp sport {PORT} {chance} drop\n}}\n"
        )
    };
    let chains = match lost {
        Lost::Incoming => chain("input"),
        Lost::Outgoing => chain("output"),
        Lost::All => chain("input") + &chain("output"),
    };
    net.nft(&format!("flush ruleset\ntable inet adit {{\n{chains}}}\n"));
}

/// Streams are silent as long as the network is, and go on.
pub(crate) async fn streams_survive_a_short_silence(case: Case) {
    let world = World::start_over_quic(case, 1).await;
    let mut flows = Flows::start(&world.socket(), TARGET, 2).await;
    for lost in [Lost::All, Lost::Incoming, Lost::Outgoing] {
        lose(&world.agent_nets[0], lost, 100);
        // The silence is the fault, and its length is what the promise is about.
        tokio::time::sleep(SHORT).await;
        world.agent_nets[0].heal();
        flows.go_on("a short silence").await;
        // The next silence is one of its own: what this one held up has been answered, too.
        flows.go_on("what followed a short silence").await;
    }
    flows.finish().await;
    world.settle().await;
    let log = world.agents[0].process.log();
    assert!(!log.contains("no answer for"), "a connection was given up: {log}");
}

/// What a long silence cuts off is reset at both ends, and the agent is back soon after it.
async fn a_long_silence(case: Case, lost: Lost) {
    let world = World::start_over_quic(case, 1).await;
    let flows = Flows::start(&world.socket(), TARGET, 1).await;
    lose(&world.agent_nets[0], lost, 100);
    flows.cut(Duration::from_secs(12)).await;
    world.agents[0].process.logged(&["connection to the server lost", "no answer for 5 s"]).await;
    until("the agent's targets to be rid of it", Duration::from_secs(12), || async {
        (world.targets().open == 0).then_some(())
    })
    .await;
    world.wait_for_agents(0).await;
    world.agent_nets[0].heal();
    world.wait_for_agents_within(1, BACK_WITHIN).await;
    let mut flows = Flows::start(&world.socket(), TARGET, 1).await;
    flows.go_on("a long silence").await;
    flows.finish().await;
    world.settle().await;
}

pub(crate) async fn a_long_silence_resets_streams_and_the_agent_comes_back(case: Case) {
    a_long_silence(case, Lost::All).await;
}

pub(crate) async fn a_long_silence_towards_the_agent_resets_and_heals(case: Case) {
    a_long_silence(case, Lost::Incoming).await;
}

pub(crate) async fn a_long_silence_from_the_agent_resets_and_heals(case: Case) {
    a_long_silence(case, Lost::Outgoing).await;
}

/// A tenth of the packets is lost, one way after the other.
pub(crate) async fn streams_go_on_under_loss_each_way(case: Case) {
    let world = World::start_over_quic(case, 1).await;
    let mut flows = Flows::start(&world.socket(), TARGET, 1).await;
    for lost in [Lost::Incoming, Lost::Outgoing, Lost::All] {
        lose(&world.agent_nets[0], lost, 10);
        flows.go_on("loss began").await;
    }
    world.agent_nets[0].heal();
    flows.finish().await;
    world.settle().await;
}
