//! The agents that hold connections: one for the registry itself, which gets
//! the client certificate, and one for everything else.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use ureq::Agent;

use crate::bounds;
use crate::error::Result;
use crate::http::address::{AddressPolicy, GuardedResolver};
use crate::http::{Scheme, Settings, Url, UrlOrigin, connection};
use crate::stream::Hook;

/// Larger writes save system calls; measured a fifth faster than ureq's own.
const OUTPUT_BUFFER: usize = 256 * 1024;
/// Beyond 64 KiB reads gain little.
const INPUT_BUFFER: usize = 128 * 1024;
/// The largest head of an answer, bytes.
const MAX_HEAD: usize = bounds::HEAD;

/// A configuration that can still be changed.
type Configuring = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

/// Two agents, made when they are first needed.
pub struct Agents {
    /// The one place that gets the client certificate.
    home: Url,
    /// Where requests may go but to the home.
    policy: AddressPolicy,
    /// Each with what ends its connections when the stop is set.
    at_home: OnceLock<(Agent, Hook)>,
    away: OnceLock<(Agent, Hook)>,
    /// So that two threads don't both load the certificates.
    making: Mutex<()>,
}

impl Agents {
    /// Agents of which one is for the origin of `home` alone, and the other goes
    /// where `policy` lets it.
    pub fn new(home: Url, policy: AddressPolicy) -> Agents {
        Agents {
            home,
            policy,
            at_home: OnceLock::new(),
            away: OnceLock::new(),
            making: Mutex::new(()),
        }
    }

    /// The origin the client certificate is for.
    pub fn home(&self) -> UrlOrigin {
        self.home.origin()
    }

    /// # Errors
    /// Why requests must not go to `url`.
    pub fn permit(&self, url: &Url) -> Result<(), String> {
        match self.is_home(url) {
            true => Ok(()),
            false => self.policy.permit(url),
        }
    }

    fn is_home(&self, url: &Url) -> bool {
        url.origin() == self.home()
    }

    /// The agent for `url`, whose connections end when the stop is set.
    ///
    /// # Errors
    /// [`Error`](crate::Error) for certificates that can't be used.
    pub fn get(&self, url: &Url, settings: &Settings) -> Result<Agent> {
        let cell = match self.is_home(url) {
            true => &self.at_home,
            false => &self.away,
        };
        if let Some((agent, _)) = cell.get() {
            return Ok(agent.clone());
        }
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((agent, _)) = cell.get() {
            return Ok(agent.clone());
        }
        let config = config(settings, settings.idle_timeout);
        let agent = self.connecting(url, settings, config)?;
        // A blocked read ends within a millisecond of the stop, not after the
        // idle timeout; the agent is of no use afterwards.
        let doomed = agent.clone();
        let hook = settings.stop.on_set(move || doomed.shutdown());
        Ok(cell.get_or_init(|| (agent, hook)).0.clone())
    }

    /// A separate agent whose requests end after `patience`, including name
    /// lookups, connections and bodies.
    ///
    /// # Errors
    /// As [`Agents::get`].
    pub fn hurried(&self, url: &Url, settings: &Settings, patience: Duration) -> Result<Agent> {
        let config = config(settings, patience).timeout_global(Some(patience));
        self.connecting(url, settings, config)
    }

    /// An agent for `url` and others of its kind, at home or away.
    fn connecting(&self, url: &Url, settings: &Settings, config: Configuring) -> Result<Agent> {
        let resolver = GuardedResolver::new(self.policy.clone(), self.is_home(url));
        let tls = self.tls(url, settings)?;
        Ok(connection::agent(config.build(), tls, resolver))
    }

    fn tls(&self, url: &Url, settings: &Settings) -> Result<Option<Arc<ClientConfig>>> {
        let tls = &settings.tls;
        // Strangers may be reached over https from an http registry (its token
        // server is), and so may a proxy; only a home that speaks http goes
        // without.
        let proxied = settings.proxies.speak_tls();
        Ok(match (self.is_home(url), url.scheme()) {
            (true, Scheme::Http) if !proxied => None,
            (true, Scheme::Https) => Some(tls.home(self.home.authority())?),
            _ => Some(tls.away()?),
        })
    }
}

fn config(settings: &Settings, idle: Duration) -> Configuring {
    let idle_connections = settings.jobs + 1;
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(&settings.user_agent)
        .accept_encoding("identity")
        .timeout_connect(Some(settings.connect_timeout))
        .timeout_per_read(Some(idle))
        .timeout_per_write(Some(idle))
        .max_response_header_size(MAX_HEAD)
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .max_idle_connections(4 * idle_connections)
        .max_idle_connections_per_host(idle_connections)
}
