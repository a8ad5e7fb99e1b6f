//! One request and its answer on the fault server: taken, forwarded or made up,
//! sent, and broken off where a rule says so.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lock;
use super::rules::{Action, Faults, Request, Response};
use super::server::{Seen, Shared};
use super::wire::{BUFFER, Body, Conn, Framing, Head, Headers, status_line};

/// The real thing behind a fault server.
#[derive(Clone)]
pub struct Upstream {
    pub address: String,
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// What a rule says, taken out of the lock.
pub struct Order {
    pub action: Action,
    pub set: Headers,
    pub unset: Vec<String>,
    pub faults: Faults,
}

/// How an exchange leaves the client's connection.
pub enum After {
    Next,
    Finish,
    /// Close at once, whatever lies unread.
    Drop,
    Cut,
    Reset,
}

/// An exchange in the making: where it is noted and what was ordered for it.
pub struct Exchange<'a> {
    pub shared: &'a Shared,
    pub head: Head,
    /// Its place among the requests seen.
    pub index: usize,
    pub order: Order,
}

enum Payload<'a> {
    Bytes(&'a [u8]),
    Upstream(&'a mut Conn, &'a mut Body),
}

impl Payload<'_> {
    fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Payload::Upstream(conn, body) => body.read(conn, buffer),
            Payload::Bytes(bytes) => {
                let count = bytes.len().min(buffer.len());
                buffer[..count].copy_from_slice(&bytes[..count]);
                *bytes = &bytes[count..];
                Ok(count)
            }
        }
    }
}

impl Exchange<'_> {
    pub fn run(&self, conn: &mut Conn, upstream: &mut Option<Conn>) -> io::Result<After> {
        match self.order.action.clone() {
            Action::Forward => self.forward(conn, upstream),
            Action::Reply(response) => self.reply(conn, |_| response),
            Action::With(make) => self.reply(conn, |request| make(request)),
        }
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut lock(&self.shared.seen)[self.index]);
    }

    fn reply(&self, conn: &mut Conn, make: impl FnOnce(&Request) -> Response) -> io::Result<After> {
        let mut body = self.head.request_body();
        let mut taken = Vec::new();
        if !self.order.faults.close_early {
            if self.head.expects_continue() && !body.is_done() {
                conn.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            // Only a closure looks at the body; keeping it is cheap otherwise too.
            let keep = matches!(self.order.action, Action::With(_));
            let ended = self.take(conn, &mut body, |bytes| {
                if keep {
                    taken.extend_from_slice(bytes);
                }
                Ok(())
            })?;
            if let Some(after) = ended {
                return Ok(after);
            }
        }
        let mut response = make(&Request {
            method: self.head.method().to_string(),
            path: self.head.path().to_string(),
            query: self.head.query().to_string(),
            headers: self.head.headers.clone(),
            body: taken,
        });
        for (name, value) in &self.order.set.0 {
            response.headers.add(name, value);
        }
        let chunked = response.headers.get("transfer-encoding").is_some();
        let sized = response.headers.get("content-length").is_some();
        if !chunked && !sized && response.status != 204 {
            let length = response.body.len().to_string();
            response.headers.add("Content-Length", &length);
        }
        let head = Head {
            line: status_line(response.status),
            headers: response.headers,
        };
        let framing = match chunked {
            true => Framing::Chunked,
            false => Framing::Length(response.body.len() as u64),
        };
        self.answer(conn, head, framing, Payload::Bytes(&response.body))
    }

    /// Reads the request body, and stops where a fault says so.
    fn take(
        &self,
        conn: &mut Conn,
        body: &mut Body,
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Option<After>> {
        let faults = &self.order.faults;
        let limit = match (faults.reset_after, faults.stall_upload_after) {
            (Some(bytes), _) | (None, Some(bytes)) => bytes,
            (None, None) => u64::MAX,
        };
        let begun = Instant::now();
        let mut taken = 0;
        let mut buffer = vec![0; BUFFER];
        while taken < limit {
            let room = (limit - taken).min(BUFFER as u64) as usize;
            let got = body.read(conn, &mut buffer[..room])?;
            if got == 0 {
                break;
            }
            taken += got as u64;
            self.note(|seen| seen.body_len = taken);
            each(&buffer[..got])?;
            if let Some(rate) = faults.upload_rate {
                let due = Duration::from_secs_f64(taken as f64 / rate as f64);
                self.shared.pause(due.saturating_sub(begun.elapsed()));
            }
        }
        if faults.reset_after.is_some() {
            return Ok(Some(After::Reset));
        }
        if faults.stall_upload_after.is_some() {
            self.shared.stall(conn);
            return Ok(Some(After::Drop));
        }
        Ok(None)
    }

    fn forward(&self, conn: &mut Conn, upstream: &mut Option<Conn>) -> io::Result<After> {
        let target = self.shared.upstream.as_ref();
        let target = target.expect("a rule without reply() needs a registry behind the server");
        let mut up = match upstream.take() {
            Some(up) if !up.is_gone() => up,
            _ => Conn::dial(&target.address, target.tls.clone())?,
        };
        up.write_all(&self.head.to_bytes())?;
        let mut body = self.head.request_body();
        let mut answered = None;
        if self.head.expects_continue() && !body.is_done() {
            let head = read_answer(&mut up, true)?;
            if head.status() == 100 {
                conn.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            } else {
                answered = Some(head);
            }
        }
        if answered.is_none() {
            let chunked = body.framing == Framing::Chunked;
            let mut broken = false;
            let ended = self.take(conn, &mut body, |bytes| {
                // A registry that refuses early stops reading; its answer is
                // what counts, and it is waiting to be read.
                broken = broken || write_part(&mut up, bytes, chunked).is_err();
                Ok(())
            })?;
            if let Some(after) = ended {
                return Ok(after);
            }
            if chunked && !broken {
                up.write_all(b"0\r\n\r\n")?;
            }
        }
        let mut head = match answered {
            Some(head) => head,
            None => read_answer(&mut up, false)?,
        };
        for name in self.order.unset.iter().map(String::as_str) {
            head.headers.remove(name);
        }
        for (name, _) in &self.order.set.0 {
            head.headers.remove(name);
        }
        head.headers.0.extend(self.order.set.0.iter().cloned());
        let mut answer = head.response_body(self.head.method());
        let closes = head.closes() || !body.is_done();
        let framing = answer.framing;
        let payload = Payload::Upstream(&mut up, &mut answer);
        let after = self.answer(conn, head, framing, payload)?;
        if closes {
            return Ok(match after {
                After::Next => After::Finish,
                other => other,
            });
        }
        if answer.is_done() {
            *upstream = Some(up);
        }
        Ok(after)
    }

    fn answer(
        &self,
        conn: &mut Conn,
        mut head: Head,
        framing: Framing,
        mut payload: Payload<'_>,
    ) -> io::Result<After> {
        let faults = &self.order.faults;
        self.shared.pause(faults.delay);
        if faults.silent {
            self.shared.stall(conn);
            return Ok(After::Drop);
        }
        if faults.lose_answer {
            return Ok(After::Reset);
        }
        for (_, value) in &mut head.headers.0 {
            *value = value.replace("{origin}", &self.shared.origin);
        }
        let mut framing = framing;
        if let Some(length) = faults.wrong_length {
            head.headers.remove("transfer-encoding");
            head.headers.set("Content-Length", &length.to_string());
            framing = Framing::UntilClose;
        }
        if faults.close_early {
            head.headers.set("Connection", "close");
        }
        let status = head.status();
        self.note(|seen| seen.status = status);
        conn.write_all(&head.to_bytes())?;
        let bodiless = self.head.method() == "HEAD" || status == 204 || status == 304;
        if !bodiless && let Some(after) = self.send(conn, framing, &mut payload)? {
            return Ok(after);
        }
        Ok(match framing {
            _ if faults.close_early => After::Drop,
            Framing::UntilClose => After::Finish,
            _ => After::Next,
        })
    }

    /// Sends the body, and stops where a fault says so.
    fn send(
        &self,
        conn: &mut Conn,
        framing: Framing,
        payload: &mut Payload<'_>,
    ) -> io::Result<Option<After>> {
        let faults = &self.order.faults;
        let ends = [
            faults.cut_after,
            faults.reset_response_after,
            faults.stall_after,
        ];
        let limit = ends.into_iter().flatten().min().unwrap_or(u64::MAX);
        let step = faults.drip.map_or(BUFFER, |(bytes, _)| bytes.max(1));
        let mut buffer = vec![0; step];
        let mut sent = 0;
        while sent < limit {
            let room = (limit - sent).min(step as u64) as usize;
            let got = payload.next(&mut buffer[..room])?;
            if got == 0 {
                break;
            }
            if faults.corrupt && sent == 0 {
                buffer[0] ^= 1;
            }
            sent += got as u64;
            // Noted before it is sent: a client that has it all may be the
            // test's next line.
            self.note(|seen| seen.sent = sent);
            write_part(conn, &buffer[..got], framing == Framing::Chunked)?;
            if let Some((_, interval)) = faults.drip {
                self.shared.pause(interval);
            }
        }
        if faults.cut_after.is_some() {
            return Ok(Some(After::Cut));
        }
        if faults.reset_response_after.is_some() {
            self.shared.pause(faults.calm);
            return Ok(Some(After::Reset));
        }
        if faults.stall_after.is_some() {
            self.shared.stall(conn);
            return Ok(Some(After::Drop));
        }
        if framing == Framing::Chunked {
            conn.write_all(b"0\r\n\r\n")?;
        }
        Ok(None)
    }
}

fn write_part(conn: &mut Conn, bytes: &[u8], chunked: bool) -> io::Result<()> {
    if !chunked {
        return conn.write_all(bytes);
    }
    conn.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
    conn.write_all(bytes)?;
    conn.write_all(b"\r\n")
}

/// The registry's next answer; interim ones only where asked for.
fn read_answer(up: &mut Conn, interim: bool) -> io::Result<Head> {
    loop {
        let head = up.read_head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if interim || head.status() >= 200 {
            return Ok(head);
        }
    }
}
