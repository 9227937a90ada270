//! Every bound of the data plane, in one place, with the relations between them proved at compile time.
//!
//! A limit that is reached means backpressure or a typed refusal; nothing here grows. `docs/ARCHITECTURE.md`
//! shows who holds what. Sizes are in bytes, times in [`Duration`]s, and `_MAX` is hard.

use std::time::Duration;

// ---- Before a peer is known ----------------------------------------------------------------------------------

/// Longest request head of a CONNECT: request line, headers and the empty line.
pub const CONNECT_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Most headers in a CONNECT head.
pub const CONNECT_HEADERS_MAX: usize = 64;
/// From accept to the end of the head.
pub const CONNECT_HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// TLS frontends of one shard whose handshake is under way, at most; beyond it a new one is closed at accept.
pub const FRONTEND_HANDSHAKES_MAX: usize = 1024;
/// The same for agents over TCP.
pub const AGENT_HANDSHAKES_MAX: usize = 1024;
/// From accept, or from the beginning of an attempt to connect, to the end of the TLS handshake over TCP.
pub const TCP_HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes of a peer's part of one TLS handshake over TCP, records and all: long chains of large certificates fit. Also
/// what may wait for the rest of one message after it.
pub const TLS_HANDSHAKE_BYTES_MAX: usize = 64 * 1024;
/// Records of an established TLS peer over TCP that carry no payload (empty ones, renewals of keys, tickets, warnings),
/// beyond as many as carry some. OpenSSL, BoringSSL and rustls allow 32 of one kind in a row.
pub const TLS_EMPTY_RECORDS_MAX: usize = 64;
/// Longest reason phrase in an answer.
pub const REASON_PHRASE_BYTES_MAX: usize = 256;
/// Connections whose QUIC handshake is under way; beyond it a client must prove its address (Retry, RFC 9000
/// section 8.1.2).
pub const HANDSHAKES_BEFORE_RETRY: usize = 64;
/// Connections whose QUIC handshake is under way, at most; beyond it an Initial is refused.
pub const HANDSHAKES_MAX: usize = 1024;
/// From the first packet to the end of the handshake.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// From the end of the handshake to a complete Hello, and from Hello to a verdict of control.
pub const HELLO_TIME_MAX: Duration = Duration::from_secs(5);
/// Connection-level flow-control window towards a peer that is not welcome yet.
pub const UNWELCOME_WINDOW_BYTES: u32 = 64 * 1024;

// ---- A tunnel ------------------------------------------------------------------------------------------------

/// Per-stream flow-control window: what a stopped reader may cost, and what a round trip may carry.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Unacknowledged bytes that one QUIC connection keeps for retransmission.
pub const SEND_WINDOW_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes read from a socket that its stream has not taken yet, at which reading stops.
pub const INGRESS_PENDING_BYTES_TARGET: usize = 64 * 1024;
/// Bytes taken from a stream for one vectored send to the socket.
pub const EGRESS_BATCH_BYTES_MAX: usize = 256 * 1024;
/// Every CONNECT is answered within this time.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// What the agent's dial (resolution and connect) may take.
pub const AGENT_DIAL_TIME_MAX: Duration = Duration::from_secs(5);
/// Between attempts at a name's addresses (RFC 8305 section 5).
pub const DIAL_FALLBACK_DELAY: Duration = Duration::from_millis(250);
/// How long a refused frontend may take to read its answer and close.
pub const LINGER_TIME_MAX: Duration = Duration::from_secs(1);
/// First and longest pause between looks at whether a frontend has read its answer (D15).
pub const ANSWER_POLL_MIN: Duration = Duration::from_micros(100);
/// See [`ANSWER_POLL_MIN`].
pub const ANSWER_POLL_MAX: Duration = Duration::from_millis(10);
/// Between the sight of a read answer and the first byte behind it. The kernel shows the answer as taken a moment
/// before the read that took it looks for more (`unix_stream_read_generic`, Linux net/unix/af_unix.c), and its waking
/// of the sender makes that moment longer: a byte sent within it comes out of the same read.
pub const ANSWER_SETTLE_TIME: Duration = Duration::from_millis(2);
/// A reader that has not taken a batch for this long counts as stopped when memory is short.
pub const STOPPED_AFTER: Duration = Duration::from_secs(1);
/// How long a target may keep a tunnel whose frontend has gone altogether (as FIN_WAIT2 is limited, tcp(7)).
pub const ORPHAN_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a dial waits for a place for its socket, where the table or the descriptors are used up.
pub const SOCKET_WAIT_MAX: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
pub const DIAL_ADDRESSES_MAX: usize = 8;

// ---- A connection between server and agent -------------------------------------------------------------------

/// Streams that an agent grants the server at first; doubles as they are used.
pub const AGENT_STREAMS_INITIAL: u32 = 1024;
/// Streams that an agent grants the server at most.
pub const AGENT_STREAMS_MAX: u32 = 65_536;
/// Longest control message and longest stream header or dial response, length prefix excluded.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Silence after which an agent sends a keep-alive. One that has nothing to say finds out no sooner that no UDP passes
/// any more, and its tunnels are to be over TCP within 5 s.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_millis(2500);
/// Silence after which a connection is closed.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(15);
/// Silence after which a connection over QUIC is closed although its peer is there over TCP meanwhile: a network that
/// lets no UDP through for a moment cuts nothing.
pub const HELD_TIME_MAX: Duration = Duration::from_secs(30);
/// Unanswered data after which a connection is suspect, at least; three PTOs if that is longer.
pub const SUSPECT_AFTER_MIN: Duration = Duration::from_secs(1);
/// Unanswered data after which a connection is suspect, at most, once something was heard of its peer; two round trips
/// if that is longer (docs/adr/0010-suspicion-has-a-limit.md).
pub const SUSPECT_AFTER_MAX: Duration = Duration::from_secs(2);
/// Unanswered data after which a connection is closed, unless its peer is there over TCP ([`HELD_TIME_MAX`]).
pub const UNANSWERED_TIME_MAX: Duration = Duration::from_secs(5);
/// Data that is not acknowledged, while other things are received, after which a connection is closed; twice the time
/// after which it would be closed in silence, if that is longer.
pub const UNACKNOWLEDGED_TIME_MAX: Duration = Duration::from_secs(15);
/// Longest pause between a connection's probes while something is not acknowledged, so that it notices the end of an
/// outage; a PTO if that is longer.
pub const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// Moves of a peer to another address (RFC 9000 section 9) within [`MIGRATIONS_WINDOW`], at most; a NAT that forgets
/// every few seconds makes fewer. quinn-proto remembers each until something is acknowledged.
pub const MIGRATIONS_MAX: u32 = 64;
/// Moves of a peer to another address without any acknowledgement between them, at most. (An acknowledgement that tells
/// nothing new counts as well, for quinn-proto does not tell them apart: then [`MIGRATIONS_MAX`] is the bound.)
pub const MIGRATIONS_UNANSWERED_MAX: u32 = 8;
/// See [`MIGRATIONS_MAX`].
pub const MIGRATIONS_WINDOW: Duration = Duration::from_secs(60);
/// Stream bytes that may wait for stopped readers, for one connection.
pub const CONNECTION_BUDGET_BYTES: usize = 1280 * 1024 * 1024;
/// Stream bytes that may wait for stopped readers, for the whole process; less where the cgroup's memory is less.
pub const PROCESS_BUDGET_BYTES: usize = 1536 * 1024 * 1024;

/// Connections that an agent keeps when it follows the server's shard count.
pub const AGENT_CONNECTIONS_AUTO_MAX: u32 = 4;
/// One attempt of an agent to connect to one address of a server, until Welcome.
pub const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(3);
/// How much earlier than TCP an agent tries QUIC, where it may use both and does not know which works (RFC 8305 section
/// 8 recommends 250 ms between two addresses).
pub const QUIC_HEAD_START: Duration = Duration::from_millis(250);
/// Between two looks whether UDP passes again, while an agent that may use both is connected over TCP; shortened at
/// random by up to a half.
pub const QUIC_PROBE_INTERVAL: Duration = Duration::from_secs(30);
/// Servers of Konnectivity that an agent keeps connections to, at most, whatever their count says.
pub const OLD_SERVERS_MAX: u32 = 64;
/// Failed attempts in a row that follow each other at the plain retry interval; then it doubles.
pub const PLAIN_RETRIES: u32 = 10;

// ---- Text from peers -----------------------------------------------------------------------------------------

/// Longest `host:port`: a name of 253 bytes with its final dot, a colon, five digits.
pub const TARGET_BYTES_MAX: usize = 260;
/// Longest text for people that is kept of what a peer says: errors, reasons, versions.
pub const PEER_TEXT_BYTES_MAX: usize = 320;
/// Most characters of a value that the text of an error shows.
pub const SHOWN_CHARACTERS_MAX: usize = 64;
/// Longest `--agent-id` and `--server-id`.
pub const AGENT_ID_BYTES_MAX: usize = 256;
/// Longest id of a process's instance.
pub const INSTANCE_ID_BYTES_MAX: usize = 32;
/// Longest `--agent-identifiers`.
pub const IDENTIFIERS_BYTES_MAX: usize = 8 * 1024;
/// Most values in `--agent-identifiers`.
pub const IDENTIFIERS_MAX: usize = 256;
/// Longest name of a realm.
pub const REALM_BYTES_MAX: usize = 63;
/// Longest W3C `traceparent`; that of version 00 has 55 bytes.
pub const TRACEPARENT_BYTES_MAX: usize = 128;
/// Longest name that is kept of a TLS frontend's certificate, each.
pub const FRONTEND_NAME_BYTES_MAX: usize = 256;
/// Alternative names that are kept of a TLS frontend's certificate.
pub const FRONTEND_NAMES_MAX: usize = 8;
/// Longest answer to a CONNECT, head and body: Go clients read more, but need not.
pub const ANSWER_BYTES_MAX: usize = 511;

// ---- A shard -------------------------------------------------------------------------------------------------

/// Completions taken in one turn.
pub const COMPLETIONS_PER_TURN_MAX: usize = 1024;
/// Mailbox messages taken in one turn.
pub const COMMANDS_PER_TURN_MAX: usize = 256;
/// Messages that a mailbox holds, each way.
pub const MAILBOX_MESSAGES_MAX: usize = 4096;
/// Round trips between what a socket's peer said last and the reset of the stream behind it.
pub const LAST_WORDS_ROUND_TRIPS: u32 = 3;
/// The same at least: the receiver must not find both in one batch of datagrams after a pause.
pub const LAST_WORDS_TIME_MIN: Duration = Duration::from_millis(50);
/// The same at most.
pub const LAST_WORDS_TIME_MAX: Duration = Duration::from_secs(1);
/// Tunnels of one shard, pending and established.
pub const TUNNELS_MAX: usize = 65_536;
/// QUIC connections of one shard.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Datagram trains handed to the kernel and not completed, at most.
pub const TRAINS_IN_FLIGHT_MAX: usize = 64;
/// Bytes of one train: below the largest UDP payload over IPv4 (65,507), whatever the segment size.
pub const TRAIN_BYTES_MAX: usize = 65_500;
/// Trains that one connection may send before others get their turn.
pub const TRAINS_PER_DRIVE_MAX: usize = 8;
/// Pause before a listener whose accept failed (EMFILE and the like) is armed again.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Pause before a receive that found no slot is tried again.
pub const STARVED_PAUSE: Duration = Duration::from_millis(1);
/// Listeners of one shard.
pub const LISTENERS_MAX: usize = 64;
/// Tunnels worked on in one turn.
pub const TUNNELS_PER_TURN_MAX: usize = 1024;
/// Trains sent with zero copy whose notification is awaited, at most: if it never came, the rest would go on.
pub const ZERO_COPY_TRAINS_MAX: usize = TRAINS_IN_FLIGHT_MAX / 2;
/// Bytes of one train from which zero copy is asked for.
pub const ZERO_COPY_BYTES_MIN: usize = 16 * 1024;
/// What one stopped reader is charged: its stream's window and the batch on its way to the socket.
pub const STOPPED_READER_BYTES: usize = STREAM_WINDOW_BYTES as usize + EGRESS_BATCH_BYTES_MAX;
/// Frontend connections that other shards passed to one shard and that it has not taken, at most; more are answered
/// with 503.
pub const PASSED_CONNECTIONS_MAX: usize = 1024;
/// Connections, and as many datagrams, taken from other shards in one turn.
pub const PASSED_PER_TURN_MAX: usize = 256;
/// Bytes of one direction of a stream that cross to another shard and were not taken there, at most. That of a stream's
/// batch is what it costs beside them.
pub const RELAY_WINDOW_BYTES: usize = 256 * 1024;
/// What a message that crosses counts at least, whatever it carries: its place in the queue.
pub const RELAY_MESSAGE_COST_BYTES: usize = 512;
/// Messages about streams that cross to one shard and that it has not taken; more wait at their senders.
pub const RELAY_MESSAGES_MAX: usize = 8192;
/// Pause before a shard that has not taken what it was given is woken once more.
pub const WAKE_AGAIN_PAUSE: Duration = Duration::from_millis(10);
/// Most shards of a process: connection IDs carry the shard in five bits.
pub const SHARDS_MAX: usize = 32;

/// Datagrams that the QUIC endpoint answers by itself (Retry, refusal, version negotiation, stateless reset) and that
/// wait to be sent; more are dropped.
pub const RESPONSES_MAX: usize = 256;
/// First packets that could not become a connection and whose reason waits to be told; more are only counted.
pub const REJECTIONS_MAX: usize = 64;
/// Datagrams of other shards that wait to be forwarded to them, and those that wait for one shard to take them; more
/// are dropped, as the network might.
pub const STRAYS_MAX: usize = 1024;

// ---- GRPC mode: one stream of Konnectivity's protocol ----------------------------------------------------------

/// Longest gRPC message that is taken: grpc-go's own limit, and therefore what every Go peer may send.
pub const GRPC_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one stream that wait to become messages, at most: an unfinished message and a window behind it.
pub const GRPC_BUFFER_BYTES_MAX: usize = 2 * GRPC_MESSAGE_BYTES_MAX;
/// Pieces in which bytes of one stream wait; more are made one, so that a peer that sends single bytes pins nothing.
pub const GRPC_PIECES_MAX: usize = 64;
/// Payload of one DATA that is sent. Konnectivity's server sends as much, its agent 4 KiB.
pub const GRPC_DATA_BYTES_MAX: usize = 32 * 1024;
/// Bytes of DATA that wait for a stream's window, at which nothing more is taken from its tunnels.
pub const GRPC_SEND_PENDING_BYTES_TARGET: usize = 64 * 1024;
/// The same in messages.
pub const GRPC_SEND_PENDING_MESSAGES_MAX: usize = 64;
/// Answers and events of one stream that wait to be taken, at which no more of its packets are read.
pub const GRPC_REPLIES_MAX: usize = 64;
/// Dials and connections of one stream. Every client of Konnectivity's has one.
pub const GRPC_DIALS_PER_STREAM_MAX: usize = 16;
/// Dials and connections of one old agent, over its one stream.
pub const LEGACY_CONNECTIONS_MAX: usize = 4096;
/// Silence of an old agent behind a dial, after which it is asked whether it is there: it gives a dial 5 s
/// (konnectivity's `pkg/agent`), and says something then at the latest.
pub const LEGACY_DIAL_SILENCE_MAX: Duration = Duration::from_secs(6);
/// Bytes of DATA that wait for an old agent's window, at which nothing more is taken from its tunnels.
pub const LEGACY_SEND_BYTES_TARGET: usize = 1024 * 1024;
/// How often an old server is asked whether it is there, at most: its limit is one PING in 30 s (grpc-go's
/// `keepalive.EnforcementPolicy`, MinTime), and on the way one may be late and the next may not.
pub const OLD_SERVER_PING_INTERVAL_MIN: Duration = Duration::from_secs(35);
/// Longest credentials in the metadata of an old agent, `Bearer ` included.
pub const AGENT_TOKEN_BYTES_MAX: usize = 6 * 1024;
/// Longest name of a protocol in a dial; `tcp` is the only one that is served.
pub const DIAL_PROTOCOL_BYTES_MAX: usize = 32;

// ---- HTTP/2 (docs/adr/0009-http2.md) --------------------------------------------------------------------------

/// Streams that a peer may have open at once on one connection (SETTINGS_MAX_CONCURRENT_STREAMS, RFC 9113 section
/// 6.5.2). kube-apiserver's reusable tunnel has one for each of its connections, and grpc-go waits where it is short.
pub const HTTP2_STREAMS_MAX: u32 = 4096;
/// What a peer may send on one stream before what is behind it took anything (RFC 9113 section 6.9.2).
pub const HTTP2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// What a peer may send on all streams together before this end looked at it. It is given back on receipt, so that
/// streams that nobody reads stop nobody else.
pub const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// The same between two of adit's ends, whose streams' windows are [`STREAM_WINDOW_BYTES`]: the most that there can be
/// (RFC 9113 section 6.9.1), so that it never binds. It costs nothing, as what nobody looked at yet waits in TCP; and a
/// finite one would hold all tunnels together to so much in a round trip.
pub const HTTP2_PIPES_CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;
/// Windows are given back in steps of at least this: a step for each frame collapses into tiny windows.
pub const HTTP2_CREDIT_BYTES_MIN: usize = 32 * 1024;
/// Longest frame (SETTINGS_MAX_FRAME_SIZE, RFC 9113 section 6.5.2: the default), without its header.
pub const HTTP2_FRAME_BYTES_MAX: usize = 16 * 1024;
/// Longest list of header fields, decoded (SETTINGS_MAX_HEADER_LIST_SIZE, RFC 9113 section 6.5.2). An agent's
/// identifiers and its token fit.
pub const HTTP2_HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Longest header block, encoded, in all its frames.
pub const HTTP2_HEADER_BLOCK_BYTES_MAX: u32 = 16 * 1024;
/// CONTINUATION frames of one header block (CVE-2024-27316 and its relatives: there was no bound).
pub const HTTP2_CONTINUATIONS_MAX: u32 = 8;
/// From the header of a HEADERS frame to the end of its block.
pub const HTTP2_HEADER_BLOCK_TIME_MAX: Duration = Duration::from_secs(5);
/// From the start to the end of the peer's first SETTINGS (RFC 9113 section 3.4).
pub const HTTP2_PREFACE_TIME_MAX: Duration = Duration::from_secs(10);
/// From the start to the acknowledgement of our SETTINGS (RFC 9113 section 6.5.3).
pub const HTTP2_SETTINGS_ACK_TIME_MAX: Duration = Duration::from_secs(20);
/// Between the announcement of a drain and the refusal of new streams, where the peer does not answer the PING behind
/// it (RFC 9113 section 6.8).
pub const HTTP2_GOAWAY_TIME_MAX: Duration = Duration::from_secs(1);
/// From a PING to the next sign of life, whatever it is (gRPC's `KEEPALIVE_TIMEOUT`). With the silence before it this
/// is how long a peer that vanished goes unnoticed.
pub const HTTP2_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Output that waits to be written, at which nothing more is received and no payload is taken.
pub const HTTP2_OUTPUT_BYTES_TARGET: usize = 256 * 1024;
/// Output at which nothing more is received, between two of adit's ends. Were it where no more payload is taken, two
/// ends that send at once would each wait for the other to receive. What receiving alone puts out (windows given back,
/// acknowledgements) is too little to get from there to here before the other end goes on.
pub const HTTP2_PIPES_OUTPUT_BYTES_MAX: usize = 2 * HTTP2_OUTPUT_BYTES_TARGET;
/// What one tunnel between two of adit's ends may add to the output before another has its turn, where others wait.
pub const PIPES_TURN_BYTES: usize = 32 * 1024;
/// Received pieces that are shorter are put together where more than one waits, so that a window of single bytes does
/// not cost an allocation for each.
pub const PIPES_PIECE_BYTES_MIN: usize = 4 * 1024;
/// The time that the budgets below are for, each for one connection. Past its budget a peer is told ENHANCE_YOUR_CALM.
pub const HTTP2_BUDGET_WINDOW: Duration = Duration::from_secs(10);
/// RST_STREAM of streams on which nothing was sent yet, or that are closed, and streams that we must reset because of
/// what the peer sent (CVE-2023-44487, rapid reset; CVE-2025-8671). All dials of a connection may be given up at once.
pub const HTTP2_RESETS_MAX: u32 = HTTP2_STREAMS_MAX;
/// PING (CVE-2019-9512), beyond one for each DATA frame that was sent: grpc-go measures round trips with them.
pub const HTTP2_PINGS_MAX: u32 = 100;
/// SETTINGS (CVE-2019-9515). grpc-go changes its window as often as that doubles.
pub const HTTP2_SETTINGS_FRAMES_MAX: u32 = 64;
/// WINDOW_UPDATE, beyond two for each DATA frame that was sent.
pub const HTTP2_WINDOW_UPDATES_MAX: u32 = 4096;
/// A DATA frame that is shorter because the windows are earns nobody a PING or WINDOW_UPDATE (CVE-2019-9511).
pub const HTTP2_EARNING_BYTES_MIN: usize = 1024;
/// PINGs and WINDOW_UPDATEs that sent DATA frames have earned and that were not used, at most.
pub const HTTP2_EARNED_MAX: u32 = 65_536;
/// PRIORITY and PRIORITY_UPDATE (CVE-2019-9513; RFC 9113 section 5.3.2 deprecates them).
pub const HTTP2_PRIORITIES_MAX: u32 = 256;
/// Frames of types that nobody knows (RFC 9113 section 4.1: ignored).
pub const HTTP2_UNKNOWN_FRAMES_MAX: u32 = 64;
/// DATA frames without payload and without END_STREAM (CVE-2019-9518).
pub const HTTP2_EMPTY_DATA_MAX: u32 = 100;
/// Header blocks of closed streams: they are decoded, for the state of HPACK, and come to nothing (RFC 9113 section
/// 4.3).
pub const HTTP2_STRAY_HEADERS_MAX: u32 = 256;
/// GOAWAY.
pub const HTTP2_GOAWAYS_MAX: u32 = 8;
/// Longest text of a gRPC status, before it is percent-encoded.
pub const HTTP2_STATUS_MESSAGE_BYTES_MAX: usize = 1024;

// ---- Path MTU ------------------------------------------------------------------------------------------------

/// UDP payload that every path must carry (RFC 9000 section 14).
pub const MTU_INITIAL: u16 = 1200;
/// Largest UDP payload ever tried.
pub const MTU_MAX: u16 = 65_468;

const _: () = {
    // A stream header must fit the window of a peer that is not welcome yet.
    assert!(MESSAGE_BYTES_MAX + 64 < UNWELCOME_WINDOW_BYTES as usize);
    // One connection may not take the whole process's budget, and a budget is worth at least 1,000 stopped readers.
    assert!(CONNECTION_BUDGET_BYTES < PROCESS_BUDGET_BYTES);
    assert!(CONNECTION_BUDGET_BYTES / STOPPED_READER_BYTES >= 1000);
    // The agent's dial ends before the frontend must be answered, twice over: one retry on another agent fits.
    assert!(AGENT_DIAL_TIME_MAX.as_millis() * 2 < ANSWER_TIME_MAX.as_millis());
    // A keep-alive and three repetitions fit into the idle time.
    assert!(KEEP_ALIVE_INTERVAL.as_millis() * 3 < IDLE_TIME_MAX.as_millis());
    assert!(IDLE_TIME_MAX.as_millis() < HELD_TIME_MAX.as_millis());
    assert!(
        (KEEP_ALIVE_INTERVAL.as_millis() + SUSPECT_AFTER_MIN.as_millis() + QUIC_HEAD_START.as_millis())
            < 4000
    );
    // Between suspicion and the end there is time to reach the peer another way.
    assert!(SUSPECT_AFTER_MIN.as_millis() < SUSPECT_AFTER_MAX.as_millis());
    assert!(SUSPECT_AFTER_MAX.as_millis() * 2 < UNANSWERED_TIME_MAX.as_millis());
    // A connection is probed several times before it is given up.
    assert!(UNANSWERED_TIME_MAX.as_millis() * 2 <= UNACKNOWLEDGED_TIME_MAX.as_millis());
    assert!(PROBE_INTERVAL_MAX.as_millis() * 4 < UNANSWERED_TIME_MAX.as_millis());
    // A dial's header fits a message; so does a Hello, with 6 KiB left for a token.
    assert!(TARGET_BYTES_MAX + TRACEPARENT_BYTES_MAX + REALM_BYTES_MAX + 64 < MESSAGE_BYTES_MAX);
    assert!(IDENTIFIERS_BYTES_MAX + AGENT_ID_BYTES_MAX + PEER_TEXT_BYTES_MAX + 6 * 1024 < MESSAGE_BYTES_MAX);
    // An error about the longest target still says what is wrong with it.
    assert!(PEER_TEXT_BYTES_MAX >= TARGET_BYTES_MAX + 32);
    assert!(REASON_PHRASE_BYTES_MAX + 128 < ANSWER_BYTES_MAX);
    assert!(MTU_MAX as usize <= TRAIN_BYTES_MAX);
    assert!(MTU_INITIAL <= MTU_MAX);
    assert!(EGRESS_BATCH_BYTES_MAX <= STREAM_WINDOW_BYTES as usize);
    // A TLS record with its header and the most that encryption may add (RFC 5246 section 6.2.3) fits what may wait.
    assert!(5 + 16 * 1024 + 2048 < TLS_HANDSHAKE_BYTES_MAX);
    assert!(FRONTEND_HANDSHAKES_MAX < TUNNELS_MAX);
    // The longest message and a stream's window behind it can wait; two DATA fill what may wait the other way.
    assert!(GRPC_MESSAGE_BYTES_MAX + HTTP2_STREAM_WINDOW_BYTES as usize <= GRPC_BUFFER_BYTES_MAX);
    assert!(GRPC_DATA_BYTES_MAX * 2 <= GRPC_SEND_PENDING_BYTES_TARGET);
    assert!(GRPC_DATA_BYTES_MAX + 64 < GRPC_MESSAGE_BYTES_MAX);
    // A window can be given back before it is used up, and a stream is no reason to stop the connection.
    assert!(2 * HTTP2_CREDIT_BYTES_MIN <= HTTP2_STREAM_WINDOW_BYTES as usize);
    assert!(HTTP2_STREAM_WINDOW_BYTES <= HTTP2_CONNECTION_WINDOW_BYTES);
    assert!(2 * HTTP2_CREDIT_BYTES_MIN <= STREAM_WINDOW_BYTES as usize);
    assert!(HTTP2_OUTPUT_BYTES_TARGET < HTTP2_PIPES_OUTPUT_BYTES_MAX);
    // There is room for somebody's turn, and for whoever was not called.
    assert!(2 * PIPES_TURN_BYTES <= HTTP2_OUTPUT_BYTES_TARGET);
    assert!(REASON_PHRASE_BYTES_MAX + 32 <= PEER_TEXT_BYTES_MAX);
    // Encoding makes no list longer: in it each field counts 32 bytes more than it has (RFC 9113 section 6.5.2).
    assert!(HTTP2_HEADER_BLOCK_BYTES_MAX <= HTTP2_HEADER_LIST_BYTES_MAX);
    assert!(HTTP2_STATUS_MESSAGE_BYTES_MAX * 3 < HTTP2_HEADER_LIST_BYTES_MAX as usize);
    assert!(HTTP2_PREFACE_TIME_MAX.as_millis() <= HTTP2_SETTINGS_ACK_TIME_MAX.as_millis());
    // What an old agent says of itself fits a list of header fields, each counting 32 bytes more than it has.
    assert!(
        AGENT_ID_BYTES_MAX + IDENTIFIERS_BYTES_MAX + AGENT_TOKEN_BYTES_MAX + 1024
            <= HTTP2_HEADER_LIST_BYTES_MAX as usize
    );
    // An old agent that is deaf is given up before its dials have waited too long: they may go to another.
    assert!(
        LEGACY_DIAL_SILENCE_MAX.as_millis() + HTTP2_KEEP_ALIVE_TIMEOUT.as_millis()
            < ANSWER_TIME_MAX.as_millis()
    );
    assert!(AGENT_DIAL_TIME_MAX.as_millis() < LEGACY_DIAL_SILENCE_MAX.as_millis());
    // One connection cannot fill what all of an old agent's share.
    assert!(GRPC_SEND_PENDING_BYTES_TARGET * 8 <= LEGACY_SEND_BYTES_TARGET);
    assert!(HANDSHAKES_BEFORE_RETRY < HANDSHAKES_MAX && HANDSHAKES_MAX < CONNECTIONS_MAX);
};
