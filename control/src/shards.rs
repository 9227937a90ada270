//! The shards' threads: one each, its driver made on it, its end noticed whatever the cause.
//!
//! Control keeps one [`ShardThread`] for each and speaks to it through the mailbox alone.

use std::collections::VecDeque;
use std::sync::Arc;

use adit_dataplane::config::{Role, ShardConfig};

use adit_dataplane::port::{Command, Event, ShardId};
use adit_dataplane::quic::QuicConfig;
use adit_dataplane::shard::Shard;
use adit_dataplane::shard::mailbox::{self, Full, ShardHandle};
use adit_io::epoll::EpollDriver;
use adit_io::net::OwnedSocket;
use adit_io::uring::UringDriver;
use adit_io::{DatagramDriver, DriverChoice, DriverConfig, DriverKind, ResourceLimits, Wake};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::memory::stopped_readers_budget_bytes;
use crate::metrics::DriverChosen;

/// Wakes the control loop; handed to every shard.
#[derive(Debug, Default)]
pub(crate) struct ControlWake(Notify);

impl ControlWake {
    /// Waits until a shard said something.
    pub(crate) async fn woken(&self) {
        self.0.notified().await;
    }
}

impl Wake for ControlWake {
    fn wake(&self) {
        self.0.notify_one();
    }
}

/// A shard's thread ended.
#[derive(Debug)]
pub(crate) struct ShardExit {
    /// Which.
    pub(crate) shard: ShardId,
    /// `Ok` after it drained; else what went wrong.
    pub(crate) result: Result<(), String>,
}

/// Control's view of one shard.
#[derive(Debug)]
pub(crate) struct ShardThread {
    /// Which.
    pub(crate) id: ShardId,
    /// What it runs on.
    pub(crate) driver: DriverChosen,
    handle: ShardHandle<OwnedSocket>,
    /// Wakes it, for other shards.
    waker: Arc<dyn Wake>,
    /// What the mailbox had no room for. Bounded by the shard's own questions; routes replace older routes.
    outbox: VecDeque<Command<OwnedSocket>>,
}

/// What a shard is made of, apart from its number.
#[derive(Debug)]
pub(crate) struct ShardPlan {
    /// Its number.
    pub(crate) id: ShardId,
    /// Shards of this process: it gets one of so many shares of descriptors, locked memory and budget.
    pub(crate) shards: u8,
    /// Whether its thread keeps to one CPU.
    pub(crate) pinned: bool,
    /// Server or agent.
    pub(crate) role: Role,
    /// Its QUIC endpoint.
    pub(crate) quic: QuicConfig,
    /// Its UDP socket, bound.
    pub(crate) udp: OwnedSocket,
    /// `--io`.
    pub(crate) io: DriverChoice,
}

impl ShardThread {
    /// Starts a shard and waits until its driver runs.
    ///
    /// # Errors
    /// The text to show: no thread, or no driver and what to do about it.
    pub(crate) async fn start(
        plan: ShardPlan,
        control: Arc<ControlWake>,
        exits: mpsc::Sender<ShardExit>,
    ) -> Result<Self, String> {
        let id = plan.id;
        let (started, wait) = oneshot::channel();
        std::thread::Builder::new()
            .name(format!("adit-shard-{}", id.0))
            .spawn(move || {
                let mut exit = ExitGuard { shard: id, result: Err("it panicked".to_owned()), exits };
                exit.result = run(plan, control, started);
            })
            .map_err(|error| format!("cannot start the thread of shard {}: {error}", id.0))?;
        let (handle, waker, driver) = wait
            .await
            .map_err(|_| format!("shard {} ended while it started", id.0))
            .and_then(|started| started)?;
        Ok(Self { id, driver, handle, waker, outbox: VecDeque::new() })
    }

    /// Tells the shard something: now, or as soon as its mailbox has room.
    pub(crate) fn send(&mut self, command: Command<OwnedSocket>) {
        if matches!(command, Command::Routes(_)) {
            self.outbox.retain(|waiting| !matches!(waiting, Command::Routes(_)));
        }
        self.outbox.push_back(command);
        self.flush();
    }

    /// Tries again what the mailbox had no room for.
    pub(crate) fn flush(&mut self) {
        while let Some(command) = self.outbox.pop_front() {
            if let Err(Full(command)) = self.handle.send(command) {
                self.outbox.push_front(command);
                return;
            }
        }
    }

    /// What wakes it.
    pub(crate) fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker)
    }

    /// Whether something waits for room.
    pub(crate) fn is_behind(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// What the shard said, oldest first.
    pub(crate) fn try_recv(&self) -> Option<Event> {
        self.handle.try_recv()
    }
}

/// Reports the thread's end, also when it panics (in release builds a panic ends the process itself).
struct ExitGuard {
    shard: ShardId,
    result: Result<(), String>,
    exits: mpsc::Sender<ShardExit>,
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        // There is room for every shard's end. The loop may have ended first: then nobody needs to know.
        let _ = self.exits.try_send(ShardExit { shard: self.shard, result });
    }
}

/// What the thread hands to control once its driver runs.
type Running = (ShardHandle<OwnedSocket>, Arc<dyn Wake>, DriverChosen);
type Started = oneshot::Sender<Result<Running, String>>;

/// The thread: makes the driver and the shard, tells control, takes turns until the shard has drained.
fn run(plan: ShardPlan, control: Arc<ControlWake>, started: Started) -> Result<(), String> {
    if plan.pinned
        && let Err(error) = crate::cpus::pin_this_thread(usize::from(plan.id.0))
    {
        tracing::warn!(shard = plan.id.0, %error, "cannot keep the shard to one CPU; the kernel moves it");
    }
    let config = DriverConfig::sized_for(ResourceLimits::current().share_of(plan.shards));
    let selected = adit_io::select(plan.io, &config).and_then(|selected| match selected.kind {
        DriverKind::Uring => match UringDriver::new(&config) {
            Ok(driver) => Ok((Some(driver), None)),
            // What the trial found may be gone again: locked memory is shared with others.
            Err(why) if plan.io == DriverChoice::Auto => Ok((None, Some(why))),
            Err(why) => Err(why),
        },
        _ => Ok((None, selected.fallback)),
    });
    match selected {
        Ok((Some(driver), _)) => run_on(driver, String::new(), plan, control, started),
        Ok((None, fallback)) => match EpollDriver::new(&config) {
            Ok(driver) => {
                let fallback = fallback.map_or_else(String::new, |why| why.to_string());
                run_on(driver, fallback, plan, control, started)
            }
            Err(error) => refuse(started, &error),
        },
        Err(error) => refuse(started, &error),
    }
}

/// Whoever starts the shard tells the operator.
fn refuse(started: Started, error: &dyn std::error::Error) -> Result<(), String> {
    let _ = started.send(Err(error.to_string()));
    Ok(())
}

fn run_on<D: DatagramDriver<Socket = OwnedSocket>>(
    driver: D,
    fallback: String,
    plan: ShardPlan,
    control: Arc<ControlWake>,
    started: Started,
) -> Result<(), String> {
    let chosen = DriverChosen { name: driver.capabilities().kind.as_str(), fallback };
    let waker = driver.waker();
    let (handle, mailbox) = mailbox::pair(Arc::clone(&waker), control);
    let config = ShardConfig {
        id: plan.id,
        role: plan.role,
        quic: plan.quic,
        seed: crate::random::bytes(),
        zero_copy: true,
        budget_bytes: stopped_readers_budget_bytes() / usize::from(plan.shards),
    };
    let mut shard = match Shard::new(config, driver, mailbox, plan.udp) {
        Ok(shard) => shard,
        Err(error) => return refuse(started, &error),
    };
    if started.send(Ok((handle, waker, chosen))).is_err() {
        return Ok(());
    }
    shard.run().map_err(|error| format!("its driver broke: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends a thread in this way and gives what control hears of it.
    fn ended(end: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), String> {
        let (exits, mut heard) = mpsc::channel(1);
        let thread = std::thread::spawn(move || {
            let mut exit = ExitGuard { shard: ShardId(3), result: Err("it panicked".to_owned()), exits };
            exit.result = end();
        });
        // A panic is what one of the cases is about.
        let _ = thread.join();
        let exit = heard.try_recv().expect("control hears of every end");
        assert_eq!(exit.shard, ShardId(3));
        exit.result
    }

    #[test]
    fn control_hears_how_a_shard_ended() {
        assert_eq!(ended(|| Ok(())), Ok(()));
        assert_eq!(ended(|| Err("its driver broke".to_owned())), Err("its driver broke".to_owned()));
        assert_eq!(ended(|| panic!("a broken invariant")), Err("it panicked".to_owned()));
    }
}
