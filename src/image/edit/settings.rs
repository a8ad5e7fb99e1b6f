//! What an image tells the engine that runs it, and what is written about it.

use serde_json::{Map, Value, json};

use super::{Draft, Editor, Timestamp, object};
use crate::error::{Error, Result};

impl Editor {
    /// Sets an environment variable, or replaces its value.
    pub fn set_env(self, name: &str, value: &str) -> Editor {
        self.with(|draft| draft.set_env(name, value))
    }

    /// Removes an environment variable.
    pub fn unset_env(self, name: &str) -> Editor {
        self.with(|draft| {
            env_name(name)?;
            if let Some(list) = draft.env() {
                list.retain(|entry| env_of(entry) != Some(name));
            }
            Ok(())
        })
    }

    /// Sets a label.
    pub fn set_label(self, name: &str, value: &str) -> Editor {
        self.with(|draft| draft.set("Labels", word("label", name)?, value.into()))
    }

    /// Removes a label.
    pub fn unset_label(self, name: &str) -> Editor {
        self.with(|draft| draft.unset("Labels", word("label", name)?))
    }

    /// Sets an annotation of the manifest. Docker's format has no annotations, and
    /// few tools look for them there.
    pub fn set_annotation(self, name: &str, value: &str) -> Editor {
        self.with(|draft| {
            let all = object(draft.manifest.members(), "annotations")?;
            all.insert(word("annotation", name)?.to_string(), value.into());
            Ok(())
        })
    }

    /// Removes an annotation.
    pub fn unset_annotation(self, name: &str) -> Editor {
        self.with(|draft| {
            forget(
                draft.manifest.members(),
                "annotations",
                word("annotation", name)?,
            );
            Ok(())
        })
    }

    /// The program to run, and its first arguments; none at all removes it.
    pub fn entrypoint<S: AsRef<str>>(self, words: &[S]) -> Editor {
        self.with(|draft| draft.put("Entrypoint", list(words)?))
    }

    /// The arguments after the entrypoint, or the program where there is
    /// none; none at all removes them.
    pub fn cmd<S: AsRef<str>>(self, words: &[S]) -> Editor {
        self.with(|draft| draft.put("Cmd", list(words)?))
    }

    /// The folder the program starts in; an empty one removes it.
    pub fn workdir(self, path: &str) -> Editor {
        self.with(|draft| {
            if !path.is_empty() {
                draft.absolute("working folder", path)?;
            }
            draft.put("WorkingDir", text("working folder", path)?)
        })
    }

    /// Who runs the program: `user[:group]`, names or numbers; empty removes it.
    pub fn user(self, user: &str) -> Editor {
        self.with(|draft| {
            if !user.is_empty() && user.split(':').any(str::is_empty) {
                let why = "it must look like user or user:group";
                return Err(Error::invalid("user", user, why));
            }
            draft.put("User", text("user", user)?)
        })
    }

    /// The signal that ends the program, such as `SIGTERM` or `15`; empty
    /// removes it.
    pub fn stop_signal(self, signal: &str) -> Editor {
        self.with(|draft| {
            let legal = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"+-".contains(&b);
            if !signal.bytes().all(legal) {
                let why = "it must look like SIGTERM or 15";
                return Err(Error::invalid("signal", signal, why));
            }
            draft.put("StopSignal", text("signal", signal)?)
        })
    }

    /// Says that the program listens at `port[/tcp|udp|sctp]`.
    pub fn expose(self, port: &str) -> Editor {
        self.with(|draft| draft.set("ExposedPorts", &port_of(port)?, json!({})))
    }

    /// Takes such a port back.
    pub fn unexpose(self, port: &str) -> Editor {
        self.with(|draft| draft.unset("ExposedPorts", &port_of(port)?))
    }

    /// Says that the program keeps its data in a folder.
    pub fn volume(self, path: &str) -> Editor {
        self.with(|draft| {
            draft.absolute("volume", path)?;
            draft.set("Volumes", word("volume", path)?, json!({}))
        })
    }

    /// Takes such a folder back.
    pub fn unset_volume(self, path: &str) -> Editor {
        self.with(|draft| draft.unset("Volumes", word("volume", path)?))
    }

    /// When the image was made. Steps that are added to the history after this
    /// say the same; those before, and those of an edit without this, do not
    /// say when they were made, so that the same edit always gives the same
    /// digest.
    pub fn created(self, time: &Timestamp) -> Editor {
        self.with(|draft| {
            let created = time.to_string();
            draft.config.insert("created".to_string(), created.into());
            draft.created = Some(time.clone());
            Ok(())
        })
    }

    /// The words that the history has for the layer just added; without one, a
    /// step that made no layer.
    pub fn history(self, created_by: &str) -> Editor {
        self.with(|draft| {
            if std::mem::take(&mut draft.is_fresh) {
                draft.history.rename_last(created_by);
                return Ok(());
            }
            let mut step = draft.step(created_by);
            step["empty_layer"] = true.into();
            draft.history.push_empty(step);
            Ok(())
        })
    }
}

impl Draft {
    fn set_env(&mut self, name: &str, value: &str) -> Result<()> {
        env_name(name)?;
        text("environment variable", value)?;
        let entry = Value::from(format!("{name}={value}"));
        let settings = object(&mut self.config, "config")?;
        let list = settings.entry("Env").or_insert(Value::Null);
        if list.is_null() {
            *list = json!([]);
        }
        let Some(list) = list.as_array_mut() else {
            return Err(Error::malformed("config", "Env is not a list"));
        };
        match list.iter().position(|old| env_of(old) == Some(name)) {
            Some(at) => {
                list[at] = entry;
                let mut i = 0;
                list.retain(|old| {
                    i += 1;
                    i <= at + 1 || env_of(old) != Some(name)
                });
            }
            None => list.push(entry),
        }
        Ok(())
    }

    fn env(&mut self) -> Option<&mut Vec<Value>> {
        let settings = self.config.get_mut("config")?;
        settings.get_mut("Env")?.as_array_mut()
    }

    /// Sets a member of the settings; nothing removes it.
    fn put(&mut self, name: &str, value: Option<Value>) -> Result<()> {
        match value {
            Some(value) => {
                object(&mut self.config, "config")?.insert(name.to_string(), value);
            }
            None => forget(&mut self.config, "config", name),
        }
        Ok(())
    }

    /// Sets a member of an object in the settings.
    fn set(&mut self, object_name: &str, name: &str, value: Value) -> Result<()> {
        let settings = object(&mut self.config, "config")?;
        object(settings, object_name)?.insert(name.to_string(), value);
        Ok(())
    }

    fn unset(&mut self, object_name: &str, name: &str) -> Result<()> {
        let settings = self.config.get_mut("config");
        if let Some(settings) = settings.and_then(Value::as_object_mut) {
            forget(settings, object_name, name);
        }
        Ok(())
    }

    /// Windows has paths of its own.
    fn absolute(&self, what: &'static str, path: &str) -> Result<()> {
        let is_windows = self.config.get("os").and_then(Value::as_str) == Some("windows");
        if path.starts_with('/') || is_windows {
            return Ok(());
        }
        Err(Error::invalid(what, path, "it must begin with /"))
    }
}

/// Removes a member of an object, and the object when nothing is left of it.
fn forget(parent: &mut Map<String, Value>, object_name: &str, name: &str) {
    let Some(members) = parent.get_mut(object_name).and_then(Value::as_object_mut) else {
        return;
    };
    // The other way to remove does not keep the order.
    if members.shift_remove(name).is_some() && members.is_empty() && object_name != "config" {
        parent.shift_remove(object_name);
    }
}

/// The name in an entry of `Env`.
pub(super) fn env_of(entry: &Value) -> Option<&str> {
    let entry = entry.as_str()?;
    Some(entry.split_once('=').map_or(entry, |(name, _)| name))
}

fn env_name(name: &str) -> Result<()> {
    let why = match name {
        "" => "it needs a name",
        name if name.contains('=') => "its name must not contain =",
        name => return text("environment variable", name).map(drop),
    };
    Err(Error::invalid("environment variable", name, why))
}

/// A word that is not empty.
fn word<'a>(what: &'static str, word: &'a str) -> Result<&'a str> {
    if word.is_empty() {
        return Err(Error::invalid(what, word, "it needs a name"));
    }
    text(what, word)?;
    Ok(word)
}

/// Text that engines can pass on: none holds a NUL. Nothing for no text.
fn text(what: &'static str, text: &str) -> Result<Option<Value>> {
    if text.contains('\0') {
        return Err(Error::invalid(what, text, "it contains a NUL"));
    }
    Ok((!text.is_empty()).then(|| text.into()))
}

fn list<S: AsRef<str>>(words: &[S]) -> Result<Option<Value>> {
    let one = |word: &S| {
        text("command", word.as_ref())?;
        Ok(word.as_ref().into())
    };
    let all = words.iter().map(one).collect::<Result<Vec<Value>>>()?;
    Ok((!all.is_empty()).then_some(Value::Array(all)))
}

/// `80/tcp`, as configs write it.
fn port_of(port: &str) -> Result<String> {
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let digits = number.bytes().all(|b| b.is_ascii_digit());
    let is_port = digits && number.parse::<u16>().is_ok_and(|port| port > 0);
    if !is_port || !matches!(protocol, "tcp" | "udp" | "sctp") {
        let why = "it must look like 8080 or 53/udp";
        return Err(Error::invalid("port", port, why));
    }
    Ok(format!("{number}/{protocol}"))
}
