//! Calls the API server through the lab's proxy: JSON over plain HTTP/1.0, without a client library.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The proxy's address.
#[derive(Clone, Debug)]
pub struct Api {
    address: String,
    /// A bearer token; absent for the proxy's own credentials, an administrator's.
    token: Option<String>,
}

impl Api {
    /// An API server behind the proxy at `HOST:PORT`.
    pub fn new(address: String) -> Self {
        Self {
            address,
            token: None,
        }
    }

    /// The same API server with the token of another user.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            address: self.address.clone(),
            token: Some(token.to_owned()),
        }
    }

    /// Reads an object.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.succeed("GET", path, None)
    }

    /// Creates an object.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.succeed("POST", path, Some(body))
    }

    /// Deletes an object.
    pub fn delete(&self, path: &str) -> Result<Value> {
        self.succeed("DELETE", path, None)
    }

    /// Replaces an object.
    pub fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.succeed("PUT", path, Some(body))
    }

    /// Whether the object does not exist; false if the server does not answer.
    pub fn is_missing(&self, path: &str) -> bool {
        self.call("GET", path, None)
            .is_ok_and(|(code, _)| code == 404)
    }

    fn succeed(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let (code, answer) = self.call(method, path, body)?;
        if !(200..300).contains(&code) {
            bail!("{method} {path}: {code} {answer}");
        }
        serde_json::from_str(&answer)
            .with_context(|| format!("{method} {path}: the answer is not JSON"))
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address)
            .with_context(|| format!("cannot reach the API server at {}", self.address))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let bearer = |token: &String| format!("Authorization: Bearer {token}\r\n");
        let bearer = self.token.as_ref().map(bearer).unwrap_or_default();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{bearer}Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, text) = answer
            .split_once("\r\n\r\n")
            .context("the answer of the API server is not HTTP")?;
        let code = head.split(' ').nth(1).context("the answer has no code")?;
        Ok((code.parse()?, text.to_owned()))
    }
}
