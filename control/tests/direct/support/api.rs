//! A stand-in for the Kubernetes API that reviews tokens, and knows nothing else.

use std::collections::HashMap;
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

/// The stand-in, for as long as the test's runtime lives.
#[derive(Debug)]
pub(crate) struct Api {
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<Value>>>,
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
            "users": [{"name": "u", "user": {"token": "the-servers-own"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        });
        // JSON is YAML.
        std::fs::write(dir.path().join("kubeconfig"), kubeconfig.to_string()).expect("written");
        let api = Self { answers: Arc::default(), asked: Arc::default(), dir };
        let (answers, asked) = (Arc::clone(&api.answers), Arc::clone(&api.asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
                // Whoever ends the connection has what they wanted.
                tokio::spawn(async move { serve(stream, &answers, &asked).await.unwrap_or_default() });
            }
        });
        api
    }

    /// From now on.
    pub(crate) fn says(&self, token: &str, answer: Answer) {
        self.answers.lock().expect("no panic").insert(token.to_owned(), answer);
    }

    /// What was asked, oldest first.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.lock().expect("no panic").clone()
    }

    /// A file with a token.
    pub(crate) fn token_file(&self, name: &str, token: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, token).expect("written");
        path
    }

    /// What makes a server ask here.
    pub(crate) fn server_flags(&self) -> Vec<String> {
        vec![
            "--cluster-ca-cert=".to_owned(),
            format!("--agent-namespace={NAMESPACE}"),
            format!("--agent-service-account={SERVICE_ACCOUNT}"),
            format!("--authentication-audience={AUDIENCE}"),
            format!("--kubeconfig={}", self.dir.path().join("kubeconfig").display()),
        ]
    }
}

/// A service account's user name.
pub(crate) fn user(namespace: &str, name: &str) -> Answer {
    Answer::Of(format!("system:serviceaccount:{namespace}:{name}"))
}

async fn serve(
    stream: TcpStream,
    answers: &Mutex<HashMap<String, Answer>>,
    asked: &Mutex<Vec<Value>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.is_empty() {
                break;
            }
            head.push(line);
        }
        let path = "post /apis/authentication.k8s.io/v1/tokenreviews";
        assert!(head[0].starts_with(path), "{head:?}");
        assert!(head.contains(&"authorization: bearer the-servers-own".to_owned()), "{head:?}");
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let request: Value = serde_json::from_slice(&body).expect("JSON");
        let token = request["spec"]["token"].as_str().unwrap_or_default().to_owned();
        asked.lock().expect("no panic").push(request.clone());
        let answer = answers.lock().expect("no panic").get(&token).cloned().unwrap_or(Answer::Nobody);
        let (status, body) = match answer {
            Answer::Silence => std::future::pending().await,
            Answer::Status(code) => {
                let failure = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                    "message": "somebody pulled the plug", "reason": "InternalError"});
                (code, failure)
            }
            Answer::Nobody => {
                (201, review(&request, json!({"authenticated": false, "error": "invalid bearer token"})))
            }
            Answer::Of(name) => {
                let audiences = request["spec"]["audiences"].clone();
                (
                    201,
                    review(
                        &request,
                        json!({"authenticated": true, "audiences": audiences, "user": {"username": name}}),
                    ),
                )
            }
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
    }
}

fn review(request: &Value, status: Value) -> Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {},
        "spec": request["spec"], "status": status})
}
