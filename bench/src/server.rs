//! A trace backend in a process of its own, ours or a peer's: started, asked over HTTP, and measured from outside by what the
//! operating system says of it. Ends with the value.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process;

/// Longest a backend may take to come up, or to work off what it took in.
const PATIENCE: Duration = Duration::from_secs(120);

/// So long without work means that nothing is left: longer than any of them waits between two commits.
const QUIET: Duration = Duration::from_secs(6);

/// A running backend.
#[derive(Debug)]
pub struct Server {
    process: Child,
    /// Where OTLP over HTTP goes.
    pub otlp: SocketAddr,
    /// Where `/api/traces/{id}` is answered.
    pub query: SocketAddr,
}

impl Server {
    /// Starts `command` and waits until it answers on `query`.
    ///
    /// # Errors
    /// If it cannot be started, ends, or does not answer in two minutes.
    pub fn start(command: &mut Command, otlp: SocketAddr, query: SocketAddr) -> io::Result<Self> {
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut server = Self { process, otlp, query };
        let started = Instant::now();
        loop {
            if let Some(status) = server.process.try_wait()? {
                return Err(io::Error::other(format!("{:?} ended: {status}", command.get_program())));
            }
            if Connection::open(query).and_then(|mut one| one.get("/api/services")).is_ok() {
                return Ok(server);
            }
            if started.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{:?} does not answer", command.get_program())));
            }
            // tidy: sleeps, because another process's readiness can only be polled, and this is no test.
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// CPU time it has used, all threads. Linux only, in hundredths of a second.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn cpu(&self) -> io::Result<Duration> {
        process::cpu(self.process.id())
    }

    /// Most memory it has had at one time, in KiB, mapped files included.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn peak_memory_kib(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        process::field(&status, "VmHWM:")
    }

    /// Waits until it has stopped working.
    ///
    /// # Errors
    /// As [`Server::cpu`].
    pub fn settle(&self) -> io::Result<()> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let before = self.cpu()?;
            // tidy: sleeps, because idleness is a length of time.
            std::thread::sleep(QUIET);
            if self.cpu()?.saturating_sub(before) < QUIET / 50 {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; there is nobody to tell otherwise.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that is free now.
///
/// # Errors
/// If there is none.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// Bytes of all files below a folder.
///
/// # Errors
/// If it cannot be read.
pub fn disk_bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { disk_bytes(&entry.path())? } else { allocated(&metadata) };
    }
    Ok(bytes)
}

/// What a file takes, not what it says it is: some preallocate.
fn allocated(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

/// A kept-alive HTTP/1.1 connection: as little client as possible beside what is measured.
#[derive(Debug)]
pub struct Connection {
    to: SocketAddr,
    stream: BufReader<TcpStream>,
    /// The peer said that it closes after its answer.
    closed: bool,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { to, stream: BufReader::new(stream), closed: false })
    }

    /// Sends one OTLP request in protobuf and waits for its acknowledgement.
    ///
    /// # Errors
    /// If it is not a 200.
    pub fn export(&mut self, body: &[u8]) -> io::Result<()> {
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), body])?;
        self.answer().map(drop)
    }

    /// The body at `path`.
    ///
    /// # Errors
    /// If it is not a 200.
    pub fn get(&mut self, path: &str) -> io::Result<Vec<u8>> {
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.send(&[head.as_bytes()])?;
        self.answer()
    }

    fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        if self.closed {
            *self = Self::open(self.to)?;
        }
        parts.iter().try_for_each(|part| self.stream.get_mut().write_all(part))
    }

    fn answer(&mut self) -> io::Result<Vec<u8>> {
        let status = self.line()?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse().map_err(io::Error::other)?,
                Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
                Some(("connection", value)) => self.closed = value.trim() == "close",
                Some(_) => {}
                None => break,
            }
        }
        let body = if chunked { self.chunks()? } else { self.bytes(length)? };
        if status.split_whitespace().nth(1) == Some("200") { Ok(body) } else { Err(io::Error::other(status)) }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(self.line()?.trim(), 16).map_err(io::Error::other)?;
            body.extend(self.bytes(length)?);
            self.line()?;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
