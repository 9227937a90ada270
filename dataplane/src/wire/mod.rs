//! `adit/1` on the wire: control messages, stream headers and dial answers (`docs/PROTOCOL.md`).


/// An agent's first message on the control stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    /// `--agent-id`: stable over restarts.
    #[prost(string, tag = "1")]
    pub agent_id: String,
    /// New per process start.
    #[prost(bytes = "vec", tag = "2")]
    pub instance_id: Vec<u8>,
    /// Which of the agent's connections this is.
    #[prost(uint32, tag = "3")]
    pub connection_index: u32,
    /// `--agent-identifiers`, as the URL query that Konnectivity's agents send.
    #[prost(string, tag = "4")]
    pub identifiers: String,
    /// A bearer token, empty if none. Never logged.
    #[prost(string, tag = "5")]
    pub token: String,
    /// The agent's version, for people.
    #[prost(string, tag = "6")]
    pub version: String,
    /// Optional abilities offered.
    #[prost(uint64, tag = "7")]
    pub features: u64,
}

/// The server's answer to [`Hello`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Welcome {
    /// `--server-id`.
    #[prost(string, tag = "1")]
    pub server_id: String,
    /// New per process start of the server.
    #[prost(bytes = "vec", tag = "2")]
    pub instance_id: Vec<u8>,
    /// `--server-count`: servers that the agent should hold connections to.
    #[prost(uint32, tag = "3")]
    pub server_count: u32,
    /// Shards of this server: how many connections spread evenly.
    #[prost(uint32, tag = "4")]
    pub shards: u32,
    /// Abilities taken from those offered.
    #[prost(uint64, tag = "5")]
    pub features: u64,
    /// The server's version, for people.
    #[prost(string, tag = "6")]
    pub version: String,
}

