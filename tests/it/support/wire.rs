//! HTTP/1.1 as bytes: heads, bodies and connections, plain or TLS. Knows no
//! rules and no registry; the fault server and the token server share it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::StreamOwned;
use rustls::pki_types::ServerName;

/// Bytes moved at a time: tests push hundreds of megabytes through here.
pub const BUFFER: usize = 128 * 1024;
const HEAD_LIMIT: usize = 256 * 1024;

/// Header fields in the order they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first field of that name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn add(&mut self, name: &str, value: &str) {
        self.0.push((name.to_string(), value.to_string()));
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.add(name, value);
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(','))
            .any(|word| word.trim().eq_ignore_ascii_case(token))
    }
}

/// What stands before a body: three words of the first line, and the fields.
#[derive(Clone, Debug)]
pub struct Head {
    pub line: [String; 3],
    pub headers: Headers,
}

impl Head {
    pub fn method(&self) -> &str {
        &self.line[0]
    }

    pub fn path(&self) -> &str {
        split_target(&self.line[1]).0
    }

    pub fn query(&self) -> &str {
        split_target(&self.line[1]).1
    }

    pub fn status(&self) -> u16 {
        self.line[1].parse().unwrap_or(0)
    }

    pub fn expects_continue(&self) -> bool {
        self.headers.has_token("expect", "100-continue")
    }

    pub fn closes(&self) -> bool {
        self.headers.has_token("connection", "close")
    }

    pub fn length(&self) -> Option<u64> {
        self.headers.get("content-length")?.trim().parse().ok()
    }

    fn chunked(&self) -> bool {
        self.headers.has_token("transfer-encoding", "chunked")
    }

    pub fn request_body(&self) -> Body {
        match (self.chunked(), self.length()) {
            (true, _) => Body::new(Framing::Chunked),
            (false, length) => Body::new(Framing::Length(length.unwrap_or(0))),
        }
    }

    pub fn response_body(&self, method: &str) -> Body {
        let status = self.status();
        let empty = method == "HEAD" || status == 204 || status == 304 || status < 200;
        match (self.chunked(), self.length()) {
            _ if empty => Body::new(Framing::Length(0)),
            (true, _) => Body::new(Framing::Chunked),
            (false, Some(length)) => Body::new(Framing::Length(length)),
            (false, None) => Body::new(Framing::UntilClose),
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = self.line.join(" ") + "\r\n";
        for (name, value) in &self.headers.0 {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        text.into_bytes()
    }
}

pub fn split_target(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

/// The pairs of a query or a form, decoded.
pub fn pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = text
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(escaped.unwrap_or(if bytes[at] == b'+' { b' ' } else { bytes[at] }));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// A body being read from a connection, with its framing taken off.
#[derive(Debug)]
pub struct Body {
    pub framing: Framing,
    left: u64,
    chunks: bool,
    done: bool,
}

impl Body {
    fn new(framing: Framing) -> Body {
        let (left, done) = match framing {
            Framing::Length(length) => (length, length == 0),
            Framing::Chunked => (0, false),
            Framing::UntilClose => (u64::MAX, false),
        };
        Body {
            framing,
            left,
            chunks: framing == Framing::Chunked,
            done,
        }
    }

    /// Whether everything was read, so that the connection can go on.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The next bytes; zero at the end. A body that ends early is an error.
    pub fn read(&mut self, from: &mut Conn, buffer: &mut [u8]) -> io::Result<usize> {
        if self.done {
            return Ok(0);
        }
        if self.chunks && self.left == 0 {
            self.left = from.read_chunk_size()?;
            if self.left == 0 {
                self.done = true;
                return Ok(0);
            }
        }
        let want = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let got = from.read(&mut buffer[..want])?;
        self.left -= got as u64;
        match self.framing {
            Framing::UntilClose => self.done = got == 0,
            _ if got == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Framing::Chunked if self.left == 0 => from.skip_line_end()?,
            Framing::Chunked => {}
            Framing::Length(_) => self.done = self.left == 0,
        }
        Ok(got)
    }
}

/// A socket that several may hold but that closes with the connection: a
/// duplicated descriptor would keep a reset from being sent.
struct Socket(Arc<TcpStream>);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Channel {
    Plain(Socket),
    Accepted(Box<StreamOwned<rustls::ServerConnection, Socket>>),
    Dialled(Box<StreamOwned<rustls::ClientConnection, Socket>>),
}

/// One connection, either side, plain or TLS.
pub struct Conn {
    channel: Channel,
    pub tcp: Arc<TcpStream>,
    buffer: Vec<u8>,
    start: usize,
}

impl Conn {
    pub fn accepted(
        tcp: Arc<TcpStream>,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> io::Result<Conn> {
        tcp.set_nodelay(true)?;
        let socket = Socket(tcp.clone());
        let channel = match tls {
            None => Channel::Plain(socket),
            Some(config) => {
                let session = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
                Channel::Accepted(Box::new(StreamOwned::new(session, socket)))
            }
        };
        Ok(Conn::over(channel, tcp))
    }

    pub fn dial(address: &str, tls: Option<Arc<rustls::ClientConfig>>) -> io::Result<Conn> {
        let tcp = Arc::new(TcpStream::connect(address)?);
        tcp.set_nodelay(true)?;
        let socket = Socket(tcp.clone());
        let channel = match tls {
            None => Channel::Plain(socket),
            Some(config) => {
                let name = ServerName::try_from("127.0.0.1").map_err(io::Error::other)?;
                let session =
                    rustls::ClientConnection::new(config, name).map_err(io::Error::other)?;
                Channel::Dialled(Box::new(StreamOwned::new(session, socket)))
            }
        };
        Ok(Conn::over(channel, tcp))
    }

    fn over(channel: Channel, tcp: Arc<TcpStream>) -> Conn {
        Conn {
            channel,
            tcp,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// The next head, or nothing where the other side closed between two.
    pub fn read_head(&mut self) -> io::Result<Option<Head>> {
        // Counted from `start`, which moves when the buffer is filled.
        let mut searched = 0;
        let end = loop {
            let held = &self.buffer[self.start..];
            let found = held[searched..]
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n");
            if let Some(at) = found {
                break self.start + searched + at + 4;
            }
            searched = held.len().saturating_sub(3);
            if held.len() > HEAD_LIMIT {
                return Err(io::Error::other("a head that never ends"));
            }
            if self.fill()? == 0 {
                let between = self.start == self.buffer.len();
                return between
                    .then_some(None)
                    .ok_or(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = parse_head(&self.buffer[self.start..end]);
        self.start = end;
        head.map(Some)
            .ok_or_else(|| io::Error::other("not an HTTP head"))
    }

    fn read_chunk_size(&mut self) -> io::Result<u64> {
        let line = self.read_line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
        // Trailers end with an empty line; no test sends any.
        while size == 0 && !self.read_line()?.is_empty() {}
        Ok(size)
    }

    fn skip_line_end(&mut self) -> io::Result<()> {
        self.read_line().map(|_| ())
    }

    fn read_line(&mut self) -> io::Result<String> {
        loop {
            let rest = &self.buffer[self.start..];
            if let Some(at) = rest.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = String::from_utf8_lossy(&rest[..at]).into_owned();
                self.start += at + 2;
                return Ok(line);
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads more behind what is buffered. Small on purpose: only heads and
    /// chunk sizes come through here, bodies are read past the buffer.
    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let mut more = [0; 8 * 1024];
        let got = self.channel_read(&mut more)?;
        self.buffer.extend_from_slice(&more[..got]);
        Ok(got)
    }

    fn channel_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.channel {
            Channel::Plain(socket) => socket.read(buffer),
            Channel::Accepted(stream) => stream.read(buffer),
            Channel::Dialled(stream) => stream.read(buffer),
        }
    }

    /// From now on the other side's close is a reset: `SO_LINGER` of zero.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(&*self.tcp).set_linger(Some(Duration::ZERO));
    }

    /// Ends the connection in the middle of whatever was being said: FIN, and
    /// over TLS no farewell.
    pub fn cut(self) {
        let _ = self.tcp.shutdown(Shutdown::Write);
        self.drain();
    }

    /// Ends the connection properly.
    pub fn finish(mut self) {
        if let Channel::Accepted(stream) = &mut self.channel {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        let _ = self.tcp.shutdown(Shutdown::Write);
        self.drain();
    }

    /// Waits a little for the other side to close first: closing over unread
    /// bytes would send a reset, which can overtake the answer.
    fn drain(self) {
        let _ = self.tcp.set_read_timeout(Some(Duration::from_secs(2)));
        let mut scrap = vec![0; BUFFER];
        while matches!((&*self.tcp).read(&mut scrap), Ok(1..)) {}
    }

    /// Whether the other side is gone. Never blocks.
    pub fn is_gone(&self) -> bool {
        let mut byte = [0];
        let _ = self.tcp.set_nonblocking(true);
        let peeked = self.tcp.peek(&mut byte);
        let _ = self.tcp.set_nonblocking(false);
        match peeked {
            Ok(got) => got == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

impl Read for Conn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let held = &self.buffer[self.start..];
        if held.is_empty() {
            return self.channel_read(buffer);
        }
        let count = held.len().min(buffer.len());
        buffer[..count].copy_from_slice(&held[..count]);
        self.start += count;
        Ok(count)
    }
}

impl Write for Conn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.channel {
            Channel::Plain(socket) => return socket.write(bytes),
            Channel::Accepted(stream) => stream.write(bytes)?,
            Channel::Dialled(stream) => stream.write(bytes)?,
        };
        // rustls may keep some of it, and nothing here writes a second time
        // just to push it out.
        self.flush()?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.channel {
            Channel::Plain(socket) => socket.flush(),
            Channel::Accepted(stream) => stream.flush(),
            Channel::Dialled(stream) => stream.flush(),
        }
    }
}

fn parse_head(bytes: &[u8]) -> Option<Head> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.splitn(3, ' ').map(str::to_string);
    let line = [
        words.next()?,
        words.next()?,
        words.next().unwrap_or_default(),
    ];
    let headers = lines
        .take_while(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_string(), value.trim().to_string()))
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Head {
        line,
        headers: Headers(headers),
    })
}

/// The first line of an answer.
pub fn status_line(status: u16) -> [String; 3] {
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|code| code.canonical_reason())
        .unwrap_or("Unknown");
    ["HTTP/1.1".into(), status.to_string(), reason.into()]
}
