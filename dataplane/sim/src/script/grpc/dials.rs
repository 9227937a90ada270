//! Dials: from the call to its answer, and clients that do not wait for it.

use adit_dataplane::http2::{self, NotOpened};
use adit_dataplane::konnectivity::Packet;
use adit_io::Close;

use super::call::Call;
use super::link::Link;
use super::packets::{Over, State};
use crate::net::SimNet;

/// How far a dial has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialed {
    /// It was not answered yet.
    Waiting,
    /// DIAL_RSP, without an error or with this one.
    Answered(Result<(), String>),
    /// It will not be answered: the client cut its connection.
    Cut,
    /// It will not be answered.
    Over,
}

/// How a client takes its leave of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// DIAL_CLS, and the end of its side.
    Cancels,
    /// The stream is reset.
    Resets,
    /// The connection is cut. Of one that is reused, only the stream is reset.
    Cuts,
}

impl Link {
    /// Calls the server, and asks for a connection to `address` if one is named. False when that is not possible for
    /// now.
    pub fn dial(&self, net: &mut SimNet, script: u32, authority: &str, address: Option<&str>) -> bool {
        {
            let shared = &mut *self.0.borrow_mut();
            if shared.connect(net, script).is_err() {
                return false;
            }
            let Some(open) = &mut shared.open else { return false };
            let call = http2::Call {
                scheme: "http",
                authority,
                path: "/ProxyService/Proxy",
                user_agent: "grpc-go/adit-sim",
                metadata: &[],
            };
            let stream = match open.channel.http2.open(call) {
                Ok(stream) => stream,
                // Another connection follows when this one has ended.
                Err(NotOpened::Leaving | NotOpened::Full(_)) => return false,
                Err(error @ NotOpened::Invalid(_)) => panic!("the request is valid: {error}"),
            };
            // Different for each, and of any sign, as konnectivity-client draws them.
            let random = i64::from_le_bytes(net.net_rng.draw().to_le_bytes());
            let mut state = State::new(stream, open.number, random);
            if let Some(address) = address {
                let (protocol, address) = ("tcp".to_owned(), address.to_owned());
                state.say(&Packet::DialReq { protocol, address, random });
            }
            shared.calls.insert(script, state);
        }
        self.pump(net, script);
        true
    }

    /// The connection that carries a client's call.
    #[must_use]
    pub fn connection(&self, script: u32) -> Option<u64> {
        self.0.borrow().calls.get(&script)?.connection
    }

    /// Whether everything that was said is on its way.
    #[must_use]
    pub fn is_flushed(&self, script: u32) -> bool {
        self.has_sent(script) && self.0.borrow().open.as_ref().is_some_and(|open| open.channel.is_flushed())
    }

    /// How far a client's dial has come.
    #[must_use]
    pub fn dialed(&self, script: u32) -> Dialed {
        match self.0.borrow().calls.get(&script) {
            Some(State { answer: Some(answer), .. }) => Dialed::Answered(answer.clone()),
            Some(State { over: None, .. }) => Dialed::Waiting,
            Some(State { over: Some(Over::Cut), .. }) => Dialed::Cut,
            Some(_) | None => Dialed::Over,
        }
    }

    /// The call behind a dial that went well.
    #[must_use]
    pub fn call(&self, script: u32) -> Call {
        Call { link: self.clone(), script, connection: self.connection(script) }
    }

    /// Nobody needs a call any more that was never a connection.
    pub fn release(&self, net: &mut SimNet, script: u32) {
        if let Some(call) = self.0.borrow_mut().calls.get_mut(&script) {
            call.released = true;
        }
        self.pump(net, script);
    }

    /// Takes leave of a dial that was not answered.
    pub fn part(&self, net: &mut SimNet, script: u32, how: Parting) {
        {
            let shared = &mut *self.0.borrow_mut();
            let reused = shared.reused;
            let Some(call) = shared.calls.get_mut(&script) else { return };
            call.released = true;
            match how {
                Parting::Cancels => {
                    call.say(&Packet::DialCls { random: call.random });
                    call.cancelled = true;
                }
                Parting::Cuts if !reused => shared.leave(net, Close::Reset, &Over::GivenUp),
                Parting::Cuts | Parting::Resets => shared.reset(script),
            }
        }
        self.pump(net, script);
    }
}
