//! The program from outside: server and agents as processes of their own, spoken to as kube-apiserver speaks to
//! them. Every test has its own processes, free ports and temporary directory, and a deadline for each wait.

mod agents;
mod answers;
mod demo;
mod denied;
mod drain;
mod endpoints;
mod forward;
mod leaks;
mod lifecycle;
mod routing;
mod shards;
mod support;
mod tls;
mod tunnels;
