//! `adit demo --keep`: leaves everything up until Ctrl-C and says what can be tried, with `adit` and curl alone.

use std::net::TcpListener;

use super::cluster::Cluster;
use crate::shutdown::Signals;

/// Prints commands and waits for a signal.
///
/// # Errors
/// The text to show, when a process ends before.
pub(crate) async fn wait(cluster: &mut Cluster, signals: &mut Signals) -> Result<(), String> {
    crate::print_line(&commands(cluster)?);
    tokio::select! {
        died = cluster.any_ended() => Err(died),
        _ = signals.next() => Ok(()),
    }
}

fn commands(cluster: &Cluster) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let program = program.display();
    let places = cluster.places()?;
    let socket = places.socket.display();
    // Free at this moment; good enough for a command that a person is about to copy.
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(|e| e.to_string())?.port();
    let (https, ca) = (places.target.https, cluster.path("target-ca.crt"));
    let mut out = format!(
        "  everything stays up until Ctrl-C. Try:\n\n\
         # a local port whose connections go through the tunnel, and a request through it\n\
         {program} forward --uds-name {socket} --target {https} --listen 127.0.0.1:{port} &\n\
         curl -s --cacert {} https://localhost:{port}/bytes/64 --output - | head -c 64 | od -c | head -3\n\n\
         # the same to a port that nobody holds: forward shows what the proxy answered\n\
         {program} forward --uds-name {socket} --target 127.0.0.1:1\n\n\
         # who is ready, and what was counted\n",
        ca.display()
    );
    for ports in &places.ports {
        out.push_str(&format!("curl 'http://{}/readyz?verbose'    # {}\n", ports.health, ports.name));
        out.push_str(&format!("curl http://{}/metrics\n", ports.admin));
    }
    Ok(out)
}
