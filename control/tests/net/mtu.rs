//! Paths whose MTU changes, devices that stop segmenting, and devices that are full.

use std::time::Duration;

use crate::support::flows::Flows;
use crate::support::world::{Case, TARGET, World};
use crate::tunnels::until;

/// Sets something on both ends of the wire.
fn on_both_ends(world: &World, set: impl Fn(&crate::support::netns::Netns)) {
    [&world.server_net, &world.agent_nets[0]].into_iter().for_each(set);
}

/// The wire carries less from one moment to the next, without a word, and then more than ever.
pub(crate) async fn streams_survive_an_mtu_that_shrinks_and_grows(case: Case) {
    let world = World::start(case, 1).await;
    let mut flows = Flows::start(&world.socket(), TARGET, 1).await;
    until("the path to be found to carry what it does", Duration::from_secs(10), || async {
        let metrics = world.server_metrics().await;
        (metrics.sum("adit_path_mtu_bytes", "extreme=\"min\"") == 1472).then_some(())
    })
    .await;
    on_both_ends(&world, |net| net.ip(&["link", "set", "w0", "mtu", "1300"]));
    flows.go_on("the MTU shrank").await;
    until("the path to be found smaller", Duration::from_secs(10), || async {
        let metrics = world.server_metrics().await;
        (metrics.sum("adit_path_mtu_bytes", "extreme=\"min\"") <= 1272).then_some(())
    })
    .await;
    on_both_ends(&world, |net| net.ip(&["link", "set", "w0", "mtu", "9000"]));
    flows.go_on("the MTU grew").await;
    flows.finish().await;
    world.settle().await;
    assert!(!world.agents[0].process.log().contains("connection to the server lost"));
}

/// Checksums and segmentation are taken off the device, and given back. Older kernels then refuse trains (EIO), newer
/// ones segment in software: either way no byte is lost.
pub(crate) async fn streams_survive_a_device_that_loses_its_offloads(case: Case) {
    let world = World::start(case, 1).await;
    let mut flows = Flows::start(&world.socket(), TARGET, 1).await;
    for setting in ["off", "on"] {
        on_both_ends(&world, |net| {
            net.try_run("ethtool", &["-K", "w0", "tx", setting], "").expect("a veth's offloads can be set");
        });
        flows.go_on("the offloads changed").await;
    }
    flows.finish().await;
    world.settle().await;
    assert!(!world.agents[0].process.log().contains("connection to the server lost"));
}

/// The device takes less than it is given: sends fail with ENOBUFS (the socket asks for errors, ip(7), IP_RECVERR).
pub(crate) async fn streams_survive_a_device_that_is_full(case: Case) {
    let world = World::start(case, 1).await;
    let mut flows = Flows::start(&world.socket(), TARGET, 1).await;
    let dropped = || async {
        let agent = world.agent_metrics(0).await.sum("adit_trains_dropped_total", "");
        agent + world.server_metrics().await.sum("adit_trains_dropped_total", "")
    };
    let before = dropped().await;
    let narrow = "qdisc add dev w0 root tbf rate 50mbit burst 16kb limit 16kb";
    on_both_ends(&world, |net| {
        net.try_tc(&narrow.split(' ').collect::<Vec<_>>()).expect("a token bucket");
    });
    flows.go_on("the device became narrow").await;
    assert!(dropped().await > before, "the device took everything");
    on_both_ends(&world, |net| {
        net.try_tc(&["qdisc", "del", "dev", "w0", "root"]).expect("it is there");
    });
    flows.go_on("the device became wide").await;
    flows.finish().await;
    world.settle().await;
    assert!(!world.agents[0].process.log().contains("connection to the server lost"));
}
