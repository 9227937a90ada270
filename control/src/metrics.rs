//! The `adit_` families: what is exported, from the shards' reports and control's own figures.
//!
//! Names and labels are documented here and nowhere else. Label values that a peer chooses (agent ids) do not occur:
//! the number of series is bounded by this program.

use std::time::Duration;

use adit_dataplane::port::{Carried, DialOutcome, PeerTransport, ShardReport};
use adit_io::{Counters, OpKind};

use crate::admin::text::{Kind, Text};

/// Upper bounds of the dial histogram, in seconds.
const DIAL_BOUNDS_SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

const OUTCOMES: [(DialOutcome, &str); 6] = [
    (DialOutcome::Established, "established"),
    (DialOutcome::NoAgent, "no_agent"),
    (DialOutcome::ErrorResponse, "error_response"),
    (DialOutcome::BackendClose, "backend_close"),
    (DialOutcome::Timeout, "timeout"),
    (DialOutcome::FrontendClose, "frontend_close"),
];

/// The word for an outcome, in labels and logs.
pub(crate) fn outcome_word(outcome: DialOutcome) -> &'static str {
    OUTCOMES.iter().find(|(o, _)| *o == outcome).map_or("unknown", |(_, word)| word)
}

/// How dials ended, and how long the successful ones took.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    by_outcome: [u64; OUTCOMES.len()],
    buckets: [u64; DIAL_BOUNDS_SECONDS.len() + 1],
    sum: Duration,
}

impl Dials {
    /// Counts a dial.
    pub(crate) fn record(&mut self, outcome: DialOutcome, duration: Duration) {
        if let Some(index) = OUTCOMES.iter().position(|(o, _)| *o == outcome) {
            self.by_outcome[index] += 1;
        }
        if outcome == DialOutcome::Established {
            let seconds = duration.as_secs_f64();
            self.buckets[DIAL_BOUNDS_SECONDS.partition_point(|bound| *bound < seconds)] += 1;
            self.sum += duration;
        }
    }
}

/// Which driver a shard runs on, and why not on io_uring.
#[derive(Clone, Debug)]
pub(crate) struct DriverChosen {
    /// `uring` or `epoll`.
    pub(crate) name: &'static str,
    /// Why `--io auto` fell back; empty when it did not.
    pub(crate) fallback: String,
}

/// Everything that is exported.
#[derive(Debug)]
pub(crate) struct Snapshot<'a> {
    /// `server` or `agent`.
    pub(crate) role: &'static str,
    /// Each shard's driver.
    pub(crate) drivers: &'a [DriverChosen],
    /// Each shard's report; missing where a shard did not answer in time.
    pub(crate) reports: &'a [Option<ShardReport>],
    /// Server: how dials ended.
    pub(crate) dials: Option<&'a Dials>,
    /// Server: live agents (by id). Agent: servers connected.
    pub(crate) peers: usize,
    /// Server: connections of agents. Agent: connections to servers.
    pub(crate) connections: usize,
    /// Agents that were not authenticated or not wanted so far.
    pub(crate) refused: u64,
}

/// The document.
pub(crate) fn render(snapshot: &Snapshot<'_>) -> String {
    let mut text = Text::default();
    text.family("adit_build_info", Kind::Gauge, "Always 1; the labels tell what runs.")
        .sample(&[("version", env!("CARGO_PKG_VERSION")), ("role", snapshot.role)], 1);
    drivers(&mut text, snapshot);
    peers(&mut text, snapshot);
    let reports: Vec<(String, &ShardReport)> =
        snapshot.reports.iter().flatten().map(|report| (report.shard.0.to_string(), report)).collect();
    text.family("adit_shards_reporting", Kind::Gauge, "Shards whose figures this document holds.")
        .sample(&[], reports.len());
    shard_families(&mut text, &reports);
    transports(&mut text, &reports);
    if snapshot.role == "server" {
        grpc_connections(&mut text, &reports);
    }
    io_families(&mut text, &reports);
    slots(&mut text, &reports);
    handshakes(&mut text, &reports);
    paths(&mut text, &reports);
    if let Some(dials) = snapshot.dials {
        dial_families(&mut text, dials);
    }
    text.into_string()
}

fn drivers(text: &mut Text, snapshot: &Snapshot<'_>) {
    let mut family = text.family(
        "adit_io_driver",
        Kind::Gauge,
        "Always 1; the driver in use, and why io_uring is not where --io auto fell back.",
    );
    for (shard, driver) in snapshot.drivers.iter().enumerate() {
        let shard = shard.to_string();
        family.sample(&[("shard", &shard), ("driver", driver.name), ("fallback", &driver.fallback)], 1);
    }
}

fn peers(text: &mut Text, snapshot: &Snapshot<'_>) {
    let (peers, help) = match snapshot.role {
        "server" => ("adit_agents", "Live agents, by id."),
        _ => ("adit_servers", "Servers connected."),
    };
    text.family(peers, Kind::Gauge, help).sample(&[], snapshot.peers);
    text.family(
        "adit_tunnel_connections",
        Kind::Gauge,
        "Connections whose peer was welcomed, whatever carries them.",
    )
    .sample(&[], snapshot.connections);
    text.family(
        "adit_peers_refused_total",
        Kind::Counter,
        "Peers refused: no agent's packets, not authenticated, or not wanted.",
    )
    .sample(&[], snapshot.refused);
}

type Reports<'a> = [(String, &'a ShardReport)];

fn shard_families(text: &mut Text, reports: &Reports<'_>) {
    for (name, kind, help, value) in SHARD_FAMILIES {
        let mut family = text.family(name, *kind, help);
        for (shard, report) in reports {
            family.sample(&[("shard", shard)], value(report));
        }
    }
}

type ShardFamily = (&'static str, Kind, &'static str, fn(&ShardReport) -> u64);

const SHARD_FAMILIES: &[ShardFamily] = &[
    ("adit_frontends_accepted_total", Kind::Counter, "Frontend connections accepted.", |r| {
        r.stats.frontends_accepted
    }),
    (
        "adit_frontends_refused_total",
        Kind::Counter,
        "Frontend connections closed at once: full, draining, or too many handshakes.",
        |r| r.stats.frontends_refused,
    ),
    ("adit_accept_errors_total", Kind::Counter, "Accepts that failed (EMFILE and the like).", |r| {
        r.stats.accept_errors
    }),
    (
        "adit_frontend_handshakes_failed_total",
        Kind::Counter,
        "Frontends over TCP that did not complete their TLS handshake.",
        |r| r.stats.frontend_handshakes_failed,
    ),
    (
        "adit_frontend_sessions_broken_total",
        Kind::Counter,
        "TLS sessions of frontends that broke after their handshake.",
        |r| r.stats.frontend_sessions_broken,
    ),
    (
        "adit_frontend_http2_connections",
        Kind::Gauge,
        "Frontend connections that speak GRPC mode; their calls are in adit_grpc_connections.",
        |r| r.stats.grpc_connections_open,
    ),
    (
        "adit_frontend_http2_broken_total",
        Kind::Counter,
        "Frontend connections in GRPC mode closed because the client broke HTTP/2, flooded, or did not answer PING.",
        |r| r.stats.grpc_connections_broken,
    ),
    (
        "adit_agents_refused_over_tcp_total",
        Kind::Counter,
        "Agents' TCP connections closed at once: no room, or too many handshakes.",
        |r| r.stats.agents_refused_over_tcp,
    ),
    ("adit_carriers_open", Kind::Gauge, "Connections with peers over TCP, welcome or not yet.", |r| {
        r.stats.carriers_open
    }),
    ("adit_heads_refused_total", Kind::Counter, "Request heads refused with a 4xx.", |r| {
        r.stats.heads_refused
    }),
    ("adit_dials_started_total", Kind::Counter, "Dials asked for by frontends.", |r| r.stats.dials_started),
    (
        "adit_dials_moved_total",
        Kind::Counter,
        "Dials moved to another agent before they were answered.",
        |r| r.stats.dials_moved,
    ),
    ("adit_dials_pending", Kind::Gauge, "Dials that wait for an answer.", |r| r.stats.dials_pending),
    ("adit_tunnels_established_total", Kind::Counter, "Tunnels established.", |r| {
        r.stats.tunnels_established
    }),
    (
        "adit_tunnels_open",
        Kind::Gauge,
        "Tunnels, and what may become one or was one: heads, dials, refusals.",
        |r| r.stats.tunnels_open,
    ),
    ("adit_tunnels_finished_total", Kind::Counter, "Tunnels that ended in order.", |r| {
        r.stats.tunnels_finished
    }),
    ("adit_tunnels_reset_total", Kind::Counter, "Tunnels that ended by a reset of either side.", |r| {
        r.stats.tunnels_reset
    }),
    (
        "adit_tunnels_over_budget_total",
        Kind::Counter,
        "Tunnels reset because stopped readers held too much.",
        |r| r.stats.tunnels_over_budget,
    ),
    (
        "adit_readers_cut_off_total",
        Kind::Counter,
        "Tunnels over Konnectivity's protocol, which has no flow control, cut off because their reader stopped.",
        |r| r.stats.readers_cut_off,
    ),
    ("adit_stopped_readers", Kind::Gauge, "Readers that have not taken their bytes.", |r| {
        r.stats.stopped_readers
    }),
    ("adit_tunnel_to_stream_bytes_total", Kind::Counter, "Payload read from sockets into streams.", |r| {
        r.stats.bytes_to_streams
    }),
    ("adit_tunnel_to_socket_bytes_total", Kind::Counter, "Payload sent from streams to sockets.", |r| {
        r.stats.bytes_to_sockets
    }),
    (
        "adit_sessions_refused_total",
        Kind::Counter,
        "Peers refused: no Hello in time, garbage, or by verdict.",
        |r| r.stats.sessions_refused,
    ),
    ("adit_destinations_denied_total", Kind::Counter, "Destinations that the agent's policy refused.", |r| {
        r.stats.destinations_denied
    }),
    (
        "adit_stale_completions_total",
        Kind::Counter,
        "Completions whose entry was gone: late, rightly ignored.",
        |r| r.stats.stale_completions,
    ),
    ("adit_submissions_deferred_total", Kind::Counter, "Operations that a full driver took later.", |r| {
        r.stats.submissions_deferred
    }),
    ("adit_receives_starved_total", Kind::Counter, "Receives that found no slot.", |r| {
        r.stats.receives_starved
    }),
    (
        "adit_copied_out_bytes_total",
        Kind::Counter,
        "Bytes copied out of receive slots because bytes that wait held more than half of them.",
        |r| r.stats.bytes_copied_out,
    ),
    (
        "adit_segmentation_refused_total",
        Kind::Counter,
        "Trains sent one datagram at a time: no segmentation.",
        |r| r.stats.segmentation_refused,
    ),
    ("adit_trains_dropped_total", Kind::Counter, "Trains that the kernel did not take.", |r| {
        r.stats.trains_dropped
    }),
    ("adit_stray_datagrams_total", Kind::Counter, "Datagrams that belong to another shard.", |r| {
        r.stats.stray_datagrams
    }),
    (
        "adit_stray_datagrams_dropped_total",
        Kind::Counter,
        "Of those, the ones that the other shard had no room for.",
        |r| r.stats.stray_datagrams_dropped,
    ),
    (
        "adit_frontends_dealt_total",
        Kind::Counter,
        "Connections dealt to another shard when they were accepted.",
        |r| r.stats.frontends_dealt,
    ),
    ("adit_dials_handed_over_total", Kind::Counter, "Dials handed to the shard of the chosen agent.", |r| {
        r.stats.dials_handed_over
    }),
    ("adit_dials_handed_back_total", Kind::Counter, "Dials that another shard had no room for.", |r| {
        r.stats.dials_handed_back
    }),
    ("adit_events_dropped_total", Kind::Counter, "Events dropped because control was slow.", |r| {
        r.stats.events_dropped
    }),
];

type TransportFamily = (&'static str, &'static str, fn(&Carried) -> u64);

const TRANSPORT_FAMILIES: &[TransportFamily] = &[
    (
        "adit_sessions_ready",
        "Sessions with peers that are welcome; konnectivity: over TCP with a peer that is no adit.",
        |carried| carried.sessions,
    ),
    ("adit_session_tunnels", "Tunnels on sessions, dials included, by what carries them.", |carried| {
        carried.tunnels
    }),
];

fn transports(text: &mut Text, reports: &Reports<'_>) {
    for (name, help, value) in TRANSPORT_FAMILIES {
        let mut family = text.family(name, Kind::Gauge, help);
        for (shard, report) in reports {
            for carried in &report.carried {
                family.sample(&[("shard", shard), ("transport", carried.transport.word())], value(carried));
            }
        }
    }
}

/// Konnectivity's `grpc_connections`: what is called so are calls, of clients and of agents.
fn grpc_connections(text: &mut Text, reports: &Reports<'_>) {
    let help =
        "Calls of Konnectivity's gRPC methods that are open: Proxy by frontends, Connect by its agents.";
    let mut family = text.family("adit_grpc_connections", Kind::Gauge, help);
    let old = |carried: &&Carried| carried.transport == PeerTransport::Konnectivity;
    for (shard, report) in reports {
        let connects: u64 = report.carried.iter().filter(old).map(|carried| carried.sessions).sum();
        family
            .sample(&[("shard", shard), ("service_method", "Proxy")], report.stats.grpc_calls_open)
            .sample(&[("shard", shard), ("service_method", "Connect")], connects);
    }
}

fn io_families(text: &mut Text, reports: &Reports<'_>) {
    for (name, help, value) in [
        (
            "adit_io_operations_total",
            "Operations submitted to the driver; a multishot one counts each time it is armed.",
            Counters::submitted as fn(&Counters, OpKind) -> u64,
        ),
        ("adit_io_completions_total", "Completions delivered by the driver.", Counters::completed),
    ] {
        let mut family = text.family(name, Kind::Counter, help);
        for (shard, report) in reports {
            for op in OpKind::ALL {
                family.sample(&[("shard", shard), ("op", op.as_str())], value(&report.io, op));
            }
        }
    }
    for (name, kind, help, value) in IO_FAMILIES {
        let mut family = text.family(name, *kind, help);
        for (shard, report) in reports {
            family.sample(&[("shard", shard)], value(&report.io));
        }
    }
}

type IoFamily = (&'static str, Kind, &'static str, fn(&Counters) -> u64);

const IO_FAMILIES: &[IoFamily] = &[
    ("adit_io_turns_total", Kind::Counter, "Turns of the loop.", |c| c.turns),
    ("adit_io_syscalls_total", Kind::Counter, "System calls made by the driver.", |c| c.syscalls),
    ("adit_io_provided_buffer_receives_total", Kind::Counter, "Receives into a provided-buffer slot.", |c| {
        c.provided_buffer_receives
    }),
    ("adit_io_no_buffers_total", Kind::Counter, "Receives that ended for want of a free slot.", |c| {
        c.no_buffers
    }),
    ("adit_io_refused_full_total", Kind::Counter, "Submissions refused because something was full.", |c| {
        c.refused_full
    }),
    ("adit_io_datagrams_received_total", Kind::Counter, "Datagrams received.", |c| c.datagrams_received),
    ("adit_io_datagram_trains_received_total", Kind::Counter, "Datagram receives, as coalesced.", |c| {
        c.datagram_trains_received
    }),
    ("adit_io_datagrams_sent_total", Kind::Counter, "Datagrams sent, as segments.", |c| c.datagrams_sent),
    ("adit_io_datagram_trains_sent_total", Kind::Counter, "Sends that carried them.", |c| {
        c.datagram_trains_sent
    }),
    ("adit_io_stream_received_bytes_total", Kind::Counter, "Bytes received on stream sockets.", |c| {
        c.stream_bytes_received
    }),
    ("adit_io_stream_sent_bytes_total", Kind::Counter, "Bytes sent on stream sockets.", |c| {
        c.stream_bytes_sent
    }),
    ("adit_io_zero_copy_copied_total", Kind::Counter, "Zero-copy sends that the kernel copied.", |c| {
        c.zero_copy_copied
    }),
    (
        "adit_io_completion_overflows_total",
        Kind::Counter,
        "Completion-queue overflows (late, not lost).",
        |c| c.completion_overflows,
    ),
    ("adit_io_sockets_open", Kind::Gauge, "Sockets in the driver's table.", |c| c.sockets_open),
];

fn slots(text: &mut Text, reports: &Reports<'_>) {
    let mut family =
        text.family("adit_receive_slots", Kind::Gauge, "Receive slots, all and held by unread bytes.");
    for (shard, report) in reports {
        let classes = [
            ("small", report.small_slots),
            ("large", report.large_slots),
            ("datagram", report.datagram_slots),
        ];
        for (class, slots) in classes {
            family
                .sample(&[("shard", shard), ("class", class), ("state", "total")], slots.total)
                .sample(&[("shard", shard), ("class", class), ("state", "held")], slots.held);
        }
    }
}

/// What a flood of handshakes shows as.
fn handshakes(text: &mut Text, reports: &Reports<'_>) {
    let help = "QUIC handshakes that agents have begun and not ended.";
    let mut family = text.family("adit_handshakes_under_way", Kind::Gauge, help);
    for (shard, report) in reports {
        family.sample(&[("shard", shard)], report.handshakes_under_way);
    }
    let help = "First packets of agents, by answer; `retried`: asked to prove their address.";
    let mut family = text.family("adit_handshakes_total", Kind::Counter, help);
    for (shard, report) in reports {
        let counts = &report.endpoint;
        for (answer, count) in [
            ("accepted", counts.accepted),
            ("retried", counts.retried),
            ("refused", counts.refused),
            ("ignored", counts.ignored),
            ("rejected", counts.rejected),
        ] {
            family.sample(&[("shard", shard), ("answer", answer)], count);
        }
    }
}

/// Connections come and go, so paths are exported as extremes over all of them.
fn paths(text: &mut Text, reports: &Reports<'_>) {
    let paths = || reports.iter().flat_map(|(_, report)| &report.paths);
    let mut mtu =
        text.family("adit_path_mtu_bytes", Kind::Gauge, "UDP payload of the paths: least and most.");
    for (extreme, value) in
        [("min", paths().map(|p| p.mtu_bytes).min()), ("max", paths().map(|p| p.mtu_bytes).max())]
    {
        if let Some(value) = value {
            mtu.sample(&[("extreme", extreme)], value);
        }
    }
    let mut rtt =
        text.family("adit_path_rtt_seconds", Kind::Gauge, "Smoothed round-trip time: least and most.");
    for (extreme, value) in [("min", paths().map(|p| p.rtt).min()), ("max", paths().map(|p| p.rtt).max())] {
        if let Some(value) = value {
            rtt.sample(&[("extreme", extreme)], value.as_secs_f64());
        }
    }
    text.family("adit_path_lost_packets", Kind::Gauge, "Packets declared lost on the connections there are.")
        .sample(&[], paths().map(|p| p.lost_packets).sum::<u64>());
    text.family("adit_paths_suspect", Kind::Gauge, "Connections that are suspect: no answer lately.")
        .sample(&[], paths().filter(|p| p.suspect).count());
}

fn dial_families(text: &mut Text, dials: &Dials) {
    let mut family = text.family("adit_dials_total", Kind::Counter, "Dials that ended, by how.");
    for ((_, word), count) in OUTCOMES.iter().zip(dials.by_outcome) {
        family.sample(&[("outcome", word)], count);
    }
    text.histogram(
        "adit_dial_duration_seconds",
        "From the complete CONNECT to the 200, of dials that were established.",
        &DIAL_BOUNDS_SECONDS,
        &dials.buckets,
        dials.sum.as_secs_f64(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dials_fall_into_the_bucket_whose_bound_holds_them() {
        let mut dials = Dials::default();
        dials.record(DialOutcome::Established, Duration::from_micros(500));
        dials.record(DialOutcome::Established, Duration::from_micros(501));
        dials.record(DialOutcome::Established, Duration::from_secs(31));
        dials.record(DialOutcome::Timeout, Duration::from_secs(30));
        assert_eq!((dials.buckets[0], dials.buckets[1], dials.buckets[15]), (1, 1, 1));
        assert_eq!(dials.buckets.iter().sum::<u64>(), 3, "failures are not in the histogram");
        let text = render(&Snapshot {
            role: "server",
            drivers: &[DriverChosen { name: "epoll", fallback: "a \"reason\"".to_owned() }],
            reports: &[None],
            dials: Some(&dials),
            peers: 2,
            connections: 3,
            refused: 0,
        });
        for line in [
            "adit_dials_total{outcome=\"timeout\"} 1\n",
            "adit_dial_duration_seconds_bucket{le=\"0.0005\"} 1\n",
            "adit_dial_duration_seconds_count 3\n",
            "adit_io_driver{shard=\"0\",driver=\"epoll\",fallback=\"a \\\"reason\\\"\"} 1\n",
            "adit_agents 2\n",
            "adit_shards_reporting 0\n",
        ] {
            assert!(text.contains(line), "{line:?} in\n{text}");
        }
    }
}
