//! An HTTP proxy in a namespace: it answers CONNECT, as RFC 9110 section 9.3.6 has it, and counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::netns::Netns;

/// What a proxy lets through.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// Everything.
    Open,
    /// What comes with these words in `Proxy-Authorization`.
    Credentials(&'static str),
    /// Nothing.
    Closed,
}

/// A running proxy; it ends when this is dropped, and cuts off what goes through it.
#[derive(Debug)]
pub(crate) struct Proxy {
    asked: Arc<AtomicU64>,
    made: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens in a namespace. Whatever it connects to is reached from there, too: a thread's namespace is that of the
    /// thread which made it.
    pub(crate) fn start(net: &Netns, at: SocketAddr, rule: Rule) -> Self {
        let (asked, made) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let counts = (Arc::clone(&asked), Arc::clone(&made));
        let (stop, stopped) = oneshot::channel();
        let (listens, listening) = std::sync::mpsc::channel();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::bind(at).await.expect("a namespace's free port");
                listens.send(()).expect("somebody waits");
                tokio::select! {
                    () = accept(listener, rule, counts) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = net.within(|| std::thread::spawn(serve));
        listening.recv().expect("the proxy listens");
        Self { asked, made, stop: Some(stop), thread: Some(thread) }
    }

    /// Requests so far, and tunnels that came of them.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.asked.load(Ordering::Relaxed), self.made.load(Ordering::Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic in it has been printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn accept(listener: TcpListener, rule: Rule, counts: (Arc<AtomicU64>, Arc<AtomicU64>)) {
    loop {
        let (stream, _) = listener.accept().await.expect("a listener of ours");
        let (asked, made) = counts.clone();
        tokio::spawn(async move {
            // Whoever goes away is nobody's loss.
            let _ = serve(stream, rule, &asked, &made).await;
        });
    }
}

async fn serve(
    mut client: TcpStream,
    rule: Rule,
    asked: &AtomicU64,
    made: &AtomicU64,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // One byte at a time: what follows the head is for the server.
        head.push(client.read_u8().await?);
    }
    asked.fetch_add(1, Ordering::Relaxed);
    let head = String::from_utf8(head).expect("ASCII");
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).expect("a CONNECT");
    let refusal = match rule {
        Rule::Closed => Some("403 Forbidden\r\n"),
        Rule::Credentials(words) if !head.contains(&format!("Proxy-Authorization: {words}\r\n")) => {
            Some("407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"tests\"\r\n")
        }
        Rule::Open | Rule::Credentials(_) => None,
    };
    if let Some(status) = refusal {
        let answer = format!("HTTP/1.1 {status}Content-Length: 0\r\n\r\n");
        return client.write_all(answer.as_bytes()).await;
    }
    let mut server = TcpStream::connect(target).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 tests\r\n\r\n").await?;
    made.fetch_add(1, Ordering::Relaxed);
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
