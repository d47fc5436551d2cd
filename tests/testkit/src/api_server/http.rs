//! As much HTTP/1.1 as the client of the driver uses: requests with a length, answers with a length, and chunks for a watch.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// Without the query.
    pub(super) path: String,
    query: String,
    pub(super) body: Value,
}

impl Request {
    /// Reads the next request; absent when the client has closed the connection.
    pub(super) fn read(stream: &mut TcpStream) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read(&mut byte)? == 0 {
                return Ok(None);
            }
            head.extend(byte);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut words = head.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().ok())?
        });
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body)?;
        Ok(Some(Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        }))
    }

    /// The value of a parameter.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        let mut pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(key, _)| *key == name);
        found.map(|(_, value)| value.replace("%3D", "=").replace("%2C", ","))
    }
}

/// Sends an answer with a JSON body.
pub(super) fn answer(
    stream: &mut TcpStream,
    code: u16,
    retry_after: Option<u64>,
    body: &Value,
) -> io::Result<()> {
    let body = body.to_string();
    let retry = retry_after.map_or_else(String::new, |after| format!("Retry-After: {after}\r\n"));
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {code} Code\r\nContent-Type: application/json\r\n{retry}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes())
}

/// Begins an answer of unknown length.
pub(super) fn begin_chunks(stream: &mut TcpStream) -> io::Result<()> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes())
}

/// Sends one line.
pub(super) fn chunk(stream: &mut TcpStream, line: &Value) -> io::Result<()> {
    let line = format!("{line}\n");
    stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes())
}

/// Ends the answer.
pub(super) fn end_chunks(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"0\r\n\r\n")
}

/// An error when the client has closed the connection.
pub(super) fn is_open(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let peeked = stream.peek(&mut [0; 1]);
    stream.set_nonblocking(false)?;
    match peeked {
        Ok(0) => Err(ErrorKind::BrokenPipe.into()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
