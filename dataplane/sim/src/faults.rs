//! The fault knobs, as plain data: what may go wrong, how likely, how badly.
//!
//! [`Faults::none`] is a calm machine on a calm network (still with latencies); [`Faults::swarm`] draws which faults
//! exist at all: some are off entirely, the others differ wildly from seed to seed, because a world in which
//! everything fails a little finds less than one in which one thing fails a lot.

use crate::rng::{Ppm, Prng, Span};

/// What may go wrong between hosts. Nothing of it touches datagrams that stay on one host.
#[derive(Clone, Debug, PartialEq)]
pub struct NetFaults {
    /// One-way delay.
    pub delay: Span,
    /// Datagrams lost.
    pub loss: Ppm,
    /// Datagrams delivered twice.
    pub duplicate: Ppm,
    /// Datagrams held back…
    pub reorder: Ppm,
    /// … for this long.
    pub reorder_delay: Span,
    /// Datagrams in which one bit is flipped.
    pub corrupt: Ppm,
    /// Datagrams whose ECN codepoint is bleached or set wrongly.
    pub ecn_wrong: Ppm,
    /// Sent datagrams for which somebody forges a port-unreachable.
    pub unreachable_forged: Ppm,
    /// Largest UDP payload that the path carries.
    pub mtu_bytes: usize,
    /// The path MTU falls to the given payload at some moment in the span.
    pub mtu_shrink: Option<(Span, usize)>,
    /// At some moment in the span a path MTU that fell is what it was before.
    pub mtu_grow: Option<Span>,
    /// Bottleneck rate, and the queue before it in bytes.
    pub rate: Option<(u64, u64)>,
    /// How long from one one-way blackhole to the next, and how long it lasts.
    pub blackhole: Option<(Span, Span)>,
    /// How long from one new outer port for a host behind NAT to the next.
    pub rebind: Option<Span>,
    /// Datagrams that reach another of the sockets that share an address than the one they are meant for.
    pub misdirect: Ppm,
}

/// What may go wrong between a shard and its kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct IoFaults {
    /// From submission to the kernel's first attempt.
    pub op_latency: Span,
    /// From the kernel's completion to its visibility.
    pub completion_latency: Span,
    /// Submissions handed back as if a queue were full.
    pub refuse: Ppm,
    /// Sends that take fewer bytes than there is room for.
    pub short_send: Ppm,
    /// Receives that return fewer bytes than are there.
    pub short_receive: Ppm,
    /// Receives and sends at which the connection fails: ECONNRESET, ETIMEDOUT, EPIPE or ENOBUFS.
    pub stream_error: Ppm,
    /// Accepts that end with EMFILE.
    pub accept_error: Ppm,
    /// Multishot operations that end after a completion for no reason.
    pub multishot_end: Ppm,
    /// Receives that find no slot although there is one.
    pub no_slot: Ppm,
    /// Cancellations that act much later…
    pub cancel_late: Ppm,
    /// … namely after this long.
    pub cancel_late_by: Span,
    /// From the result of a zero-copy send to its notification.
    pub notification: Span,
    /// Notifications that come only when the socket is closed.
    pub notification_at_close: Ppm,
    /// From the driver's start to the moment from which segmented sends fail with EIO.
    pub segmentation_refused_after: Option<Span>,
    /// Neighbouring equal datagrams that are received as one train.
    pub merge: Ppm,
    /// Datagram sends that fail with EAGAIN, ENOBUFS or EINTR.
    pub datagram_send_error: Ppm,
}

/// What may go wrong with the scheduling of a process.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessFaults {
    /// How much later than its deadline a turn wakes up.
    pub overshoot: Span,
    /// Turns that return before anything happened.
    pub wake_early: Ppm,
    /// Turns after which the process does not run…
    pub deschedule: Ppm,
    /// … for this long.
    pub deschedule_for: Span,
    /// From a wake to its effect.
    pub wake_delay: Span,
    /// Wakes of one shard by another that have no effect.
    pub wake_lost: Ppm,
}

/// Stream sockets of the world: buffers and latencies.
#[derive(Clone, Debug, PartialEq)]
pub struct PipeFaults {
    /// One-way latency of TCP. Unix sockets have none.
    pub latency: Span,
    /// Bytes that one direction holds between writer and reader.
    pub buffer_bytes: (usize, usize),
    /// Connections whose received bytes vanish when a reset arrives, unread.
    pub reset_discards: Ppm,
}

/// How control misbehaves towards shards.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlFaults {
    /// From a question to its answer.
    pub answer: Span,
    /// Answers that come after the asker gave up…
    pub late: Ppm,
    /// … namely after this long.
    pub late_by: Span,
    /// Answers that come twice.
    pub twice: Ppm,
    /// Questions that are never answered.
    pub never: Ppm,
    /// Times at which control does not empty a shard's queue of events, for this long.
    pub stalled: Option<Span>,
}

/// All knobs.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// Between hosts.
    pub net: NetFaults,
    /// Between shard and kernel.
    pub io: IoFaults,
    /// Scheduling.
    pub process: ProcessFaults,
    /// Streams.
    pub pipe: PipeFaults,
    /// Control.
    pub control: ControlFaults,
}

impl Faults {
    /// Nothing goes wrong.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            net: NetFaults {
                delay: Span::micros(200, 300),
                loss: Ppm::NEVER,
                duplicate: Ppm::NEVER,
                reorder: Ppm::NEVER,
                reorder_delay: Span::ZERO,
                corrupt: Ppm::NEVER,
                ecn_wrong: Ppm::NEVER,
                unreachable_forged: Ppm::NEVER,
                mtu_bytes: 65_507,
                mtu_shrink: None,
                mtu_grow: None,
                rate: None,
                blackhole: None,
                rebind: None,
                misdirect: Ppm::NEVER,
            },
            io: IoFaults {
                op_latency: Span::micros(1, 5),
                completion_latency: Span::micros(0, 3),
                refuse: Ppm::NEVER,
                short_send: Ppm::NEVER,
                short_receive: Ppm::NEVER,
                stream_error: Ppm::NEVER,
                accept_error: Ppm::NEVER,
                multishot_end: Ppm::NEVER,
                no_slot: Ppm::NEVER,
                cancel_late: Ppm::NEVER,
                cancel_late_by: Span::ZERO,
                notification: Span::micros(5, 50),
                notification_at_close: Ppm::NEVER,
                segmentation_refused_after: None,
                merge: Ppm::ALWAYS,
                datagram_send_error: Ppm::NEVER,
            },
            process: ProcessFaults {
                overshoot: Span::micros(0, 50),
                wake_early: Ppm::NEVER,
                deschedule: Ppm::NEVER,
                deschedule_for: Span::ZERO,
                wake_delay: Span::ZERO,
                wake_lost: Ppm::NEVER,
            },
            pipe: PipeFaults {
                latency: Span::micros(20, 60),
                buffer_bytes: (64 * 1024, 256 * 1024),
                reset_discards: Ppm::NEVER,
            },
            control: ControlFaults {
                answer: Span::micros(50, 500),
                late: Ppm::NEVER,
                late_by: Span::ZERO,
                twice: Ppm::NEVER,
                never: Ppm::NEVER,
                stalled: None,
            },
        }
    }

    /// Draws which faults exist in one world and how bad each is.
    #[must_use]
    pub fn swarm(rng: &mut Prng) -> Self {
        let mut faults = Self::none();
        faults.net = NetFaults::swarm(rng);
        faults.io = IoFaults::swarm(rng);
        let process = &mut faults.process;
        process.overshoot = exists(rng, || Span::millis(0, 30)).unwrap_or(process.overshoot);
        process.wake_early = often(rng, 300_000);
        process.deschedule = often(rng, 5_000);
        process.deschedule_for = Span::millis(20, 200);
        process.wake_delay = exists(rng, || Span::millis(0, 20)).unwrap_or(Span::ZERO);
        process.wake_lost = often(rng, 900_000);
        let pipe = &mut faults.pipe;
        pipe.latency = *rng.pick(&[Span::micros(0, 10), Span::micros(20, 200), Span::millis(1, 30)]);
        pipe.buffer_bytes =
            *rng.pick(&[(1, 64), (1_000, 5_000), (4_096, 65_536), (65_536, 262_144), (65_536, 262_144)]);
        pipe.reset_discards = often(rng, 1_000_000);
        let control = &mut faults.control;
        control.answer = *rng.pick(&[Span::micros(10, 100), Span::millis(1, 20), Span::millis(10, 400)]);
        control.late = often(rng, 200_000);
        control.late_by = Span::millis(4_000, 12_000);
        control.twice = often(rng, 500_000);
        control.never = often(rng, 200_000);
        control.stalled = exists(rng, || Span::millis(1, 300));
        faults
    }

    /// The same machine after the faults have ended: latencies and sizes stay, nothing fails any more.
    #[must_use]
    pub fn healed(&self) -> Self {
        let mut calm = Self::none();
        calm.net.delay = self.net.delay;
        // Where it grows again it may have done so; the links know, and keep what they have.
        let shrinks = self.net.mtu_shrink.filter(|_| self.net.mtu_grow.is_none());
        calm.net.mtu_bytes = shrinks.map_or(self.net.mtu_bytes, |(_, to)| to.min(self.net.mtu_bytes));
        calm.pipe.latency = self.pipe.latency;
        calm.io.notification = self.io.notification;
        calm
    }
}

impl NetFaults {
    fn swarm(rng: &mut Prng) -> Self {
        let mut net = Faults::none().net;
        net.delay = *rng.pick(&[
            Span::micros(20, 60),
            Span::micros(200, 500),
            Span::millis(1, 5),
            Span::millis(20, 40),
            Span::millis(5, 80),
        ]);
        net.loss = often(rng, 60_000);
        net.duplicate = often(rng, 100_000);
        net.reorder = often(rng, 200_000);
        net.reorder_delay = Span { min_ns: 1_000, max_ns: net.delay.max_ns * 3 };
        net.corrupt = often(rng, 20_000);
        net.ecn_wrong = often(rng, 300_000);
        net.unreachable_forged = often(rng, 20_000);
        net.mtu_bytes = *rng.pick(&[1_200, 1_252, 1_452, 1_472, 8_952, 65_507, 65_507]);
        net.mtu_shrink = exists(rng, || (Span::millis(100, 3_000), 1_200));
        net.rate = exists(rng, || (0, 0)).map(|_| {
            let rate = *rng.pick(&[300_000, 1_000_000, 10_000_000, 100_000_000]);
            (rate, rng.between(8_000, 400_000))
        });
        net.blackhole = rng.chance(Ppm::percent(25)).then(|| {
            (
                Span::millis(300, 4_000),
                *rng.pick(&[Span::millis(10, 500), Span::millis(200, 2_000), Span::millis(3_000, 9_000)]),
            )
        });
        net.rebind = rng.chance(Ppm::percent(25)).then(|| Span::millis(300, 4_000));
        net.misdirect = often(rng, 100_000);
        net
    }
}

impl IoFaults {
    fn swarm(rng: &mut Prng) -> Self {
        let calm = Faults::none().io;
        Self {
            op_latency: *rng.pick(&[
                calm.op_latency,
                Span::micros(0, 0),
                Span::micros(1, 500),
                Span::millis(0, 5),
            ]),
            completion_latency: *rng.pick(&[
                calm.completion_latency,
                Span::micros(0, 300),
                Span::millis(0, 4),
            ]),
            refuse: often(rng, 200_000),
            short_send: often(rng, 900_000),
            short_receive: often(rng, 900_000),
            stream_error: often(rng, 10_000),
            accept_error: often(rng, 200_000),
            multishot_end: often(rng, 500_000),
            no_slot: often(rng, 200_000),
            cancel_late: often(rng, 900_000),
            cancel_late_by: Span::micros(100, 50_000),
            notification: *rng.pick(&[
                calm.notification,
                Span::micros(0, 0),
                Span::millis(1, 30),
                Span::millis(10, 700),
            ]),
            notification_at_close: if rng.chance(Ppm::percent(15)) {
                Ppm(200 + u32::try_from(rng.below(20_000)).unwrap_or(0))
            } else {
                Ppm::NEVER
            },
            segmentation_refused_after: rng.chance(Ppm::percent(30)).then(|| Span::millis(0, 3_000)),
            merge: *rng.pick(&[Ppm::NEVER, Ppm::percent(50), Ppm::ALWAYS]),
            datagram_send_error: often(rng, 50_000),
        }
    }
}

/// Off in half of the worlds; otherwise anything up to `max_ppm`, the small values as likely as the large.
fn often(rng: &mut Prng, max_ppm: u64) -> Ppm {
    if rng.chance(Ppm::percent(50)) {
        return Ppm::NEVER;
    }
    let scale = *rng.pick(&[1, 10, 100]);
    Ppm(u32::try_from(rng.between(1, (max_ppm / scale).max(1))).unwrap_or(u32::MAX))
}

/// Something in a third of the worlds.
fn exists<T>(rng: &mut Prng, what: impl FnOnce() -> T) -> Option<T> {
    rng.chance(Ppm::percent(33)).then(what)
}
