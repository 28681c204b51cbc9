//! The load: each connection asks as soon as it was answered. One thread serves all connections, so that it costs
//! the servers little of the machine.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};

use super::http;
use super::process;

/// After the end, what is under way is waited for no longer.
const GRACE: Duration = Duration::from_secs(5);

/// What is asked, by how many, and how long.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    /// The server's process.
    pub(crate) process: u32,
    pub(crate) request: Arc<[u8]>,
    pub(crate) connections: usize,
    /// Not measured.
    pub(crate) before: Duration,
    pub(crate) time: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) per_second: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Milliseconds of CPU time that the server took for a request.
    pub(crate) cpu: f64,
    /// The part of a core that the load took.
    pub(crate) own: f64,
    /// Answers other than 200, and connections that broke.
    pub(crate) failed: usize,
}

#[derive(Debug, Default)]
struct Tally {
    took: Vec<Duration>,
    failed: usize,
}

impl Load {
    /// Runs it, on this thread.
    pub(crate) fn run(self) -> Found {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(self.measure())
    }

    async fn measure(self) -> Found {
        let from = Instant::now() + self.before;
        let until = from + self.time;
        let mut clients = JoinSet::new();
        for _ in 0..self.connections {
            let (address, request) = (self.address, Arc::clone(&self.request));
            clients.spawn(async move {
                let mut tally = Tally::default();
                let asking = client(address, &request, (from, until), &mut tally);
                let ended = timeout_at((until + GRACE).into(), asking).await;
                if !matches!(ended, Ok(Ok(()))) {
                    tally.failed += 1;
                }
                tally
            });
        }
        let processes = process::tree(self.process);
        sleep_until(from.into()).await;
        let (cpu, own) = (process::cpu(&processes), process::cpu(&[std::process::id()]));
        sleep_until(until.into()).await;
        let own = process::cpu(&[std::process::id()]).saturating_sub(own);
        let cpu = process::cpu(&process::tree(self.process)).saturating_sub(cpu);
        let mut all = Tally::default();
        for tally in clients.join_all().await {
            all.took.extend(tally.took);
            all.failed += tally.failed;
        }
        all.took.sort_unstable();
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let at =
            |percent| all.took.get(all.took.len() * percent / 100).copied().map_or(0.0, millis);
        Found {
            per_second: all.took.len() as f64 / self.time.as_secs_f64(),
            p50: at(50),
            p99: at(99),
            cpu: millis(cpu) / all.took.len().max(1) as f64,
            own: own.as_secs_f64() / self.time.as_secs_f64(),
            failed: all.failed,
        }
    }
}

/// One connection. What was answered between the two instants counts.
async fn client(
    address: SocketAddr,
    request: &[u8],
    (from, until): (Instant, Instant),
    tally: &mut Tally,
) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(64 << 10);
    let mut asked = Instant::now();
    while asked < until {
        stream.write_all(request).await?;
        let status = answer(&mut stream, &mut buffer).await?;
        let now = Instant::now();
        if status != 200 {
            tally.failed += 1;
        } else if (from..until).contains(&now) {
            tally.took.push(now - asked);
        }
        asked = now;
    }
    Ok(())
}

/// Reads an answer to its end and says its status.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<u16> {
    buffer.clear();
    let mut head = None;
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head = head.or_else(|| http::head(buffer));
        match head {
            Some(head) if head.whole == buffer.len() => return Ok(head.status),
            Some(head) if head.whole < buffer.len() => {
                return Err(io::ErrorKind::InvalidData.into());
            }
            _ => {}
        }
    }
}
