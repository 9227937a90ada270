//! The two bounded queues between a shard and control. Only messages cross; whoever sends wakes the other side.

use std::collections::VecDeque;
use std::sync::Arc;

use adit_io::Wake;
use crossbeam_queue::ArrayQueue;

use crate::limits::MAILBOX_MESSAGES_MAX;
use crate::port::{Command, Event};

/// A queue was full: the message comes back.
#[derive(Debug)]
pub struct Full<T>(pub T);

/// Control's end.
#[derive(Debug)]
pub struct ShardHandle<S> {
    commands: Arc<ArrayQueue<Command<S>>>,
    events: Arc<ArrayQueue<Event>>,
    shard: Arc<dyn Wake>,
}

impl<S> ShardHandle<S> {
    /// Tells the shard something and wakes it.
    ///
    /// # Errors
    /// Hands the message back when [`MAILBOX_MESSAGES_MAX`] are waiting.
    pub fn send(&self, command: Command<S>) -> Result<(), Full<Command<S>>> {
        self.commands.push(command).map_err(Full)?;
        self.shard.wake();
        Ok(())
    }

    /// What the shard said, oldest first.
    #[must_use]
    pub fn try_recv(&self) -> Option<Event> {
        self.events.pop()
    }
}

/// The shard's end.
#[derive(Debug)]
pub struct ShardMailbox<S> {
    commands: Arc<ArrayQueue<Command<S>>>,
    events: Arc<ArrayQueue<Event>>,
    control: Arc<dyn Wake>,
    /// Events that must not be lost while control is slow. Bounded by what can cause them: tables have limits.
    unsent: VecDeque<Event>,
    dropped: u64,
}

/// Makes both ends. `shard` wakes the shard's driver, `control` whoever calls [`ShardHandle::try_recv`].
#[must_use]
pub fn pair<S>(shard: Arc<dyn Wake>, control: Arc<dyn Wake>) -> (ShardHandle<S>, ShardMailbox<S>) {
    let commands = Arc::new(ArrayQueue::new(MAILBOX_MESSAGES_MAX));
    let events = Arc::new(ArrayQueue::new(MAILBOX_MESSAGES_MAX));
    let handle = ShardHandle { commands: commands.clone(), events: events.clone(), shard };
    (handle, ShardMailbox { commands, events, control, unsent: VecDeque::new(), dropped: 0 })
}

impl<S> ShardMailbox<S> {
    /// The oldest command.
    pub(crate) fn try_recv(&mut self) -> Option<Command<S>> {
        self.commands.pop()
    }

    /// Whether commands are waiting.
    pub(crate) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Says something that must arrive.
    pub(crate) fn send(&mut self, event: Event) {
        self.unsent.push_back(event);
        self.flush();
    }

    /// Says something that may be dropped when control is slow.
    pub(crate) fn send_or_drop(&mut self, event: Event) {
        if !self.unsent.is_empty() || self.events.push(event).is_err() {
            self.dropped += 1;
        } else {
            self.control.wake();
        }
    }

    /// Tries again to hand over what waits. Called once a turn.
    pub(crate) fn flush(&mut self) {
        let mut sent = false;
        while let Some(event) = self.unsent.pop_front() {
            if let Err(event) = self.events.push(event) {
                self.unsent.push_front(event);
                break;
            }
            sent = true;
        }
        if sent {
            self.control.wake();
        }
    }

    /// Whether events wait for control to take some.
    pub(crate) fn is_behind(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Events dropped so far.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Command;

    #[derive(Debug)]
    struct NoWake;
    impl Wake for NoWake {
        fn wake(&self) {}
    }

    #[test]
    fn a_full_queue_hands_the_message_back_and_keeps_what_must_arrive() {
        let (handle, mut mailbox) = pair::<()>(Arc::new(NoWake), Arc::new(NoWake));
        for _ in 0..MAILBOX_MESSAGES_MAX {
            handle.send(Command::Stats).unwrap();
            mailbox.send(Event::Drained { cut: 0 });
        }
        assert!(handle.send(Command::Stats).is_err());
        mailbox.send(Event::Drained { cut: 7 });
        mailbox.send_or_drop(Event::Drained { cut: 8 });
        assert!(mailbox.is_behind());
        assert_eq!(mailbox.dropped(), 1);
        let first = std::iter::from_fn(|| handle.try_recv()).count();
        assert_eq!(first, MAILBOX_MESSAGES_MAX);
        mailbox.flush();
        assert!(matches!(handle.try_recv(), Some(Event::Drained { cut: 7 })));
        assert!(handle.try_recv().is_none());
    }
}
