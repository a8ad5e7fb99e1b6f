//! A proxy that tunnels (CONNECT) and forwards, whatever name it is asked for,
//! to one address: tests reach loopback under a name that has no address.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::lock;

/// A running proxy.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    target: String,
    /// What `Proxy-Authorization` has to be.
    login: Option<String>,
    seen: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Tunnels to `target` for every client.
    pub fn to(target: &str) -> Proxy {
        Proxy::start(target, None)
    }

    /// Tunnels to `target` for who sends this `Proxy-Authorization`.
    pub fn with_login(target: &str, login: &str) -> Proxy {
        Proxy::start(target, Some(login.to_string()))
    }

    fn start(target: &str, login: Option<String>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            target: target.to_string(),
            login,
            seen: Mutex::default(),
            open: Mutex::default(),
        });
        let serving = shared.clone();
        let acceptor = thread::spawn(move || {
            let mut threads = Vec::new();
            while let Ok((client, _)) = listener.accept() {
                let mut first = [0];
                // The farewell of `drop` is a connection that says nothing.
                if !matches!(client.peek(&mut first), Ok(1)) {
                    break;
                }
                let serving = serving.clone();
                threads.push(thread::spawn(move || drop(serving.serve(client))));
            }
            for socket in lock(&serving.open).drain(..) {
                let _ = socket.shutdown(Shutdown::Both);
            }
            for thread in threads {
                let _ = thread.join();
            }
        });
        Proxy {
            port,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The heads of all requests so far, as they came.
    pub fn seen(&self) -> Vec<String> {
        lock(&self.shared.seen).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        lock(&self.open).push(client.try_clone()?);
        let head = read_head(&mut client)?;
        lock(&self.seen).push(head.clone());
        let sent = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("proxy-authorization")
                .then(|| value.trim().to_string())
        });
        if self.login.is_some() && self.login != sent {
            client.write_all(b"HTTP/1.1 407 Who Are You\r\nContent-Length: 0\r\n\r\n")?;
            return client.shutdown(Shutdown::Both);
        }
        let mut server = TcpStream::connect(&self.target)?;
        lock(&self.open).push(server.try_clone()?);
        if head.starts_with("CONNECT ") {
            client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
        } else {
            server.write_all(forwarded(&head).as_bytes())?;
        }
        let (mut up, mut down) = (server.try_clone()?, client.try_clone()?);
        let tunnel = head.starts_with("CONNECT ");
        let back = thread::spawn(move || {
            if !tunnel {
                let _ = answer(&mut up, &mut down);
            }
            let _ = io::copy(&mut up, &mut down);
            let _ = down.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut client, &mut server);
        let _ = server.shutdown(Shutdown::Write);
        let _ = back.join();
        Ok(())
    }
}

/// The head of a request by absolute URL, as its server expects it. One request
/// a connection will do.
fn forwarded(head: &str) -> String {
    let (line, rest) = head.split_once("\r\n").unwrap_or((head, "\r\n"));
    let mut words = line.split(' ');
    let (method, url) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = url
        .strip_prefix("http://")
        .and_then(|url| Some(&url[url.find('/')?..]));
    let path = path.unwrap_or("/not-an-absolute-url");
    format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{rest}")
}

fn read_head(from: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Passes on the heads of an answer, and that there will be no other.
fn answer(server: &mut TcpStream, client: &mut TcpStream) -> io::Result<()> {
    loop {
        let head = read_head(server)?;
        let interim = head.starts_with("HTTP/1.1 1");
        let (line, rest) = head.split_once("\r\n").unwrap_or((&head, "\r\n"));
        let close = if interim { "" } else { "Connection: close\r\n" };
        client.write_all(format!("{line}\r\n{close}{rest}").as_bytes())?;
        if !interim {
            return Ok(());
        }
    }
}
