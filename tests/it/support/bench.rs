//! One registry in each of the three ways they are met, with everything a test
//! of a command needs around it.

use std::path::PathBuf;
use std::sync::Mutex;

use super::dxf::Dxf;
use super::raw::Raw;
use super::registry::{PASSWORD, Registry, USER};
use super::server::{Seen, Server};
use super::token::TokenServer;
use super::{lock, python};

/// How the registry is met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Plain http, open to all.
    Http,
    /// TLS and Basic.
    Basic,
    /// TLS and Bearer, with a token server of its own.
    Token,
}

/// A registry behind a server that counts. Fields are dropped in this order:
/// what depends on another goes first.
pub struct Bench {
    pub front: Server,
    pub registry: Registry,
    pub tokens: Option<TokenServer>,
    pub mode: Mode,
    told: Mutex<usize>,
}

impl Bench {
    pub fn new(mode: Mode) -> Bench {
        let tokens = (mode == Mode::Token).then(|| TokenServer::builder().start());
        Bench::with(mode, tokens)
    }

    /// Tokens, also without a login for reading.
    pub fn public() -> Bench {
        let tokens = TokenServer::builder().anonymous_pull().start();
        Bench::with(Mode::Token, Some(tokens))
    }

    /// Tokens of this server.
    pub fn tokens(server: TokenServer) -> Bench {
        Bench::with(Mode::Token, Some(server))
    }

    fn with(mode: Mode, tokens: Option<TokenServer>) -> Bench {
        let builder = Registry::builder();
        let registry = match (mode, &tokens) {
            (Mode::Http, _) => builder.start(),
            (_, Some(tokens)) => builder.tls().token(tokens).start(),
            (_, None) => builder.tls().htpasswd().start(),
        };
        Bench {
            front: Server::before(&registry, []),
            registry,
            tokens,
            mode,
            told: Mutex::new(0),
        }
    }

    /// `127.0.0.1:PORT`, as commands are to see it.
    pub fn host(&self) -> String {
        self.front.host()
    }

    /// Our command, told where the registry is and who to be.
    pub fn dxf(&self) -> Dxf {
        self.tell(Dxf::new())
    }

    /// python-dxf's command, told the same.
    pub fn python(&self) -> Dxf {
        self.tell(python::dxf())
    }

    /// Our command without a login.
    pub fn anonymous(&self) -> Dxf {
        let dxf = self.dxf().env_remove("DXF_USERNAME");
        dxf.env_remove("DXF_PASSWORD")
    }

    /// Any program, told the same.
    pub fn tell(&self, dxf: Dxf) -> Dxf {
        if self.mode == Mode::Http {
            return dxf.plain(&self.host());
        }
        let dxf = dxf
            .env("DXF_HOST", self.host())
            .env("DXF_TLSVERIFY", self.ca_file())
            .login(USER, PASSWORD);
        match &self.tokens {
            Some(tokens) => dxf.secrets(&tokens.secrets()),
            None => dxf,
        }
    }

    /// The file for `DXF_TLSVERIFY`, which opens the token server too.
    pub fn ca_file(&self) -> PathBuf {
        self.registry.ca_file()
    }

    /// Speaks to the registry past the counting server.
    pub fn raw(&self) -> Raw {
        self.registry.raw()
    }

    /// The requests since this was last called, without those answered 401:
    /// how many a command makes once it knows how to prove itself. Requests
    /// for tokens go elsewhere and are never among them.
    pub fn requests(&self) -> Vec<Seen> {
        let seen = self.front.seen();
        let mut told = lock(&self.told);
        let new = seen[*told..].iter().filter(|one| one.status != 401);
        let new = new.cloned().collect();
        *told = seen.len();
        new
    }

    /// The same as `METHOD /path` each.
    pub fn request_lines(&self) -> Vec<String> {
        self.requests().iter().map(Seen::line).collect()
    }

    /// How many tokens were asked for so far.
    pub fn token_requests(&self) -> usize {
        self.tokens
            .as_ref()
            .map_or(0, |tokens| tokens.requests().len())
    }
}

/// Makes three tests of one body: against plain http, TLS with Basic, and TLS
/// with tokens.
///
/// ```ignore
/// each_registry!(an_existing_blob_needs_one_request, |reg| {
///     let digest = reg.raw().push_blob("a/b", b"abc");
///     assert_eq!(reg.dxf().args(["blob-size", "a/b", &digest]).ok().text(), "3\n");
///     assert_eq!(reg.requests().len(), 1);
/// });
/// ```
macro_rules! each_registry {
    ($(#[$attribute:meta])* $name:ident, |$reg:ident| $body:block) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn body($reg: &$crate::support::bench::Bench) $body

            $(#[$attribute])*
            #[test]
            fn http() {
                body(&$crate::support::bench::Bench::new($crate::support::bench::Mode::Http));
            }

            $(#[$attribute])*
            #[test]
            fn tls_basic() {
                body(&$crate::support::bench::Bench::new($crate::support::bench::Mode::Basic));
            }

            $(#[$attribute])*
            #[test]
            fn tls_token() {
                body(&$crate::support::bench::Bench::new($crate::support::bench::Mode::Token));
            }
        }
    };
}

pub(crate) use each_registry;
