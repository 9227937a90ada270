//! Networks: what lies between the load's side (near) and the target's (far).
//!
//! | name | what |
//! |---|---|
//! | `loopback` | one namespace, near and far are the same |
//! | `veth-1500`, `veth-9000` | two namespaces and a pair of devices with this MTU |
//! | `loss-1` | `veth-1500` without segmentation offloads, on which each side drops 1 % of the packets it receives |
//! | `delay-20ms` | two namespaces joined by [`crate::forwarder`]: 10 ms each way |
//!
//! In each of our namespaces the congestion control is set and not assumed, ports wait shortly before they are used
//! again (a dial a fiftieth of a millisecond would use them up), and the suite's own ports are out of the kernel's way.

use std::fmt;
use std::io;
use std::time::Duration;

use super::process::{Running, Start, until};
use super::spec::Side;
use crate::netns::{self, Netns};

/// The near side's address where there are two.
const NEAR: &str = "10.83.0.1";
/// The far side's.
const FAR: &str = "10.83.0.2";
/// What both ends of the wire are called.
const DEVICE: &str = "w0";
/// Ports that the kernel gives out; below them are the suite's.
const EPHEMERAL_PORTS: &str = "15000 65000";
/// `delay-20ms`, one way.
const DELAY: &str = "10ms";
/// How long the forwarder may take to begin.
const FORWARDER_WITHIN: Duration = Duration::from_secs(5);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Network {
    /// One namespace.
    Loopback,
    /// A wire with Ethernet's MTU.
    #[value(name = "veth-1500")]
    Veth1500,
    /// A wire with jumbo frames.
    #[value(name = "veth-9000")]
    Veth9000,
    /// A wire that loses 1 % of the packets each way.
    #[value(name = "loss-1")]
    Loss1,
    /// A wire on which a round trip takes 20 ms.
    #[value(name = "delay-20ms")]
    Delay20ms,
}

impl Network {
    /// All, in the order in which they are measured.
    pub const ALL: [Self; 5] = [Self::Loopback, Self::Veth1500, Self::Veth9000, Self::Loss1, Self::Delay20ms];

    /// Its name on the command line and in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Veth1500 => "veth-1500",
            Self::Veth9000 => "veth-9000",
            Self::Loss1 => "loss-1",
            Self::Delay20ms => "delay-20ms",
        }
    }

    /// Of its devices, in bytes.
    #[must_use]
    pub const fn mtu(self) -> u32 {
        match self {
            Self::Loopback => 65_536,
            Self::Veth9000 => 9000,
            Self::Veth1500 | Self::Loss1 | Self::Delay20ms => 1500,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A network that exists, until it is dropped. What runs in it has to end first.
#[derive(Debug)]
pub struct Wired {
    forwarder: Option<Running>,
    near: Option<Netns>,
    far: Option<Netns>,
    /// The congestion control that TCP sockets have in it; `None` where the machine's was left alone.
    pub congestion: Option<String>,
}

impl Wired {
    /// Loopback as it is, without a namespace: what anybody may use.
    #[must_use]
    pub const fn bare() -> Self {
        Self { forwarder: None, near: None, far: None, congestion: None }
    }

    /// Makes one (root).
    ///
    /// # Errors
    /// What `ip`, `nft`, `ethtool` or the kernel complains about.
    pub async fn make(network: Network, congestion: Option<&str>, start: &Start<'_>) -> io::Result<Self> {
        let mut wired = Self { near: Some(Netns::create("near")?), ..Self::bare() };
        if network != Network::Loopback {
            wired.far = Some(Netns::create("far")?);
        }
        for netns in wired.near.iter().chain(&wired.far) {
            netns.set("ipv4.ip_local_port_range", EPHEMERAL_PORTS)?;
            netns.set("ipv4.tcp_tw_reuse", "1")?;
            wired.congestion = Some(set_congestion(netns, congestion)?);
        }
        if let (Some(near), Some(far)) = (&wired.near, &wired.far) {
            if network == Network::Delay20ms {
                tun(near)?;
                tun(far)?;
                wired.forwarder = Some(forward(near, far, start).await?);
            } else {
                let pair =
                    ["link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", far.name()];
                near.ip(&pair)?;
            }
            for (netns, address) in [(near, NEAR), (far, FAR)] {
                up(netns, address, network.mtu())?;
                if network == Network::Loss1 {
                    lose(netns)?;
                }
            }
        }
        Ok(wired)
    }

    /// The namespace of a side, where there is one.
    #[must_use]
    pub fn side(&self, side: Side) -> Option<&Netns> {
        match side {
            Side::Near => self.near.as_ref(),
            Side::Far => self.far.as_ref().or(self.near.as_ref()),
        }
    }

    /// The address of a side.
    #[must_use]
    pub const fn address(&self, side: Side) -> &'static str {
        match (side, &self.far) {
            (_, None) => "127.0.0.1",
            (Side::Near, Some(_)) => NEAR,
            (Side::Far, Some(_)) => FAR,
        }
    }

    /// Whether it has namespaces of its own.
    #[must_use]
    pub const fn is_apart(&self) -> bool {
        self.near.is_some()
    }

    /// The process that joins the two sides, where there is one: it works while a sample is taken.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.forwarder.as_ref().map(Running::pid)
    }
}

/// Whether this process may make networks of its own, or what is missing, in one line.
///
/// # Errors
/// That line.
pub fn may_make() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not root, so no network namespaces can be made".to_owned());
    }
    for (program, package) in [("ip", "iproute2"), ("nft", "nftables"), ("ethtool", "ethtool")] {
        if netns::find_program(program).is_none() {
            return Err(format!(
                "{program} is missing, so no networks can be made: install {package}, or run cargo xtask set-up"
            ));
        }
    }
    Ok(())
}

/// Sets what was asked for, or else cubic, or else (a namespace may only have what the machine allows everybody) Reno.
fn set_congestion(netns: &Netns, asked: Option<&str>) -> io::Result<String> {
    const NAME: &str = "ipv4.tcp_congestion_control";
    let Some(asked) = asked else {
        let set = |name: &str| netns.set(NAME, name).map(|()| name.to_owned());
        return set("cubic").or_else(|_| set("reno"));
    };
    netns.set(NAME, asked).map(|()| asked.to_owned()).map_err(|error| {
        let remedy = "a namespace may only use what /proc/sys/net/ipv4/tcp_allowed_congestion_control lists: add it \
                      there, or leave --congestion out";
        io::Error::new(error.kind(), format!("{error} ({remedy})"))
    })
}

fn tun(netns: &Netns) -> io::Result<()> {
    netns.ip(&["tuntap", "add", "dev", DEVICE, "mode", "tun"]).map(drop)
}

async fn forward(near: &Netns, far: &Netns, start: &Start<'_>) -> io::Result<Running> {
    let words = [
        start.bench,
        "forwarder",
        "--near",
        near.name(),
        "--far",
        far.name(),
        "--device",
        DEVICE,
        "--delay",
        DELAY,
    ];
    let command: Vec<String> = words.map(str::to_owned).to_vec();
    let mut running = Running::start("forwarder", &command, None, start.dir)?;
    let ready = |running: &mut Running| Ok(running.log().contains("forwarding").then_some(()));
    until(&mut running, FORWARDER_WITHIN, ready).await.map_err(io::Error::other)?;
    Ok(running)
}

fn up(netns: &Netns, address: &str, mtu: u32) -> io::Result<()> {
    netns.ip(&["addr", "add", &format!("{address}/24"), "dev", DEVICE])?;
    netns.ip(&["link", "set", DEVICE, "mtu", &mtu.to_string(), "up"]).map(drop)
}

/// Drops one packet in a hundred. Trains are cut up before the wire: otherwise what is dropped would be 64 KiB at once.
fn lose(netns: &Netns) -> io::Result<()> {
    let off = ["-K", DEVICE, "tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off"];
    netns.run("ethtool", &off, "")?;
    let rules = format!(
        "table inet adit_bench {{\n counter seen {{\n }}\n counter lost {{\n }}\n\
         chain incoming {{\n type filter hook input priority 0;\n iifname \"{DEVICE}\" counter name seen\n\
         iifname \"{DEVICE}\" numgen random mod 100 < 1 counter name lost drop\n}}\n}}\n"
    );
    netns.run("nft", &["-f", "-"], &rules).map(drop)
}
