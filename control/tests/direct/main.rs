//! The program from outside: server and agents as processes of their own, spoken to as kube-apiserver speaks to
//! them. Every test has its own processes, free ports and temporary directory, and a deadline for each wait.

/// Makes tests of functions that are given the agents' `--transport`: each promise holds over QUIC and over TCP.
macro_rules! over_each_transport {
    ($($name:ident),+ $(,)?) => {
        mod over_quic {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name("quic").await;
                }
            )+
        }
        mod over_tcp {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name("tcp").await;
                }
            )+
        }
    };
}

mod agents;
mod answers;
mod demo;
mod denied;
mod drain;
mod endpoints;
mod forward;
mod grpc;
mod leaks;
mod leases;
mod lifecycle;
mod pki;
mod routing;
mod shards;
mod support;
mod tls;
mod tokens;
mod tunnels;
