//! A stand-in for the Kubernetes API that reviews tokens and keeps leases, and knows nothing else.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Whose tokens are agents', and what for.
pub(crate) const NAMESPACE: &str = "kube-system";
pub(crate) const SERVICE_ACCOUNT: &str = "konnectivity-agent";
pub(crate) const AUDIENCE: &str = "system:konnectivity-server";

/// What is said of a token.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It is this user's.
    Of(String),
    /// It is nobody's.
    Nobody,
    /// An HTTP status in which no token is reviewed.
    Status(u16),
    /// Nothing, ever.
    Silence,
}

/// What it knows.
#[derive(Debug, Default)]
struct Known {
    answers: HashMap<String, Answer>,
    asked: Vec<Value>,
    leases: BTreeMap<String, Value>,
    version: u64,
}

/// The stand-in, for as long as the test's runtime lives.
#[derive(Debug)]
pub(crate) struct Api {
    known: Arc<Mutex<Known>>,
    dir: TempDir,
}

impl Api {
    /// On a free port, with a kubeconfig that leads to it.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "u", "user": {"token": "the-askers-own"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        });
        // JSON is YAML.
        std::fs::write(dir.path().join("kubeconfig"), kubeconfig.to_string()).expect("written");
        let api = Self { known: Arc::default(), dir };
        let known = Arc::clone(&api.known);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let known = Arc::clone(&known);
                // Whoever ends the connection has what they wanted.
                tokio::spawn(async move { serve(stream, &known).await.unwrap_or_default() });
            }
        });
        api
    }

    /// From now on.
    pub(crate) fn says(&self, token: &str, answer: Answer) {
        self.known().answers.insert(token.to_owned(), answer);
    }

    /// What was asked about tokens, oldest first.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.known().asked.clone()
    }

    /// The lease of this name.
    pub(crate) fn lease(&self, name: &str) -> Option<Value> {
        self.known().leases.get(name).cloned()
    }

    /// Somebody has a lease, renewed at this time.
    pub(crate) fn write_lease(&self, name: &str, renewed_at: &str) {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 30, "renewTime": renewed_at},
        });
        self.known().write(lease);
    }

    /// A file with a token.
    pub(crate) fn token_file(&self, name: &str, token: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, token).expect("written");
        path
    }

    /// What makes a program ask here.
    pub(crate) fn kubeconfig_flag(&self) -> String {
        format!("--kubeconfig={}", self.dir.path().join("kubeconfig").display())
    }

    /// What makes a server ask here about tokens.
    pub(crate) fn server_flags(&self) -> Vec<String> {
        vec![
            "--cluster-ca-cert=".to_owned(),
            format!("--agent-namespace={NAMESPACE}"),
            format!("--agent-service-account={SERVICE_ACCOUNT}"),
            format!("--authentication-audience={AUDIENCE}"),
            self.kubeconfig_flag(),
        ]
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().expect("no panic")
    }
}

/// A service account's user name.
pub(crate) fn user(namespace: &str, name: &str) -> Answer {
    Answer::Of(format!("system:serviceaccount:{namespace}:{name}"))
}

async fn serve(stream: TcpStream, known: &Mutex<Known>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_owned();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.is_empty() {
                break;
            }
            head.push(line);
        }
        let authorized =
            head.iter().any(|line| line.eq_ignore_ascii_case("authorization: bearer the-askers-own"));
        assert!(authorized, "{head:?}");
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let request = head[0].strip_suffix(" HTTP/1.1").expect("HTTP/1.1");
        let answer = known.lock().expect("no panic").answer(request, body);
        let Some((status, body)) = answer else { return std::future::pending().await };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
    }
}

impl Known {
    /// Status and body; `None` is no answer.
    fn answer(&mut self, request: &str, body: Value) -> Option<(u16, Value)> {
        let (method, path) = request.split_once(' ').expect("method and path");
        let path = path.split('?').next().unwrap_or_default();
        let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
        if let Some(name) = path.strip_prefix(&leases) {
            let selects = request.contains("labelSelector=k8s-app%3Dkonnectivity-server");
            assert!(selects || method != "GET" || !name.is_empty(), "{request}");
            return Some(self.on_lease(method, name.trim_start_matches('/'), body));
        }
        assert_eq!((method, path), ("POST", "/apis/authentication.k8s.io/v1/tokenreviews"));
        self.review(&body)
    }

    fn on_lease(&mut self, method: &str, name: &str, body: Value) -> (u16, Value) {
        match method {
            "GET" if name.is_empty() => {
                let items: Vec<&Value> = self.leases.values().collect();
                let version = "coordination.k8s.io/v1";
                (200, json!({"apiVersion": version, "kind": "LeaseList", "metadata": {}, "items": items}))
            }
            "POST" => (201, self.write(body)),
            _ => {
                let Some(there) = self.leases.get(name) else {
                    return failure(404, "NotFound", "no such lease");
                };
                let there = there["metadata"]["resourceVersion"].clone();
                let meant = match method {
                    "DELETE" => &body["preconditions"]["resourceVersion"],
                    _ => &body["metadata"]["resourceVersion"],
                };
                match method {
                    "GET" => (200, self.leases[name].clone()),
                    "DELETE" if meant.is_null() || *meant == there => {
                        (200, self.leases.remove(name).expect("there"))
                    }
                    "PUT" if *meant == there => (200, self.write(body)),
                    _ => failure(409, "Conflict", "somebody was faster"),
                }
            }
        }
    }

    fn write(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let name = lease["metadata"]["name"].as_str().expect("a name").to_owned();
        self.leases.insert(name, lease.clone());
        lease
    }

    fn review(&mut self, request: &Value) -> Option<(u16, Value)> {
        let token = request["spec"]["token"].as_str().unwrap_or_default();
        let answer = self.answers.get(token).cloned().unwrap_or(Answer::Nobody);
        self.asked.push(request.clone());
        let status = match answer {
            Answer::Silence => return None,
            Answer::Status(code) => return Some(failure(code, "InternalError", "somebody pulled the plug")),
            Answer::Nobody => json!({"authenticated": false, "error": "invalid bearer token"}),
            Answer::Of(name) => {
                let audiences = request["spec"]["audiences"].clone();
                json!({"authenticated": true, "audiences": audiences, "user": {"username": name}})
            }
        };
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {},
            "spec": request["spec"], "status": status});
        Some((201, review))
    }
}

fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "message": message, "reason": reason});
    (code, status)
}
