//! Taking a changed configuration over while the server runs: SIGHUP.
//!
//! New streams are opened and served. Everything else that differs is named, and waits for the next start: what a
//! stream was created with, or what memory was laid out for, does not change under those who use it.

use super::message::Message;
use super::start::open;
use super::{Error, Server};
use crate::config::File;
use crate::plan::{Machine, Plan, StreamPlan};

impl Server {
    /// Reads the configuration again and takes over what can change while running. What is wrong with it is logged, and nothing
    /// changes then.
    pub fn reload(&mut self) {
        let Some(path) = self.plan.config_file.clone() else {
            tracing::warn!(
                "there is no configuration file to read again: the server was started without --config"
            );
            return;
        };
        let read = File::read(&path)
            .and_then(|file| Plan::compute(Some(&file), &self.plan.flags, &Machine::here()));
        match read {
            Ok(fresh) => self.take_over(fresh),
            Err(problems) => {
                tracing::error!(file = %path.display(), %problems, "the configuration is refused; the old one stays")
            }
        }
    }

    fn take_over(&mut self, fresh: Plan) {
        let (mut added, mut later) = (0, self.settings_that_differ(&fresh));
        let mut known = self.registry.configured();
        for mut stream in fresh.streams {
            stream.worker = self.plan.worker_of(&stream.name);
            if let Some(index) = known.iter().position(|known| known.name == stream.name) {
                if known.swap_remove(index) != stream {
                    later.push(format!("stream {}", stream.name));
                }
            } else if self.registry.find(&stream.name).is_some() {
                tracing::error!(
                    stream = stream.name,
                    "a stream of the configuration was added while the server ran: remove one of the two before the next start"
                );
            } else {
                match self.adopt(stream.clone()) {
                    Ok(()) => added += 1,
                    Err(error) => {
                        tracing::error!(stream = stream.name, %error, "a stream of the configuration cannot be opened")
                    }
                }
            }
        }
        known.sort_by(|a, b| a.name.cmp(&b.name));
        later.extend(
            known
                .iter()
                .map(|gone| format!("stream {} is gone", gone.name)),
        );
        if later.is_empty() {
            tracing::info!(added, "the configuration was read again");
        } else {
            tracing::warn!(
                added,
                differs = later.join(", "),
                "the configuration was read again; what differs takes effect at the next start"
            );
        }
    }

    /// What else than streams differs, by the keys of the file.
    fn settings_that_differ(&self, fresh: &Plan) -> Vec<String> {
        let now = &self.plan;
        let settings = [
            ("data", now.data_dir != fresh.data_dir),
            ("listen", now.listeners != fresh.listeners),
            ("workers", now.workers.len() != fresh.workers.len()),
            (
                "pin",
                now.workers.len() == fresh.workers.len() && now.workers != fresh.workers,
            ),
            ("idle", now.idle != fresh.idle),
            ("io", now.io != fresh.io),
            ("synced_writes", now.synced_writes != fresh.synced_writes),
            ("limits", now.limits != fresh.limits),
        ];
        let differ = settings.into_iter().filter(|(_, differs)| *differs);
        differ.map(|(key, _)| key.to_owned()).collect()
    }

    fn adopt(&mut self, stream: StreamPlan) -> Result<(), Error> {
        let name = stream.name.clone();
        let refused = |reason: String| Error::Added {
            name: name.clone(),
            path: None,
            reason,
        };
        let id = self
            .registry
            .claim(&stream, true)
            .map_err(|refusal| refused(refusal.to_string()))?;
        let opened = open(id, stream, &self.plan, &self.registry.data)
            .inspect_err(|_| self.registry.release(&name))?;
        let owner = opened.plan.worker;
        let message = Message::Added {
            opened: Box::new(opened),
            configured: true,
            asked: None,
        };
        self.workers
            .outside
            .send(owner, message)
            .map_err(|_| refused("its worker is too busy; send SIGHUP again".to_owned()))
            .inspect_err(|_| {
                self.registry.release(&name);
            })?;
        self.workers.outside.flush();
        Ok(())
    }
}
