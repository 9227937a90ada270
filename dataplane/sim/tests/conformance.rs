//! The suite that every driver passes, run on the simulated one: calm, and with everything unpleasant that the
//! contract allows and the suite does not exclude by what it asserts.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use adit_io::conformance::Harness;
use adit_io::{Driver, DriverKind, SocketId, Wake};
use adit_sim::driver::{DriverConfig, SimDriver};
use adit_sim::faults::Faults;
use adit_sim::net::{Address, HostId, SimNet, SimSocket};
use adit_sim::pipe::PipeKind;
use adit_sim::rng::{Ppm, Span};

struct Sim {
    net: Rc<RefCell<SimNet>>,
    host: HostId,
}

impl Sim {
    fn new(seed: u64, faults: Faults) -> Self {
        let net = SimNet::shared(seed, faults, 0);
        let host = net.borrow_mut().add_host(&["10.0.0.1".parse().expect("a literal")], None);
        Self { net, host }
    }

    /// Everything that may happen to operations without making a case's own expectation wrong. (That a short
    /// message is sent or received whole is what many cases take for granted on an idle connection.)
    fn nasty(seed: u64) -> Self {
        let mut faults = Faults::none();
        faults.io.op_latency = Span::micros(0, 500);
        faults.io.completion_latency = Span::micros(0, 500);
        faults.io.cancel_late = Ppm::percent(50);
        faults.io.cancel_late_by = Span::micros(1, 5_000);
        faults.io.notification = Span::millis(0, 20);
        faults.process.overshoot = Span::millis(0, 2);
        faults.pipe.latency = Span::micros(0, 2_000);
        faults.pipe.buffer_bytes = (200_000, 400_000);
        Self::new(seed, faults)
    }

    fn start(&self, config: DriverConfig) -> SimDriver {
        SimDriver::new(&self.net, self.host, DriverConfig { free_running: true, ..config })
    }

    fn adopt(driver: &mut SimDriver, socket: SimSocket) -> SocketId {
        driver.adopt(socket).expect("the table has room")
    }

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn bound(&self, driver: &mut SimDriver) -> (SocketId, SocketAddr) {
        let socket = self.net.borrow_mut().bind_udp(self.host, Self::loopback(0)).expect("a free port");
        let id = Self::adopt(driver, socket);
        (id, driver.local_addr(id).expect("bound"))
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let net = self.net.borrow();
            assert!(net.violations().is_empty(), "{:?}", net.violations());
        }
    }
}

impl Harness for Sim {
    type D = SimDriver;
    const KIND: DriverKind = DriverKind::Sim;

    fn driver(&self) -> SimDriver {
        self.start(DriverConfig {
            small_slots: 64,
            large_slots: 64,
            datagram_slots: 64,
            ..DriverConfig::default()
        })
    }

    fn small_driver(&self) -> SimDriver {
        self.start(DriverConfig {
            sockets_max: 16,
            ops_max: 100,
            small_slots: 4,
            large_slots: 4,
            datagram_slots: 4,
            ..DriverConfig::default()
        })
    }

    fn stream_pair(&self, driver: &mut SimDriver) -> (SocketId, SocketId) {
        let (a, b) = self.net.borrow_mut().pair(PipeKind::Unix, self.host);
        (Self::adopt(driver, a), Self::adopt(driver, b))
    }

    fn tcp_pair(&self, driver: &mut SimDriver) -> (SocketId, SocketId) {
        let (a, b) = self.net.borrow_mut().pair(PipeKind::Tcp, self.host);
        (Self::adopt(driver, a), Self::adopt(driver, b))
    }

    fn listener(&self, driver: &mut SimDriver) -> (SocketId, SocketAddr) {
        let at = Address::Inet(Self::loopback(0));
        let socket = self.net.borrow_mut().listen(self.host, at, 64).expect("a free port");
        let id = Self::adopt(driver, socket);
        (id, driver.local_addr(id).expect("bound"))
    }

    fn udp_pair(&self, driver: &mut SimDriver) -> ((SocketId, SocketAddr), (SocketId, SocketAddr)) {
        (self.bound(driver), self.bound(driver))
    }

    fn refusing_tcp_addr(&self, _driver: &mut SimDriver) -> SocketAddr {
        Self::loopback(9)
    }

    fn unreachable_udp_addr(&self, _driver: &mut SimDriver) -> SocketAddr {
        Self::loopback(9)
    }

    fn wake_from_elsewhere(&self, wake: Arc<dyn Wake>) {
        wake.wake();
    }
}

mod calm {
    use super::*;
    adit_io::conformance!(Sim::new(1, Faults::none()));
}

mod nasty {
    use super::*;
    adit_io::conformance!(Sim::nasty(2));
}

mod nastier {
    use super::*;
    adit_io::conformance!(Sim::nasty(3));
}
