//! The machine and the moment.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{SystemTime, UNIX_EPOCH};

use procfs::Current;

use crate::record::Stamp;
use crate::sockets;

/// Reads what can be read; what cannot is `unknown`, as a missing file is no reason to lose a measurement.
pub(super) fn stamp(congestion_control: Option<&str>, more: &BTreeMap<String, String>) -> Stamp {
    let unknown = || "unknown".to_owned();
    let cpu = procfs::CpuInfo::current().ok().and_then(|info| info.model_name(0).map(str::to_owned));
    Stamp {
        unix_seconds: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        cpu: cpu.unwrap_or_else(unknown),
        cores: std::thread::available_parallelism()
            .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        congestion_control: in_force(congestion_control).unwrap_or_else(|_| unknown()),
        more: more.clone(),
    }
}

/// What a TCP socket made as the generator makes them has, in this namespace.
fn in_force(wanted: Option<&str>) -> std::io::Result<String> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    if let Some(name) = wanted {
        sockets::set_congestion_control(&socket, name)?;
    }
    sockets::congestion_control(&socket)
}
