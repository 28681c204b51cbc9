//! As much of HTTP/1.1 as the load needs: requests made before, and answers with a Content-Length.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No answer takes longer, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

/// The head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Where the body begins.
    pub(crate) body: usize,
    /// How long the whole answer is.
    pub(crate) whole: usize,
}

/// An answer that is here.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[self.head.body..self.head.whole]
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.bytes[..self.head.body], name)
    }
}

pub(crate) fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// None: not all of the head is here.
pub(crate) fn head(bytes: &[u8]) -> Option<Head> {
    let body = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let status = std::str::from_utf8(bytes.get(9..12)?).ok()?.parse().ok()?;
    let length: usize = field(&bytes[..body], "content-length")?.parse().ok()?;
    Some(Head { status, body, whole: body + length })
}

fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value =
            value.strip_prefix(b":").filter(|_| found.eq_ignore_ascii_case(name.as_bytes()));
        value.and_then(|value| Some(std::str::from_utf8(value).ok()?.trim()))
    })
}

/// Asks once, on a connection of its own.
pub(crate) fn ask(address: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        match stream.read(&mut part)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&part[..count]),
        }
        if let Some(head) = head(&bytes).filter(|head| head.whole <= bytes.len()) {
            return Ok(Answer { head, bytes });
        }
    }
}
