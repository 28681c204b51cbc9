//! MQTT 3.1.1 as the load needs it: packets that are written once and sent many times, and decisions counted as they come.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// A connection that is let in. Keeps no session and asks for no pings.
pub(crate) fn connect(port: u16, client: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let mut body = b"\0\x04MQTT\x04\x02\0\0".to_vec();
    push_text(&mut body, client);
    stream.write_all(&packet(0x10, &body))?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    let [kind, _, _, code] = answer;
    if (kind, code) == (0x20, 0) {
        Ok(stream)
    } else {
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

pub(crate) fn subscribe(stream: &mut TcpStream, topic: &str, qos: u8) -> io::Result<()> {
    let mut body = vec![0, 1];
    push_text(&mut body, topic);
    body.push(qos);
    stream.write_all(&packet(0x82, &body))?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)
}

/// A PUBLISH, and where its payload begins. At QoS 1 the identifier is always the same: a broker that takes a message
/// over does not compare it with the ones before.
pub(crate) fn publish(topic: &str, payload: &[u8], qos: u8) -> (Vec<u8>, usize) {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    push_text(&mut body, topic);
    if qos > 0 {
        body.extend([0, 1]);
    }
    body.extend(payload);
    let packet = packet(0x30 | qos << 1, &body);
    let begins = packet.len() - payload.len();
    (packet, begins)
}

fn push_text(to: &mut Vec<u8>, text: &str) {
    to.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
    to.extend(text.as_bytes());
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut rest = body.len();
    loop {
        let digit = u8::try_from(rest % 128).expect("below 128");
        rest /= 128;
        packet.push(digit | if rest > 0 { 0x80 } else { 0 });
        if rest == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

/// Reads what a subscriber gets.
#[derive(Debug)]
pub(crate) struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
    chunk: Vec<u8>,
}

impl Reader {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::with_capacity(256 << 10), chunk: vec![0; 64 << 10] }
    }

    /// Waits for more and hands each payload that is whole to `take`; acknowledges it where that is asked for.
    pub(crate) fn read(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let count = self.stream.read(&mut self.chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend(&self.chunk[..count]);
        let (mut at, mut acks) = (0, Vec::new());
        while let Some((header, body, next)) = whole(&self.buffer, at) {
            if header >> 4 == 3 {
                let topic =
                    usize::from(u16::from_be_bytes([self.buffer[body], self.buffer[body + 1]]));
                let mut payload = body + 2 + topic;
                if header & 0b110 != 0 {
                    acks.extend([0x40, 2, self.buffer[payload], self.buffer[payload + 1]]);
                    payload += 2;
                }
                take(&self.buffer[payload..next]);
            }
            at = next;
        }
        self.buffer.drain(..at);
        if acks.is_empty() { Ok(()) } else { self.stream.write_all(&acks) }
    }
}

/// The first byte of the packet that begins at `at`, where its body begins and where it ends, once it is whole.
fn whole(buffer: &[u8], at: usize) -> Option<(u8, usize, usize)> {
    let header = *buffer.get(at)?;
    let (mut length, mut place) = (0, at + 1);
    for shift in (0..).step_by(7) {
        let digit = *buffer.get(place)?;
        place += 1;
        length |= usize::from(digit & 0x7F) << shift;
        if digit & 0x80 == 0 {
            break;
        }
    }
    (buffer.len() >= place + length).then_some((header, place, place + length))
}
