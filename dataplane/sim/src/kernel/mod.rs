//! Operations of simulated processes: the table of what is in flight, and how each ends.
//!
//! The rules are those of `adit-io`; how unpleasant an ending may be is in [`crate::faults`]. [`crate::driver`] is
//! the thin front of this that a shard sees.

mod complete;
mod datagram;
mod slots;
mod stream;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use adit_io::{Close, OpKind, Outcome, Refusal, SlotSize, SocketId, Token};

use crate::clock::SimTime;
use crate::net::{Event, HostId, Owner, SimNet, SimSocket, SocketKind};
use crate::rng::{Ppm, Span};
use crate::tally::Family;
pub(crate) use complete::Ready;
pub(crate) use slots::SlotPool;
pub(crate) use stream::Work;

/// Sizes of one simulated process and what its kernel offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverConfig {
    /// Sockets that the table holds.
    pub sockets_max: usize,
    /// Operations in flight; beyond it submissions are refused.
    pub ops_max: usize,
    /// Stream receive slots of [`SlotSize::Small`].
    pub small_slots: usize,
    /// Stream receive slots of [`SlotSize::Large`].
    pub large_slots: usize,
    /// Datagram receive slots.
    pub datagram_slots: usize,
    /// Most segments of one send.
    pub gso_segments_max: usize,
    /// Whether receives may be merged.
    pub gro: bool,
    /// Whether zero copy is offered.
    pub zero_copy: bool,
    /// Datagram sends that may be outstanding at once; one more is reported as a violation.
    pub trains_max: usize,
    /// Those of them that may ask for zero copy; likewise.
    pub lent_trains_max: usize,
    /// Whether a turn moves the clock by itself, for use without a world.
    pub free_running: bool,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            sockets_max: 1024,
            ops_max: 4096,
            small_slots: 64,
            large_slots: 16,
            datagram_slots: 32,
            gso_segments_max: 64,
            gro: true,
            zero_copy: true,
            trains_max: usize::MAX,
            lent_trains_max: usize::MAX,
            free_running: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// An attempt is scheduled.
    Scheduled,
    /// It waits for its socket.
    Waiting,
    /// It ended; the final completion is not delivered yet.
    Done,
}

#[derive(Debug)]
pub(crate) struct OpEntry {
    pub(crate) token: Token,
    pub(crate) kind: OpKind,
    pub(crate) socket: Option<SimSocket>,
    pub(crate) work: Work,
    pub(crate) state: State,
    pub(crate) cancel_asked: bool,
    /// Completions of one operation become visible in order.
    pub(crate) visible_from: SimTime,
}

#[derive(Debug, Default)]
struct TableSlot {
    generation: u32,
    socket: Option<SimSocket>,
}

/// A process as its kernel sees it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) host: HostId,
    pub(crate) config: DriverConfig,
    table: Vec<TableSlot>,
    pub(crate) ops: BTreeMap<u64, OpEntry>,
    next_op: u64,
    pub(crate) ready: BinaryHeap<Reverse<Ready>>,
    pub(crate) ready_seq: u64,
    pub(crate) delivered_seq: u64,
    pub(crate) small: SlotPool,
    pub(crate) large: SlotPool,
    pub(crate) datagram: SlotPool,
    pub(crate) segmentation_refused_from: Option<SimTime>,
    pub(crate) parked_notifications: usize,
    /// Datagram sends outstanding, and those of them whose buffer is lent.
    trains: usize,
    lent_trains: usize,
    pub(crate) alive: bool,
    /// What the last turn waits for; `None`: run again at once.
    pub(crate) sleep_until: Option<SimTime>,
    pub(crate) not_before: SimTime,
    pub(crate) wake_seen_at: Option<SimTime>,
}

impl Process {
    pub(crate) fn sockets_open(&self) -> usize {
        self.table.iter().filter(|slot| slot.socket.is_some()).count()
    }

    pub(crate) fn socket(&self, id: SocketId) -> Option<SimSocket> {
        let slot = self.table.get(id.index() as usize)?;
        if slot.generation == id.generation() { slot.socket } else { None }
    }

    pub(crate) fn pool(&mut self, size: SlotSize) -> &mut SlotPool {
        match size {
            SlotSize::Small => &mut self.small,
            SlotSize::Large => &mut self.large,
        }
    }
}

impl SimNet {
    pub(crate) fn new_process(&mut self, host: HostId, config: DriverConfig) -> usize {
        let after = self.faults.io.segmentation_refused_after;
        let now = self.time();
        let segmentation_refused_from = after.map(|span| now.plus_ns(self.io_rng.span(span)));
        self.processes.push(Process {
            host,
            config,
            table: Vec::new(),
            ops: BTreeMap::new(),
            next_op: 1,
            ready: BinaryHeap::new(),
            ready_seq: 0,
            delivered_seq: 0,
            small: SlotPool::new(config.small_slots, SlotSize::Small.bytes()),
            large: SlotPool::new(config.large_slots, SlotSize::Large.bytes()),
            datagram: SlotPool::new(config.datagram_slots, 64 * 1024),
            segmentation_refused_from,
            parked_notifications: 0,
            trains: 0,
            lent_trains: 0,
            alive: true,
            sleep_until: None,
            not_before: now,
            wake_seen_at: None,
        });
        self.processes.len() - 1
    }

    /// Puts a socket into a process's table at the lowest free index; `None` when the table is full.
    pub(crate) fn adopt_socket(&mut self, pid: usize, socket: SimSocket) -> Option<SocketId> {
        let process = &mut self.processes[pid];
        let index =
            process.table.iter().position(|slot| slot.socket.is_none()).unwrap_or(process.table.len());
        if index >= process.config.sockets_max {
            return None;
        }
        if index == process.table.len() {
            process.table.push(TableSlot::default());
        }
        let slot = &mut process.table[index];
        slot.socket = Some(socket);
        let id = SocketId::new(u32::try_from(index).ok()?, slot.generation);
        if slot.generation > 0 {
            self.tally.hit(Family::SocketIdReused);
        }
        self.sockets.get_mut(socket)?.owner = Owner::Process(pid);
        Some(id)
    }

    /// Takes a socket out of the table; its id is stale from now on.
    pub(crate) fn unlist_socket(&mut self, pid: usize, id: SocketId) -> Option<SimSocket> {
        let process = &mut self.processes[pid];
        let socket = process.socket(id)?;
        let slot = process.table.get_mut(id.index() as usize)?;
        slot.socket = None;
        slot.generation = slot.generation.wrapping_add(1);
        Some(socket)
    }

    /// Whether a submission is refused, for lack of room or by chance.
    pub(crate) fn refuses(&mut self, pid: usize) -> Option<Refusal> {
        let process = &self.processes[pid];
        if process.ops.len() >= process.config.ops_max {
            return Some(Refusal::Full);
        }
        if self.io_chance(|io| io.refuse) {
            self.hit(Family::SubmissionRefused);
            return Some(Refusal::Full);
        }
        None
    }

    /// Takes an operation in; its first attempt is scheduled.
    pub(crate) fn start_op(
        &mut self,
        pid: usize,
        token: Token,
        kind: OpKind,
        socket: Option<SimSocket>,
        work: Work,
    ) {
        self.check_contract(pid, token, kind, socket, &work);
        let process = &mut self.processes[pid];
        let op = process.next_op;
        process.next_op += 1;
        let entry = OpEntry {
            token,
            kind,
            socket,
            work,
            state: State::Scheduled,
            cancel_asked: false,
            visible_from: SimTime(0),
        };
        process.ops.insert(op, entry);
        if let Some(socket) = socket.and_then(|socket| self.sockets.get_mut(socket)) {
            socket.ops.push(op);
        }
        self.note("submit", token.0, kind as u64);
        let after = self.io_span(|faults| faults.io.op_latency);
        self.schedule_in(after, Event::Try { pid, op });
    }

    /// What the driver's rules ask of the caller (R3, R5, sizes) is checked here, where breaking it is a finding.
    fn check_contract(
        &mut self,
        pid: usize,
        token: Token,
        kind: OpKind,
        socket: Option<SimSocket>,
        work: &Work,
    ) {
        let process = &self.processes[pid];
        let mut broken = Vec::new();
        let same =
            |entry: &OpEntry| entry.socket.is_some() && entry.socket == socket && entry.state != State::Done;
        for entry in process.ops.values() {
            if entry.token == token {
                broken.push(format!(
                    "R5: {token:?} is used for {kind:?} while {:?} is outstanding",
                    entry.kind
                ));
            }
            if same(entry) && entry.work.is_receive() && work.is_receive() {
                broken.push(format!("R3: a second receive on {socket:?}"));
            }
            if same(entry) && entry.work.is_stream_send() && work.is_stream_send() {
                broken.push(format!("R3: a second send on {socket:?}"));
            }
        }
        if let Work::Send { data, .. } = work
            && (data.is_empty()
                || data.len() > adit_io::Op::SEND_PIECES_MAX
                || data.iter().any(bytes::Bytes::is_empty))
        {
            broken.push(format!("a send of {} pieces, or of an empty one", data.len()));
        }
        self.count_train(pid, work, &mut broken);
        for text in broken {
            self.violation(text);
        }
    }

    /// The shard's own bounds on what the kernel holds of it.
    fn count_train(&mut self, pid: usize, work: &Work, broken: &mut Vec<String>) {
        let Work::DatagramSend { transmit, .. } = work else { return };
        let process = &mut self.processes[pid];
        process.trains += 1;
        process.lent_trains += usize::from(transmit.zero_copy);
        if process.trains > process.config.trains_max {
            broken.push(format!(
                "{} trains are in flight, {} may be",
                process.trains, process.config.trains_max
            ));
        }
        if process.lent_trains > process.config.lent_trains_max {
            let (lent, most) = (process.lent_trains, process.config.lent_trains_max);
            broken.push(format!("{lent} zero-copy trains are without their notification, {most} may be"));
        }
    }

    /// The socket's state changed: what waits for it is attempted again, soon.
    pub(crate) fn retry(&mut self, pid: usize, op: u64) {
        let Some(entry) = self.processes[pid].ops.get_mut(&op) else { return };
        if entry.state != State::Waiting || entry.work.waits_for_no_socket() {
            return;
        }
        entry.state = State::Scheduled;
        let after = self.io_span(|faults| faults.io.op_latency);
        self.schedule_in(after, Event::Try { pid, op });
    }

    /// Attempts an operation.
    pub(crate) fn try_op(&mut self, pid: usize, op: u64) {
        let Some(mut entry) = self.processes[pid].ops.remove(&op) else { return };
        if entry.state == State::Scheduled {
            entry.state = State::Waiting;
            self.perform(pid, op, &mut entry);
        }
        self.processes[pid].ops.insert(op, entry);
    }

    /// Asks for the cancellation of whatever carries this token when the request arrives in the kernel.
    pub(crate) fn ask_cancel(&mut self, pid: usize, token: Token) {
        for entry in self.processes[pid].ops.values_mut() {
            if entry.token == token {
                entry.cancel_asked = true;
            }
        }
        let mut after = self.io_span(|faults| faults.io.op_latency);
        if self.io_chance(|io| io.cancel_late) {
            after += self.io_span(|faults| faults.io.cancel_late_by);
            self.hit(Family::CancelLate);
        }
        self.note("cancel", token.0, after);
        self.schedule_in(after, Event::Cancel { pid, token: token.0 });
    }

    pub(crate) fn cancel_token(&mut self, pid: usize, token: u64) {
        let found = self.processes[pid]
            .ops
            .iter()
            .find(|(_, entry)| entry.token.0 == token && entry.state != State::Done);
        match found.map(|(op, _)| *op) {
            Some(op) => self.cancel_op(pid, op),
            None => self.hit(Family::CancelNotFound),
        }
    }

    /// Cancels an operation, unless it wins the race.
    pub(crate) fn cancel_op(&mut self, pid: usize, op: u64) {
        let Some(mut entry) = self.processes[pid].ops.remove(&op) else { return };
        if entry.state == State::Scheduled && self.io_rng.chance(Ppm::percent(50)) {
            // An attempt is under way: it may succeed before the cancellation takes hold.
            self.schedule_in(1_000, Event::CancelOp { pid, op });
            entry.state = State::Waiting;
            self.perform(pid, op, &mut entry);
        } else if entry.state != State::Done
            && !matches!(entry.work, Work::Notify { .. } | Work::DatagramNotify { .. })
        {
            self.complete_cancelled(pid, op, &mut entry);
        }
        self.processes[pid].ops.insert(op, entry);
    }

    /// Closes a socket of a process: its operations are cancelled, and the last of them closes it.
    pub(crate) fn close_of_process(&mut self, pid: usize, id: SocketId, how: Close) -> bool {
        let Some(socket) = self.unlist_socket(pid, id) else { return false };
        let Some(entry) = self.sockets.get_mut(socket) else { return true };
        entry.closing = Some(how);
        let ops = entry.ops.clone();
        self.note("close asked", socket.trace_id(), ops.len() as u64);
        if ops.is_empty() {
            self.close(socket, how);
            return true;
        }
        for op in ops {
            if let Some(entry) = self.processes[pid].ops.get_mut(&op) {
                entry.cancel_asked = true;
            }
            let after = self.io_span(|faults| faults.io.op_latency);
            self.schedule_in(after, Event::CancelOp { pid, op });
            self.schedule_in(after, Event::Notify { pid, op });
        }
        true
    }

    /// The process ends: its kernel frees what it had in flight and closes its sockets.
    pub(crate) fn kill_process(&mut self, pid: usize) {
        let process = &mut self.processes[pid];
        process.alive = false;
        process.ready.clear();
        let ops = std::mem::take(&mut process.ops);
        for (op, entry) in ops {
            self.check_buffer(pid, op, &entry.work);
            // Connections that were accepted and never reported are in the table; one under way is nobody's.
        }
        let owned: Vec<SimSocket> = self
            .sockets
            .iter()
            .filter(|(_, entry)| entry.owner == Owner::Process(pid))
            .map(|(socket, _)| socket)
            .collect();
        self.note("exit", pid as u64, owned.len() as u64);
        for socket in owned {
            let how = self.sockets.get(socket).and_then(|entry| entry.closing).unwrap_or(Close::Graceful);
            self.close(socket, how);
        }
        self.processes[pid].table.clear();
    }

    /// A process of several drivers has ended: what they had passed to each other and not taken is closed.
    pub(crate) fn close_passed(&mut self, host: HostId) {
        let waiting: Vec<SimSocket> = self
            .sockets
            .iter()
            .filter(|(_, entry)| entry.host == host && entry.owner == Owner::Detached)
            .filter(|(_, entry)| matches!(entry.kind, SocketKind::Stream { .. }))
            .map(|(socket, _)| socket)
            .collect();
        for socket in waiting {
            self.close(socket, Close::Graceful);
        }
    }

    /// Draws how a turn that found nothing to do will be woken, given its deadline.
    pub(crate) fn fall_asleep(&mut self, pid: usize, deadline: Option<SimTime>) {
        let faults = self.faults.process.clone();
        let now = self.time();
        let mut until = deadline;
        if let Some(at) = deadline {
            let late = self.process_rng.span(faults.overshoot);
            if late > 1_000_000 {
                self.hit(Family::DeadlineOvershot);
            }
            until = Some(at.plus_ns(late));
        }
        if self.process_rng.chance(faults.wake_early) {
            let limit = until.map_or(1_000_000_000, |at| at.0.saturating_sub(now.0));
            until = Some(now.plus_ns(self.process_rng.between(0, limit)));
            self.hit(Family::WokenEarly);
        }
        self.processes[pid].sleep_until = Some(until.unwrap_or(SimTime(u64::MAX)));
    }

    /// Draws how long the process's own work takes, and whether the machine takes the core away after it.
    pub(crate) fn spend_time(&mut self, pid: usize) {
        let faults = self.faults.process.clone();
        let mut busy = self.process_rng.span(Span::micros(1, 10));
        if self.process_rng.chance(faults.deschedule) {
            busy += self.process_rng.span(faults.deschedule_for);
            self.hit(Family::Descheduled);
        }
        self.processes[pid].not_before = self.time().plus_ns(busy);
    }

    /// When the process can run next. `woken`: its [`adit_io::Wake`] was used since its last turn.
    pub(crate) fn runnable_at(&mut self, pid: usize, woken: bool) -> Option<SimTime> {
        let now = self.time();
        if woken && self.processes[pid].wake_seen_at.is_none() {
            let span = self.faults.process.wake_delay;
            let after = self.process_rng.span(span);
            if after > 0 {
                self.hit(Family::WakeDelayed);
            }
            self.processes[pid].wake_seen_at = Some(now.plus_ns(after));
        }
        let process = &self.processes[pid];
        if !process.alive {
            return None;
        }
        let ready = process.ready.peek().map(|Reverse(ready)| ready.at);
        let asleep = process.sleep_until.unwrap_or(SimTime(0));
        let due = [ready, process.wake_seen_at, Some(asleep)].into_iter().flatten().min()?;
        if due.0 == u64::MAX { None } else { Some(due.max(process.not_before)) }
    }

    /// Hands over what is visible by now.
    pub(crate) fn take_ready(
        &mut self,
        pid: usize,
        max: usize,
        mut deliver: impl FnMut(Token, bool, OpKind, Outcome),
    ) -> usize {
        let now = self.time();
        let mut taken = 0;
        while taken < max {
            let process = &mut self.processes[pid];
            if process.ready.peek().is_none_or(|Reverse(next)| next.at > now) {
                break;
            }
            let Some(Reverse(ready)) = process.ready.pop() else { break };
            if ready.seq < process.delivered_seq {
                self.tally.hit(Family::CompletionsReordered);
            }
            let process = &mut self.processes[pid];
            process.delivered_seq = process.delivered_seq.max(ready.seq);
            if !ready.more {
                let entry = process.ops.remove(&ready.op);
                process.trains -=
                    usize::from(matches!(ready.kind, OpKind::SendDatagrams | OpKind::SendDatagramsZeroCopy));
                process.lent_trains -= usize::from(ready.kind == OpKind::SendDatagramsZeroCopy);
                self.let_go_of_socket(entry, ready.op);
            }
            self.note("complete", ready.token.0, u64::from(ready.more));
            deliver(ready.token, ready.more, ready.kind, ready.outcome);
            taken += 1;
        }
        taken
    }

    fn let_go_of_socket(&mut self, entry: Option<OpEntry>, op: u64) {
        let Some(socket) = entry.and_then(|entry| entry.socket) else { return };
        let Some(state) = self.sockets.get_mut(socket) else { return };
        state.ops.retain(|other| *other != op);
        if state.ops.is_empty()
            && let Some(how) = state.closing
        {
            self.close(socket, how);
        }
    }
}
